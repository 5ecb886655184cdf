"""Keeps the node's policies at the source's head: one task, one direction.

Source → compile → swap → window → subscribers. Nothing else writes to the
node's active policies.
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
from placet_server.policies.source import WITHHELD, Source
from placet_server.policies.window import CommitWindow
from placet_server.store.contract import RevisionCompacted, StoreError
from placet_server.telemetry.propagation import PropagationTelemetry

log = logging.getLogger(__name__)

_PAGE = 500
_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 5.0


class Feed:
    """Follows a source for as long as :meth:`run` runs.

    Args:
        source: what is followed.
        compiler: compiles what comes.
        executor: the threads it does so in.
        active: what is kept at the source's head.
        hub: the subscribers who are told.
        max_window_commits: how many commits are kept for subscribers who come back.
        max_window_changes: the same in changed items.
        confirm_every_s: how often the source is asked for its head.
        source_staleness_s: how long ago the source itself was known to be at the store's head,
            in seconds; for a store, that is now.
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
        max_window_commits: int = 10_000,
        max_window_changes: int = 100_000,
        confirm_every_s: float = 0.5,
        source_staleness_s: Callable[[], float] = lambda: 0.0,
        telemetry: PropagationTelemetry | None = None,
    ) -> None:
        self._source = source
        self._compiler = compiler
        self._executor = executor
        self._active = active
        self._hub = hub
        self._max_window_commits = max_window_commits
        self._max_window_changes = max_window_changes
        self._confirm_every_s = confirm_every_s
        self._source_staleness_s = source_staleness_s
        self._telemetry = telemetry or PropagationTelemetry()
        self.window = self._new_window(NO_REVISION)

    @property
    def is_loaded(self) -> bool:
        """Whether the node has anything yet."""
        return self._active.is_loaded

    async def load(self) -> None:
        """Bring the node to the source's head, whatever it had before."""
        head = await self._source.head()
        owners = await self._source.owners()
        platform = Sides.of(await self._source.read(PLATFORM, at=head))
        tenants = {
            owner: Sides.of(await self._source.read(owner, at=head))
            for owner in owners
            if owner not in (PLATFORM, TOPOLOGY)
        }
        compiled = {
            tenant: (sides, await self._compile(platform, sides))
            for tenant, sides in tenants.items()
        }
        topology = Sides(await self._source.read(TOPOLOGY, at=head))
        gone = self._active.tenants.keys() - compiled.keys()
        await self._active.swap(head, topology, {})
        await self._active.swap(head, platform, compiled, gone)
        await self._load_window(head)
        self._active.confirm_current(head, self._source_staleness_s())
        log.info("policies loaded", extra={"revision": head, "tenants": len(tenants)})

    async def run(self) -> None:
        """Follow the source until cancelled. One that is away makes the node stale, not dead."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._follow(), name="feed-follow")
            tasks.create_task(self._confirm(), name="feed-confirm")

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
        except RevisionCompacted:
            # The node was away longer than commits are kept: it starts over,
            # and so have its subscribers to, who would miss what it missed.
            self._hub.reset()
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

    async def _apply(self, commit: Commit) -> None:
        if commit.owner == WITHHELD:
            await self._active.advance(commit.revision)
        else:
            await self._take_over(commit)
            self._telemetry.activated(commit.time)
        self.window.add(commit)
        self._hub.broadcast(commit)

    async def _take_over(self, commit: Commit) -> None:
        own = [change for change in commit.changes if change.owner == commit.owner]
        gone = {change.owner for change in commit.changes} - {commit.owner}
        items = self._active.items(commit.owner).applying(commit.revision, own)
        sides = Sides.of(items)
        compiled: dict[str, tuple[Sides, CompiledEdition]]
        if commit.owner == TOPOLOGY:
            compiled = {}
        elif commit.owner == PLATFORM:
            compiled = {
                tenant: (state.sides, await self._compile(sides, state.sides))
                for tenant, state in self._active.tenants.items()
            }
        else:
            platform = self._active.sides(PLATFORM)
            compiled = {commit.owner: (sides, await self._compile(platform, sides))}
        await self._active.swap(commit.revision, sides, compiled, gone)

    async def _compile(self, platform: Sides, own: Sides) -> CompiledEdition:
        """Compile in a thread: it takes milliseconds, which other requests should not wait."""
        loop = asyncio.get_running_loop()
        base = self._active.compiled(own.stable.owner)
        return await loop.run_in_executor(
            self._executor, compile_edition, self._compiler, platform, own, base
        )

    async def _load_window(self, head: Revision) -> None:
        """Fill the window, so that subscribers can resume across a restart."""
        earliest = await self._source.earliest()
        start = Revision(max(earliest, head - self._max_window_commits))
        self.window = self._new_window(start)
        while start < head:
            for commit in await self._source.commits(start, limit=_PAGE):
                if commit.revision > head:
                    return
                self.window.add(commit)
                start = commit.revision

    def _new_window(self, start: Revision) -> CommitWindow:
        return CommitWindow(
            start, max_commits=self._max_window_commits, max_changes=self._max_window_changes
        )
