"""Programs that follow a tenant's policies: each new state of them is compiled and put to work.

A state that does not compile is reported and not used; the program before it
goes on, and its knowledge ages from the moment it was overtaken.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import replace
from types import MappingProxyType

from placet import wire
from placet._channel import Destination
from placet._errors import (
    DeadlineExceeded,
    Internal,
    PlacetError,
    RegionForbidden,
    Unavailable,
)
from placet._freshness import State, StateChange, Status
from placet._mirror import ItemReader, Snapshot
from placet._opening import following, subscribe_request
from placet._subscription import FollowOptions, Subscription
from placet.local._judging import NODE, Judge
from placet.local._options import LocalOptions
from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compiler
from placet_engine.editions import CompiledEdition, Sides, compile_edition
from placet_engine.items import PLATFORM, Item, ItemKey, Revision

log = logging.getLogger("placet.local")

ENGINE_ITEMS: ItemReader[Item] = ItemReader(wire.item_from_wire, wire.removal_from_wire)


class Programs:
    """The program in use, and how old what it knows is.

    Lives on an event loop. ``judge``, ``status`` and ``staleness_s`` may be
    looked at from any thread.
    """

    def __init__(
        self,
        subscription: Subscription[Item],
        options: LocalOptions,
        *,
        compiler: Compiler | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._subscription = subscription
        self._options = options
        self._compiler = compiler or Compiler()
        self._clock = clock
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="placet-compile")
        self._compile_error: PlacetError | None = None
        self._compiled: CompiledItems | None = None
        self._behind_since_s: float | None = None
        self._announced = State.CONNECTING
        self._forgotten = 0
        self.judge: Judge | None = None
        """The newest program that compiled."""

    # ------------------------------------------------------------------ what can be seen

    @property
    def status(self) -> Status:
        """As a subscription's, but about what decides: an error if its policies do not compile."""
        status = self._subscription.status
        if self._compile_error is not None:
            status = status.failed(self._compile_error)
        elif self.judge is None and status.state is not State.ERROR:
            status = replace(status, state=State.CONNECTING)
        revision = self.judge.revision if self.judge is not None else 0
        return status.moved(revision)

    def staleness_s(self) -> float | None:
        """Return the time since the program in use was known to be the newest; None without."""
        now_s = self._clock()
        staleness_s = self._subscription.status.staleness_s(now_s)
        if self.judge is None or staleness_s is None:
            return None
        for overtaken_s in (self._behind_since_s, self._subscription.unread_since_s):
            if overtaken_s is not None:
                staleness_s = max(staleness_s, now_s - overtaken_s)
        return max(staleness_s, 0)

    def covers(self, revision: int) -> bool:
        """Whether there is a program which knows everything up to a revision."""
        return self.judge is not None and self.judge.revision >= revision

    async def wait_covering(self, revision: int, *, timeout_s: float) -> None:
        """Wait for a program that knows everything up to a revision of the tenant's.

        Raises:
            CouldNotDecide: there is none, in time.
            PlacetError: the one that ended the subscription.
        """
        try:
            await self._subscription.wait_until(
                lambda: self.covers(revision) or self._is_hopeless(), timeout_s=timeout_s
            )
        except DeadlineExceeded as error:
            if self.judge is None:
                raise Unavailable(f"no policies have come yet; {error}") from error
            raise
        if not self.covers(revision):
            obstacle = self._obstacle
            assert obstacle is not None
            raise obstacle

    def _is_hopeless(self) -> bool:
        """Whether there are no policies and none to be waited for."""
        return self.judge is None and self._obstacle is not None

    @property
    def _obstacle(self) -> PlacetError | None:
        """What keeps policies that have come, or may come no more, from being used."""
        last_error = self._subscription.status.last_error
        is_forbidden = self._subscription.status.state is State.ERROR and isinstance(
            last_error, RegionForbidden
        )
        return last_error if is_forbidden else self._compile_error

    async def wait_ready(self, *, timeout_s: float) -> None:
        """Wait until the newest policies are in use. Raises as a subscription does."""
        await self._subscription.wait_until(
            lambda: self.status.state is State.READY, timeout_s=timeout_s
        )

    # ---------------------------------------------------------------------------- its life

    async def run(self) -> None:
        """Put each new state to work until the subscription ends."""
        try:
            async for event in self._subscription:
                # Deltas are never left waiting one by one: every event is the whole set.
                assert isinstance(event, Snapshot)
                await self._take(event)
        except PlacetError as error:
            log.warning("following policies has ended", extra={"error": str(error)})
        finally:
            self._executor.shutdown(wait=False)

    async def _take(self, snapshot: Snapshot[Item]) -> None:
        if self._behind_since_s is None:
            self._behind_since_s = self._clock()
        loop = asyncio.get_running_loop()
        forgotten = self._forgotten
        try:
            compilation = await loop.run_in_executor(self._executor, self._compile, snapshot)
        except Internal as error:
            self._compile_error = error
        except Exception as error:  # a mistake of ours must not end the following unseen
            log.exception("compiling failed")
            self._compile_error = Internal(f"compiling revision {snapshot.revision}: {error}")
        else:
            if self._forgotten == forgotten:
                self._install(compilation, snapshot.revision)
        self.announce()
        self._subscription.recheck()

    def forget(self) -> None:
        """Let go of all programs: the tenant's data may not be here any more."""
        self._forgotten += 1
        self.judge = self._compiled = self._behind_since_s = None
        self._compiler.forget()

    def _compile(self, snapshot: Snapshot[Item]) -> CompiledEdition:
        platform, own = map(Sides.of, item_sets(self._options.tenant, snapshot))
        return compile_edition(self._compiler, platform, own, self._compiled)

    def _install(self, compiled: CompiledEdition, revision: int) -> None:
        edition = compiled.edition(node=self._options.subscriber or NODE)
        if edition is None:
            problems = "; ".join(problem.message for problem in compiled.stable.errors)
            self._compile_error = Internal(
                f"the policies at revision {revision} do not compile here, so that those before "
                f"them go on: {problems}",
                reason="POLICIES_DO_NOT_COMPILE",
            )
            log.error("policies do not compile", extra={"revision": revision, "problems": problems})
            return
        self.judge = Judge(edition, revision, cache_entries=self._options.cache_entries)
        self._compiled = compiled.stable.own
        self._compile_error = None
        self._behind_since_s = self._subscription.unread_since_s

    def announce(self) -> None:
        """Tell the owner when the state has changed."""
        status = self.status
        before, self._announced = self._announced, status.state
        if before is not status.state and self._options.on_state_change is not None:
            error = None if status.state is State.READY else status.last_error
            try:
                self._options.on_state_change(
                    StateChange(before, status.state, status.revision, error)
                )
            except Exception:  # the caller's code; following goes on without it
                log.exception("state change callback failed")


