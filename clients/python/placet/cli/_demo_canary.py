"""``placet demo canary``: a good change rolled out, and a bad one rolled back by itself."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, TypeAlias

from placet import (
    Canary,
    ChangeSet,
    Client,
    Entity,
    EntityRef,
    PlacetError,
    Policy,
    aio,
)
from placet.cli import running, terminal
from placet.cli.examples import starter_documents
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.logs import set_up_logging
from placet.cli.rollout_watching import Plain, follow

if TYPE_CHECKING:
    from placet.cli.running import Serving, Stop
    from placet_server.config import Config

_Script: TypeAlias = "Callable[[Serving], Coroutine[object, object, None]]"

TENANT = "demo"
_PATIENCE_S = 60.0
_DEPARTMENTS = ("sales", "accounting", "engineering")
_INVOICES = ("paper", "laptops", "party")
_CALLERS = 4
_PAUSE_S = 0.004
_PLAN = Canary(steps=[(share, timedelta(seconds=2)) for share in (10, 50, 100)], shadow_percent=100)

_GOOD = Policy(
    id="invoices/view-own",
    cedar='permit (principal, action == Action::"view", resource) '
    "when { resource.submitter == principal };",
    description="whoever submitted an invoice sees it, wherever they work now",
)
# A day off by the looks of it: it forbids what nearly everybody does.
_BAD = Policy(
    id="invoices/no-views-without-mfa",
    cedar='@reason("seeing invoices takes a second factor") '
    'forbid (principal, action == Action::"view", resource) '
    "unless { context has mfa && context.mfa };",
    description="meant for payments, written for views",
)


def canary(plain: Plain = False) -> int:
    """Roll out a good change and a bad one under traffic; the bad one is rolled back by itself.

    It takes half a minute, on a server of its own that is gone afterwards.
    """
    set_up_logging(level="error", as_json=False)
    with TemporaryDirectory() as folder:
        demo = _Demo(plain=plain)
        running.run(lambda stop: running.serve(_config(Path(folder)), stop, demo.show(stop)))
    return demo.code


def _config(folder: Path) -> Config:
    with needs_extra("server", "a server"):
        from placet_server.config import Config, RolloutsConfig, ServerConfig, StoreConfig
    return Config(
        server=ServerConfig(listen="127.0.0.1:0", node="demo", drain_s=1.0),
        store=StoreConfig(path=str(folder / "demo.db")),
        rollouts=RolloutsConfig(tick_s=0.1, min_samples=200, shadow_per_second=1000),
    )


@dataclass(slots=True)
class _Traffic:
    """What callers were told."""

    calls: int = 0
    failed: int = 0


class _Demo:
    """The script: what is done, and what is said about it."""

    def __init__(self, *, plain: bool) -> None:
        self._plain = plain
        self._traffic = _Traffic()
        self.code = ExitCode.OK

    def show(self, stop: Stop) -> _Script:
        """Return what is done with a server that serves; at its end the server stops."""

        async def script(serving: Serving) -> None:
            async with aio.Client(serving.address, tenant=TENANT, timeout_s=_PATIENCE_S) as client:
                documents = starter_documents()
                await client.publish(documents.change_set(replace_all=True), message="demo")
                callers = [
                    asyncio.create_task(_call(client, self._traffic)) for _ in range(_CALLERS)
                ]
                try:
                    await asyncio.to_thread(self._roll_out, serving.address)
                finally:
                    for caller in callers:
                        caller.cancel()
                    await asyncio.gather(*callers, return_exceptions=True)
            stop.ask()

        return script

    def _roll_out(self, address: str) -> None:
        with Client(address, tenant=TENANT, timeout_s=_PATIENCE_S, actor="ann") as client:
            terminal.line(f"a server on {address}, and {_CALLERS} callers who never pause")
            good = self._one(client, _GOOD, "first a harmless change:")
            bad = self._one(client, _BAD, "and one that is not what its author thinks:")
        traffic = self._traffic
        terminal.line("")
        terminal.line(
            f"{traffic.calls:,} calls meanwhile, {traffic.failed} failed; the stable policies "
            "decide again, and nobody had to get up"
        )
        if (good, bad) != (ExitCode.OK, ExitCode.ROLLED_BACK) or traffic.failed:
            raise Failure("the demo went otherwise than it should; the lines above say how")

    def _one(self, client: Client, policy: Policy, what: str) -> ExitCode:
        terminal.line("")
        terminal.line(what, style="bold")
        terminal.line(f"  {policy.cedar}")
        terminal.line("")
        started = client.start_rollout(
            ChangeSet(policies=[policy]), plan=_PLAN, message=policy.description
        )
        return follow(client, started.rollout, plain=self._plain, as_json=False)


async def _call(client: aio.Client, traffic: _Traffic) -> None:
    """Ask what people ask, over and over."""
    for number in itertools.count():
        user, department = EntityRef("User", f"u{number % 997}"), _DEPARTMENTS[number % 3]
        traffic.calls += 1
        try:
            await client.evaluate(
                user,
                "view",
                ("Invoice", _INVOICES[number % 7 % 3]),
                entities=[Entity(user, parents=(EntityRef("Department", department),))],
            )
        except PlacetError:
            traffic.failed += 1
        await asyncio.sleep(_PAUSE_S)
