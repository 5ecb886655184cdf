"""Keeps the node's policies at the source's head: one task, one direction.

Source → compile → swap → window → subscribers. Nothing else writes to the
node's active policies.

Tenants whose data may not be on this node do not get past here: of their
commits nothing is taken but the revision, and a placement that forbids the
node a tenant has it dropped at once, with all that was remembered of it.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from concurrent.futures import Executor
from contextlib import aclosing

from placet_engine.changes import Commit
from placet_engine.compiling import Compiler
from placet_engine.editions import CompiledEdition, Sides, compile_edition
from placet_engine.items import NO_REVISION, PLATFORM, TOPOLOGY, Revision
from placet_server.policies.active import ActivePolicies
from placet_server.policies.hub import Hub
from placet_server.policies.residency import Moved, Residency, Step, moves, without_content
from placet_server.policies.source import WITHHELD, Source
from placet_server.policies.window import CommitWindow
from placet_server.store.contract import RevisionCompacted, StoreError
from placet_server.store.following import Bell
from placet_server.telemetry.propagation import PropagationTelemetry

log = logging.getLogger(__name__)

_PAGE = 500
_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0
_BEAT_S = 0.1
"""How soon after each other the nodes that follow are told how current this one is."""


class Feed:
    """Follows a source for as long as :meth:`run` runs.

    Args:
        source: what is followed.
        compiler: compiles what comes.
        executor: the threads it does so in.
        active: what is kept at the source's head.
        hub: the subscribers who are told.
        residency: which tenants may be on this node.
        max_window_commits: how many commits are kept for subscribers who come back.
        max_window_changes: the same in changed items.
        confirm_every_s: how often the source is asked for its head.
        source_staleness_s: how long ago the source itself was known to be at the store's head,
            in seconds; for a store, that is now.
        source_told: rings when the source learned how current it is. None: it is to be asked.
        telemetry: what is told how it goes.
    """

    def __init__(
        self,
        *,
        source: Source,
        compiler: Compiler,
        executor: Executor,
        active: ActivePolicies,
        hub: Hub,
        residency: Residency,
        max_window_commits: int = 10_000,
        max_window_changes: int = 100_000,
        confirm_every_s: float = 0.5,
        source_staleness_s: Callable[[], float] = lambda: 0.0,
        source_told: Bell | None = None,
        telemetry: PropagationTelemetry | None = None,
    ) -> None:
        self._source = source
        self._compiler = compiler
        self._executor = executor
        self._active = active
        self._hub = hub
        self._residency = residency
        self._when_gone: list[Callable[[str], None]] = []
        self._max_window_commits = max_window_commits
        self._max_window_changes = max_window_changes
        self._confirm_every_s = confirm_every_s
        self._source_staleness_s = source_staleness_s
        self._told = source_told
        self._telemetry = telemetry or PropagationTelemetry()
        self.window = self._new_window(NO_REVISION)

    def when_gone(self, forget: Callable[[str], None]) -> None:
        """Have a function called with each tenant that may not be on this node any more."""
        self._when_gone.append(forget)

    def _forget(self, tenant: str) -> None:
        for forget in self._when_gone:
            forget(tenant)

    @property
    def is_loaded(self) -> bool:
        """Whether the node has anything yet."""
        return self._active.is_loaded

    async def load(self) -> None:
        """Bring the node to the source's head, whatever it had before."""
        head = await self._source.head()
        topology = await self._source.read(TOPOLOGY, at=head)
        self._residency.take(topology)
        platform = Sides.of(await self._source.read(PLATFORM, at=head))
        tenants = {
            owner: Sides.of(await self._source.read(owner, at=head))
            for owner in await self._source.owners()
            if owner not in (PLATFORM, TOPOLOGY) and self._residency.is_here(owner)
        }
        compiled = {
            tenant: (sides, await self._compile(platform, sides))
            for tenant, sides in tenants.items()
        }
        window = await self._loaded_window(head)
        gone = self._active.tenants.keys() - tenants.keys()
        self._active.swap(head, Sides(topology), {}, gone)
        self._active.swap(head, platform, compiled)
        self.window = window
        # Whoever follows would miss what was not read one by one, and starts over.
        self._hub.reset()
        for tenant in gone:
            self._forget(tenant)
        await self._active.announce()
        self._active.confirm_current(head, self._source_staleness_s())
        log.info("policies loaded", extra={"revision": head, "tenants": len(tenants)})

    async def run(self) -> None:
        """Follow the source until cancelled. One that is away makes the node stale, not dead."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="feed-follow")
            confirming = self._confirm() if self._told is None else self._hear(self._told)
            tasks.create_task(confirming, name="feed-confirm")

    async def _follow(self) -> None:
        delay_s = _RETRY_FIRST_S
        while True:
            start = self._active.revision
            try:
                await self._read_on()
            except StoreError:
                self._telemetry.failed()
                log.exception("the store does not answer; deciding from memory")
            except Exception:  # a node must not stop following in silence
                self._telemetry.failed()
                log.exception("a revision could not be taken over; deciding by the one before")
            if self._active.revision > start:
                delay_s = _RETRY_FIRST_S
            await asyncio.sleep(delay_s * random.uniform(0.5, 1.0))  # noqa: S311  # jitter
            delay_s = min(delay_s * 2, _RETRY_MOST_S)

    async def _read_on(self) -> None:
        """Take over one commit after the other, until something fails."""
        try:
            async with aclosing(self._source.watch(self._active.revision)) as commits:
                async for commit in commits:
                    await self._apply(commit)
                    # It may be of what must not be kept, and the next may be long in coming.
                    del commit
        except RevisionCompacted:
            # The node was away longer than commits are kept: it starts over.
            await self.load()

    async def _confirm(self) -> None:
        """Ask for the head now and then: silence alone does not show that one is current."""
        while True:
            try:
                head = await self._source.head()
                self._active.confirm_current(head, self._source_staleness_s())
            except StoreError:
                log.debug("could not confirm that the node is current", exc_info=True)
            await asyncio.sleep(self._confirm_every_s)

    async def _hear(self, told: Bell) -> None:
        """Take note whenever the source learned how current it is, and pass it on."""
        while True:
            ring = told.listen()
            self._active.confirm_current(await self._source.head(), self._source_staleness_s())
            self._hub.beat()
            # Each change of the source rings: that often nobody has to be told.
            await asyncio.sleep(_BEAT_S)
            await ring.wait()

    async def _apply(self, commit: Commit) -> None:
        if commit.owner == TOPOLOGY:
            await self._place(commit)
            return
        if commit.owner == PLATFORM:
            sides = self._applied(commit)
            compiled = {
                tenant: (state.sides, await self._compile(sides, state.sides))
                for tenant, state in self._active.tenants.items()
            }
            self._active.swap(commit.revision, sides, compiled)
        elif commit.owner != WITHHELD and self._residency.is_here(commit.owner):
            sides = self._applied(commit)
            compilation = await self._compile(self._active.sides(PLATFORM), sides)
            self._active.swap(commit.revision, sides, {commit.owner: (sides, compilation)})
        else:
            commit = without_content(commit)
            self._active.pass_over(commit.revision)
        await self._pass_on(Step(commit))

    def _applied(self, commit: Commit) -> Sides:
        return Sides.of(self._active.items(commit.owner).applying(commit.revision, commit.changes))

    async def _place(self, commit: Commit) -> None:
        """Take over where tenants are placed: drop those that must leave, read those that may come.

        INVARIANT: nothing is changed before the last wait: it may fail, and is then repeated.
        """
        here = self._residency.regions.here
        withdrawn = frozenset(commit.withdrawn)
        moving = list(moves(commit))
        coming = {
            move.tenant: Sides.of(await self._source.read(move.tenant, at=commit.revision))
            for move in moving
            if self._residency.is_allowed(move.after, here)
            and not self._residency.is_allowed(move.before, here)
            and move.tenant not in withdrawn
        }
        platform = self._active.sides(PLATFORM)
        compiled = {
            tenant: (sides, await self._compile(platform, sides))
            for tenant, sides in coming.items()
            if sides.stable.revision
        }
        forbidden = {
            move.tenant for move in moving if not self._residency.is_allowed(move.after, here)
        }
        leaving = forbidden | withdrawn
        moved = tuple(
            Moved(
                move,
                {
                    key: item.digest
                    for key, item in coming.get(
                        move.tenant, self._active.sides(move.tenant)
                    ).stable.items.items()
                },
            )
            for move in moving
        )
        self._residency.apply(commit)
        topology = Sides(self._active.topology.applying(commit.revision, commit.changes))
        self._active.swap(commit.revision, topology, compiled, leaving)
        for tenant in leaving:
            self.window.forget(tenant)
            self._forget(tenant)
            log.info("a tenant may not be in this region any more", extra={"tenant": tenant})
        await self._pass_on(Step(commit, moved))
        if withdrawn - forbidden:
            # They may be here, but not where they would come from. Who follows this node cannot
            # work that out from the placement, and starts over.
            self._hub.reset()

    async def _pass_on(self, step: Step) -> None:
        """Tell everybody of a commit that was taken over.

        INVARIANT: nothing waits between taking it over and the end of the broadcast. Who subscribes
        sees either what was before the commit, and gets it, or what is after, and does not.
        """
        self.window.add(step.commit)
        self._hub.broadcast(step)
        self._telemetry.activated(step.commit.time)
        if self._told is not None:
            # A copy has its head in memory: there is nothing to wait for.
            self._active.confirm_current(await self._source.head(), self._source_staleness_s())
        await self._active.announce()

    async def _compile(self, platform: Sides, own: Sides) -> CompiledEdition:
        """Compile in a thread: it takes milliseconds, which other requests should not wait."""
        loop = asyncio.get_running_loop()
        base = self._active.compiled(own.stable.owner)
        return await loop.run_in_executor(
            self._executor, compile_edition, self._compiler, platform, own, base
        )

    async def _loaded_window(self, head: Revision) -> CommitWindow:
        """Return a full window, so that subscribers can resume across a restart."""
        earliest = await self._source.earliest()
        start = Revision(max(earliest, head - self._max_window_commits))
        window = self._new_window(start)
        while start < head:
            for commit in await self._source.commits(start, limit=_PAGE):
                if commit.revision > head:
                    return window
                is_shared = commit.owner in (PLATFORM, TOPOLOGY)
                is_here = is_shared or self._residency.is_here(commit.owner)
                window.add(commit if is_here else without_content(commit))
                start = commit.revision
        return window

    def _new_window(self, start: Revision) -> CommitWindow:
        return CommitWindow(
            start, max_commits=self._max_window_commits, max_changes=self._max_window_changes
        )
