"""Stores without a server before them: what a commit takes, and when another node has it."""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import Awaitable, Callable
from contextlib import aclosing

from bench.failures import WrongAnswer
from bench.histogram import Latencies
from bench.measure import Context
from bench.records import Times
from bench.servers import Variant
from placet_engine.changes import Edit
from placet_engine.items import Policy, Revision
from placet_server.config import StoreConfig
from placet_server.store.contract import CommitInfo, Store
from placet_server.stores import open_store
from tests.postgres import is_available, running_cluster

SCENARIO = "stores"
APPEND, WATCHED = "append, durable", "append to seen by another node"
_COMMITS, _QUICK_COMMITS = 1_000, 200
_WARM_UP = 20
_TIMEOUT_S = 60.0

_Open = Callable[[], Awaitable[Store]]


def run(context: Context, variant: Variant) -> None:
    """Commit one policy after the other to SQLite and to PostgreSQL, with another node watching."""
    file = StoreConfig(kind="sqlite", path=str(context.folder / "stores.db"))
    _measure(context, "SQLite", file)
    if not is_available():
        context.tell(f"{SCENARIO}: no PostgreSQL here")
        return
    # Durable, as it is where somebody relies on it; the tests' servers are not.
    with running_cluster(fsync="on", full_page_writes="on") as cluster:
        _measure(context, "PostgreSQL", StoreConfig(kind="postgres", url=cluster.url))


def _measure(context: Context, system: str, config: StoreConfig) -> None:
    context.tell(f"{SCENARIO}: {system}")
    count = _QUICK_COMMITS if context.quick else _COMMITS
    appended, seen = asyncio.run(_commit(lambda: open_store(config), count))
    context.results.times.append(Times(SCENARIO, system, APPEND, Latencies(appended)))
    context.results.times.append(Times(SCENARIO, system, WATCHED, Latencies(seen)))


async def _commit(open_one: _Open, count: int) -> tuple[list[int], list[int]]:
    """Return the nanoseconds that each commit took, and those until the other node had it."""
    writer, reader = await open_one(), await open_one()
    appended: list[int] = []
    seen: list[int] = []
    try:
        async with asyncio.timeout(_TIMEOUT_S), aclosing(reader.watch(Revision(0))) as watch:
            revision = Revision(0)
            for number in range(_WARM_UP + count):
                policy = Policy(id="p", cedar=f"permit(principal, action, resource); // {number}")
                watching = asyncio.ensure_future(anext(watch))
                start = time.perf_counter_ns()
                done = await writer.append(
                    "bench",
                    [Edit(policy.key, policy)],
                    expected=revision,
                    info=CommitInfo(time=datetime.datetime.now(datetime.UTC)),
                )
                appended.append(time.perf_counter_ns() - start)
                if await watching != done:
                    raise WrongAnswer(f"{SCENARIO}: the other node saw another commit")
                seen.append(time.perf_counter_ns() - start)
                revision = done.revision
    finally:
        await reader.aclose()
        await writer.aclose()
    return appended[_WARM_UP:], seen[_WARM_UP:]
