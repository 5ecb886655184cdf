"""What this node decides by: every tenant's items and compiled program, in memory.

Readers take references and never wait; one writer, the feed, swaps them. All
of it lives on the event loop, so that nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import dataclass

from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compilation
from placet_engine.items import NO_REVISION, PLATFORM, Revision
from placet_engine.program import Program
from placet_server.clock import Clock
from placet_server.errors import RevisionNotReached, TenantUnknown

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class TenantState:
    """A tenant's items and the program they were compiled to."""

    items: ItemSet
    compiled: CompiledItems | None
    """What later states are compiled from: the newest that compiled."""
    program: Program | None
    """None when nothing of the tenant ever compiled on this node."""
    outdated_since: float | None
    """Monotonic time since when the program lags behind the items, because
    they did not compile. None when it does not."""


class ActivePolicies:
    """Every tenant's policies as of one revision of the store."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._platform = ItemSet(owner=PLATFORM)
        self._tenants: dict[str, TenantState] = {}
        self._revision = NO_REVISION
        self._current_at: float | None = None
        self._moved = asyncio.Condition()

    @property
    def revision(self) -> Revision:
        """The revision of the store this node has got to."""
        return self._revision

    @property
    def platform(self) -> ItemSet:
        """What applies to every tenant."""
        return self._platform

    @property
    def tenants(self) -> Mapping[str, TenantState]:
        """Every tenant's state, by name."""
        return self._tenants

    def items(self, owner: str) -> ItemSet:
        """Return an owner's items; none if nobody published for it."""
        if owner == PLATFORM:
            return self._platform
        state = self._tenants.get(owner)
        return state.items if state else ItemSet(owner=owner)

    def compiled(self, owner: str) -> CompiledItems | None:
        """Return what an owner's next state can be compiled from, if anything can."""
        state = self._tenants.get(owner)
        return state.compiled if state else None

    def has_program(self, tenant: str) -> bool:
        """Whether there is a program for a tenant."""
        state = self._tenants.get(tenant)
        return state is not None and state.program is not None

    def program(self, tenant: str) -> Program:
        """Return a tenant's program.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
        """
        state = self._tenants.get(tenant)
        if state is None or state.program is None:
            raise TenantUnknown(tenant)
        return state.program

    def staleness_s(self, tenant: str) -> float:
        """Return how long ago the tenant's program was last known to be current, in seconds."""
        moments = [self._current_at]
        state = self._tenants.get(tenant)
        if state is not None and state.outdated_since is not None:
            moments.append(state.outdated_since)
        known = [moment for moment in moments if moment is not None]
        return max(self._clock.monotonic() - min(known), 0.0) if known else float("inf")

    def node_staleness_s(self) -> float:
        """Return how long ago the node was last known to be at the store's head, in seconds."""
        return self.staleness_s(PLATFORM)

    def confirm_current(self, head: Revision) -> None:
        """Note that the store is at ``head``; if the node is there too, it is current."""
        if self._revision >= head:
            self._current_at = self._clock.monotonic()

    async def swap(
        self,
        revision: Revision,
        items: ItemSet,
        compiled: Mapping[str, tuple[ItemSet, Compilation]],
    ) -> None:
        """Take over what a revision leads to, all at once.

        Args:
            revision: the store's revision this is.
            items: the owner that changed.
            compiled: every tenant whose program the change concerns.
        """
        if items.owner == PLATFORM:
            self._platform = items
        for tenant, (own, compilation) in compiled.items():
            self._tenants[tenant] = self._next_state(own, compilation)
        self._revision = revision
        async with self._moved:
            self._moved.notify_all()

    def _next_state(self, items: ItemSet, compilation: Compilation) -> TenantState:
        if compilation.program is not None:
            return TenantState(items, compilation.own, compilation.program, None)
        # Publishing compiles first, so that this is a set another version
        # accepted. The former program goes on, and says how old it is.
        log.error(
            "a revision does not compile on this node",
            extra={
                "tenant": items.owner,
                "revision": items.revision,
                "problems": [problem.message for problem in compilation.errors],
            },
        )
        former = self._tenants.get(items.owner)
        if former is None:
            return TenantState(items, None, None, self._clock.monotonic())
        since = former.outdated_since
        return TenantState(
            items,
            former.compiled,
            former.program,
            self._clock.monotonic() if since is None else since,
        )

    async def wait_for(self, revision: Revision, timeout_s: float) -> None:
        """Wait until the node has got to a revision.

        Raises:
            RevisionNotReached: it did not, in time.
        """
        if self._revision >= revision:
            return
        try:
            async with asyncio.timeout(timeout_s), self._moved:
                await self._moved.wait_for(lambda: self._revision >= revision)
        except TimeoutError:
            raise RevisionNotReached(revision, self._revision) from None
