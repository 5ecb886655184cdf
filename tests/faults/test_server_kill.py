"""A whole server killed with SIGKILL in the middle of publishing, over and over."""

from __future__ import annotations

import asyncio
import random
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import placet
from tests.faults.ports import free_port
from tests.ways import TIMEOUT_S

_ROUNDS = 6
_SEED = 11
_ALLOW = "permit(principal, action, resource);"


@asynccontextmanager
async def _serving(path: Path, port: int) -> AsyncIterator[asyncio.subprocess.Process]:
    """Run `placet serve` as its users do; yield when it answers."""
    process = await asyncio.create_subprocess_exec(
        Path(sys.executable).with_name("placet"),
        "serve",
        "--listen",
        f"127.0.0.1:{port}",
        "--store-path",
        path,
        cwd=path.parent,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        async with asyncio.timeout(TIMEOUT_S):
            while not await _answers(port):
                assert process.returncode is None, "the server ended by itself"
        yield process
    finally:
        if process.returncode is None:
            process.send_signal(signal.SIGKILL)
        await process.wait()


async def _answers(port: int) -> bool:
    async with placet.aio.Client(f"127.0.0.1:{port}", timeout_s=1.0) as client:
        try:
            await client.list_items(tenant=placet.PLATFORM).__anext__()
        except StopAsyncIteration:
            return True
        except placet.PlacetError:
            return False
    return True


async def test_nothing_acknowledged_is_lost_when_the_server_is_killed(tmp_path: Path) -> None:
    chance, port = random.Random(_SEED), free_port()
    acknowledged: dict[str, int] = {}
    for round_number in range(_ROUNDS):
        async with _serving(tmp_path / "placet.db", port) as server:
            publishing = asyncio.create_task(_publish(port, round_number, acknowledged))
            await _until_published(acknowledged, len(acknowledged) + chance.randrange(1, 25))
            server.send_signal(signal.SIGKILL)
            await server.wait()
            await publishing

    async with (
        _serving(tmp_path / "placet.db", port),
        placet.aio.Client(f"127.0.0.1:{port}", tenant="acme", timeout_s=TIMEOUT_S) as client,
    ):
        stored = {item.key.id: item.revision async for item in client.list_items()}
        history = [revision.revision async for revision in client.history()]

    lost = {id_: revision for id_, revision in acknowledged.items() if stored.get(id_) != revision}
    assert lost == {}, f"seed {_SEED}"
    assert len(acknowledged) >= _ROUNDS
    # One revision a publish, acknowledged or not; none twice, none half.
    assert len(history) == len(set(history)) == len(stored)


async def _publish(port: int, round_number: int, acknowledged: dict[str, int]) -> None:
    """Publish one policy after the other until the server is gone."""
    async with placet.aio.Client(f"127.0.0.1:{port}", tenant="acme") as client:
        for number in range(10_000):
            id_ = f"round-{round_number}/{number}"
            change_set = placet.ChangeSet(policies=[placet.Policy(id=id_, cedar=_ALLOW)])
            try:
                publication = await client.publish(change_set, timeout_s=5.0)
            except placet.CouldNotDecide:
                return
            acknowledged[id_] = publication.revision


async def _until_published(acknowledged: dict[str, int], count: int) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while len(acknowledged) < count:  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.002)
