"""The one place that names concrete stores: which one a configuration asks for, opened."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from placet_server.config import ConfigError, StoreConfig
from placet_server.store.contract import Store
from placet_server.store.memory import MemoryStore
from placet_server.store.sqlite import SqliteStore

if TYPE_CHECKING:
    from placet_server.store.postgres.address import Address


async def open_store(config: StoreConfig) -> Store:
    """Open the store that is configured.

    Raises:
        ConfigError: it is not installed, or its URL is none.
        StoreError: it cannot be opened.
    """
    match config.kind:
        case "memory":
            return MemoryStore()
        case "postgres":
            address = parse_address(config.url)
            from placet_server.store.postgres import PostgresStore

            return await PostgresStore.open(address)
        case _:
            return await SqliteStore.open(Path(config.path))


def parse_address(url: str) -> Address:
    """Read where a PostgreSQL database is.

    Raises:
        ConfigError: its driver is not installed, or the URL is none.
    """
    try:
        from placet_server.store.postgres.address import Address, AddressRefused
    except ModuleNotFoundError as error:
        raise ConfigError(
            "a store in PostgreSQL needs its driver: `pip install 'placet[postgres]'`"
        ) from error
    try:
        return Address.parse(url)
    except AddressRefused as error:
        raise ConfigError(f"`store.url`: {error}") from error


def place_of(config: StoreConfig) -> str:
    """Return where the store is as it may be shown to anybody."""
    match config.kind:
        case "memory":
            return "memory"
        case "postgres":
            return parse_address(config.url).shown
        case _:
            return config.path