def item_sets(tenant: str, snapshot: Snapshot[Item]) -> tuple[ItemSet, ItemSet]:
    """Part a snapshot into the platform's items and the tenant's own.

    Raises:
        Internal: an item is of somebody else.
    """
    items: dict[str, dict[ItemKey, Item]] = {PLATFORM: {}, tenant: {}}
    for item in snapshot.items:
        if item.owner not in items:
            raise Internal(f"the server sent an item of another tenant, `{item.owner}`")
        items[item.owner][item.key] = item
    # A server that does not say which of the two changed last knows of no rollouts either, and
    # then the revision of the program is the larger one.
    newest = snapshot.revision
    revisions = (snapshot.platform_revision, snapshot.tenant_revision)
    if not any(revisions):
        revisions = (newest, newest)
    platform, own = (
        ItemSet(owner=owner, revision=Revision(revision), items=MappingProxyType(mine))
        for revision, (owner, mine) in zip(revisions, items.items(), strict=True)
    )
    return platform, own


@asynccontextmanager
async def following_programs(
    destination: Destination,
    options: LocalOptions,
    *,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncIterator[Programs]:
    """Follow a tenant's policies over a connection of its own, closed at the end."""
    request = subscribe_request(
        options.tenant, subscriber=options.subscriber, region=options.region
    )
    programs: Programs | None = None

    def announce(_: StateChange) -> None:
        if programs is not None:
            programs.announce()

    def forget() -> None:
        if programs is not None:
            programs.forget()

    follow_options = FollowOptions(
        stale_after_s=options.stale_after_s,
        max_waiting_deltas=0,
        on_state_change=announce,
        on_forget=forget,
    )
    async with following(
        destination, request, ENGINE_ITEMS, follow_options, clock=clock
    ) as subscription:
        programs = Programs(subscription, options, clock=clock)
        task = asyncio.create_task(programs.run(), name="placet-programs")
        try:
            yield programs
        finally:
            task.cancel()
            await asyncio.wait([task])
