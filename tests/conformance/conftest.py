from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from pathlib import Path

import pytest

from placet_server.store.contract import Store
from tests.conformance.stores import BACKENDS, DURABLE, OpenStore


@pytest.fixture(params=BACKENDS)
async def store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Store]:
    """An empty store of each implementation."""
    opened = await BACKENDS[request.param](tmp_path).open()
    yield opened
    await opened.aclose()


@pytest.fixture(params=DURABLE)
async def open_store(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[OpenStore]:
    """Opens stores of each implementation that keeps its data, all on the same data."""
    async with AsyncExitStack() as stack:

        async def open_one(place: str = "here") -> Store:
            directory = tmp_path / place
            directory.mkdir(exist_ok=True)
            opened = await DURABLE[request.param](directory).open()
            stack.push_async_callback(opened.aclose)
            return opened

        yield open_one
