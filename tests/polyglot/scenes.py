"""Drivers under way beside nodes that break: what they told so far, and waiting for more."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tests.polyglot.drivers import Driver, driving
from tests.polyglot.languages import Built
from tests.stock_client import bootstrap
from tests.waiting import until

TENANT = "acme"
REQUEST = json.dumps(
    {
        "tenant": TENANT,
        "subject": {"type": "User", "id": "alice"},
        "action": {"name": "view"},
        "resource": {"type": "Document", "id": "one"},
    }
)
SOON_S = 30.0
_LONGEST_S = 120.0
_SETTLED = 5
"""How many ticks in a row have to say the same."""


# grpc-java ends a call that meets a closing connection with UNKNOWN, "channel closed", which no
# retry policy of xDS can name, and was seen to leave calls without any end while routes change.
_LIBRARYS_OWN = {"java, stock": frozenset({"UNKNOWN", "DEADLINE_EXCEEDED"})}


@dataclass(slots=True)
class Load:
    """A driver that calls on and on."""

    name: str
    driver: Driver
    ticks: list[dict[str, Any]] = field(default_factory=list)
    failures: list[dict[str, Any]] = field(default_factory=list)
    is_ready: bool = False
    done: dict[str, Any] | None = None

    async def listen(self) -> None:
        """Keep what it tells, until it is done."""
        while (told := await self.driver.line(timeout_s=_LONGEST_S)) is not None:
            match told["event"]:
                case "ready":
                    self.is_ready = True
                case "tick":
                    self.ticks.append(told)
                case "failed":
                    self.failures.append(told)
                case "done":
                    self.done = told

    def nodes(self, *, since: int = 0) -> Counter[str]:
        """Return who answered how many calls, from a tick on."""
        found: Counter[str] = Counter()
        for tick in self.ticks[since:]:
            found.update(tick["nodes"])
        return found

    def failures_of(self, done: dict[str, Any]) -> set[str]:
        """Return the codes of calls that failed, but for those that are the library's own doing."""
        return set(done["codes"]) - _LIBRARYS_OWN.get(self.name, frozenset())

    async def until_answered_by(self, *nodes: str) -> None:
        """Wait until all of these nodes answer, and no others, for a while."""
        wanted = set(nodes)

        def are_they() -> bool:
            return len(self.ticks) >= _SETTLED and set(self.nodes(since=-_SETTLED)) == wanted

        try:
            await until(are_they, timeout_s=SOON_S)
        except TimeoutError:
            told = [tick["nodes"] for tick in self.ticks[-2 * _SETTLED :]]
            raise AssertionError((self.name, wanted, told, self.failures[-3:])) from None

    async def end(self) -> dict[str, Any]:
        """End it, and return what it says of all calls."""
        self.driver.end_input()
        await until(lambda: self.done is not None, timeout_s=SOON_S)
        assert self.done is not None
        return self.done


@asynccontextmanager
async def loads(
    built: Built, target: str, *, folder: Path, servers: list[str], **said: str
) -> AsyncIterator[tuple[Load, Load]]:
    """Have the small client and the stock stub call, both at once, as a bootstrap says.

    Args:
        built: the driver.
        target: whom to call.
        folder: for the bootstrap.
        servers: control planes.
        **said: what the bootstrap says of the client.
    """
    environment = bootstrap_file(folder, servers, **said)
    # Little load, so that two drivers and all nodes have time for it on a small machine.
    few = ("--concurrency", "4", "--pause-ms", "8", "--duration-s", "120")
    arguments = ("load", "--target", target, "--request", REQUEST, *few)
    async with AsyncExitStack() as stack:
        found = []
        for kind, more in (("small", ()), ("stock", ("--stock",))):
            name = f"{built.name}, {kind}"
            driver = await stack.enter_async_context(
                driving(built.command, *arguments, *more, name=name, environment=environment)
            )
            load = Load(name, driver)
            listening = asyncio.create_task(load.listen())
            stack.push_async_callback(_cancelled, listening)
            found.append(load)
        small, stock = found
        for load in found:
            await until(lambda load=load: load.is_ready, timeout_s=SOON_S)  # type: ignore[misc]
        yield small, stock


async def _cancelled(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait({task})


def bootstrap_file(folder: Path, servers: list[str], **said: str) -> dict[str, str]:
    """Write a bootstrap, and return the environment that names it."""
    path = folder / "bootstrap.json"
    path.write_text(json.dumps(bootstrap(*servers, **said)))
    return {"GRPC_XDS_BOOTSTRAP": str(path)}
