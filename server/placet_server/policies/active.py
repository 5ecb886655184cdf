"""What this node decides by: every tenant's items and compiled program, in memory.

Readers take references and never wait; one writer, the feed, swaps them. All
of it lives on the event loop, so that nothing here needs a lock.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass

from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compilation
from placet_engine.editions import CompiledEdition, Edition, Sides
from placet_engine.items import NO_REVISION, PLATFORM, TOPOLOGY, Revision
from placet_engine.program import Program
from placet_server.clock import Clock
from placet_server.errors import NodeNotReady, PlacetError, RevisionNotReached, TenantUnknown

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Refusal:
    """A revision that this node could not compile for a tenant."""

    owner: str
    """Whose revision it is: the tenant's, or the platform's."""
    tenant: str
    revision: Revision
    reason: str
    message: str
    time: datetime.datetime


@dataclass(frozen=True, slots=True, kw_only=True)
class TenantState:
    """A tenant's items and what they were compiled to."""

    sides: Sides
    compiled: CompiledItems | None
    """What later states are compiled from: the newest that compiled."""
    edition: Edition | None
    """None when nothing of the tenant ever compiled on this node."""
    outdated_since: float | None
    """Monotonic time since when the program lags behind the items, because
    they did not compile. None when it does not."""
    refusals: tuple[Refusal, ...] = ()
    """What did not compile: of the items, and of a rollout's candidate."""

    @property
    def items(self) -> ItemSet:
        """The tenant's items."""
        return self.sides.stable


class ActivePolicies:
    """Every tenant's policies as of one revision of the store.

    Args:
        clock: tells how old what is known is.
        node: this node's name, for rollouts that go by node.
        missing: what is raised for a tenant that is not there.
    """

    def __init__(
        self, clock: Clock, node: str = "", missing: Callable[[str], PlacetError] = TenantUnknown
    ) -> None:
        self._clock = clock
        self._node = node
        self._missing = missing
        self._platform = Sides(ItemSet(owner=PLATFORM))
        self._topology = Sides(ItemSet(owner=TOPOLOGY))
        self._tenants: dict[str, TenantState] = {}
        self._revision = NO_REVISION
        self._current_at: float | None = None
        self._is_loaded = False
        self._moved = asyncio.Condition()

    @property
    def revision(self) -> Revision:
        """The revision of the store this node has got to."""
        return self._revision

    @property
    def is_loaded(self) -> bool:
        """Whether anything has come yet. If not, nobody knows which tenants there are."""
        return self._is_loaded

    @property
    def platform(self) -> ItemSet:
        """What applies to every tenant."""
        return self._platform.stable

    @property
    def topology(self) -> ItemSet:
        """Where tenants are placed, and what is set of nodes."""
        return self._topology.stable

    @property
    def tenants(self) -> Mapping[str, TenantState]:
        """Every tenant's state, by name."""
        return self._tenants

    def items(self, owner: str) -> ItemSet:
        """Return an owner's items; none if nobody published for it."""
        return self.sides(owner).stable

    def sides(self, owner: str) -> Sides:
        """Return an owner's items, and the candidate of a rollout that is under way."""
        if owner == PLATFORM:
            return self._platform
        if owner == TOPOLOGY:
            return self._topology
        state = self._tenants.get(owner)
        return state.sides if state else Sides(ItemSet(owner=owner))

    def compiled(self, owner: str) -> CompiledItems | None:
        """Return what an owner's next state can be compiled from, if anything can."""
        state = self._tenants.get(owner)
        return state.compiled if state else None

    def has_program(self, tenant: str) -> bool:
        """Whether there is a program for a tenant."""
        state = self._tenants.get(tenant)
        return state is not None and state.edition is not None

    def edition(self, tenant: str) -> Edition:
        """Return what decides a tenant's requests.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
            WrongRegion: the tenant's data may not be on this node.
            NodeNotReady: nothing has come to this node yet.
        """
        state = self._tenants.get(tenant)
        if state is None or state.edition is None:
            raise self.missing(tenant)
        return state.edition

    def missing(self, tenant: str) -> PlacetError:
        """Return what to say of a tenant that is not here."""
        return self._missing(tenant) if self._is_loaded else NodeNotReady()

    def program(self, tenant: str) -> Program:
        """Return a tenant's stable program.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
            WrongRegion: the tenant's data may not be on this node.
        """
        return self.edition(tenant).stable.program

    def sets(self) -> list[ItemSet]:
        """Return the items of every owner, the platform's first."""
        return [self.platform, *(state.items for state in self._tenants.values())]

    @property
    def refusals(self) -> list[Refusal]:
        """What this node could not compile, and nobody has mended since."""
        return [refusal for state in self._tenants.values() for refusal in state.refusals]

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

    def confirm_current(self, head: Revision, age_s: float = 0.0) -> None:
        """Note that the store was at ``head``; if the node is there too, it was current.

        Args:
            head: the store's newest revision.
            age_s: how long ago it was known to be that, in seconds.
        """
        if self._revision >= head:
            moment = self._clock.monotonic() - age_s
            # What was known once stays known, whoever says later that he knows less.
            self._current_at = max(moment, self._current_at or moment)

    def swap(
        self,
        revision: Revision,
        sides: Sides,
        compiled: Mapping[str, tuple[Sides, CompiledEdition]],
        gone: Collection[str] = (),
    ) -> None:
        """Take over what a revision leads to, all at once. To be announced afterwards.

        Args:
            revision: the store's revision this is.
            sides: the items of the owner that changed.
            compiled: every tenant whose programs the change concerns.
            gone: tenants that are not there any more.
        """
        if sides.stable.owner == PLATFORM:
            self._platform = sides
        elif sides.stable.owner == TOPOLOGY:
            self._topology = sides
        self._revision = revision
        self._is_loaded = True
        for tenant in gone:
            self._tenants.pop(tenant, None)
        for tenant, (own, edition) in compiled.items():
            self._tenants[tenant] = self._next_state(own, edition, sides.stable.owner)

    def pass_over(self, revision: Revision) -> None:
        """Take note of a revision of which this node takes nothing. To be announced afterwards."""
        self._revision = revision

    async def announce(self) -> None:
        """Wake those who wait for a revision."""
        async with self._moved:
            self._moved.notify_all()

    def _next_state(self, own: Sides, compiled: CompiledEdition, owner: str) -> TenantState:
        refusals = tuple(self._refusals(own.stable.owner, compiled, owner))
        former = self._tenants.get(own.stable.owner)
        edition = compiled.edition(node=self._node)
        if edition is not None or former is None:
            return TenantState(
                sides=own,
                compiled=compiled.stable.own if edition is not None else None,
                edition=edition,
                outdated_since=None if edition is not None else self._clock.monotonic(),
                refusals=refusals,
            )
        # Publishing compiles first, so that this is a set another version
        # accepted. The former program goes on, and says how old it is.
        since = former.outdated_since
        return TenantState(
            sides=own,
            compiled=former.compiled,
            edition=former.edition,
            outdated_since=self._clock.monotonic() if since is None else since,
            refusals=refusals,
        )

    def _refusals(self, tenant: str, compiled: CompiledEdition, owner: str) -> Iterator[Refusal]:
        """Say what of a tenant does not compile on this node."""
        if compiled.stable.program is None:
            yield self._refusal(owner, tenant, compiled.stable)
        candidate, rollout = compiled.candidate, compiled.rollout
        if candidate is not None and rollout is not None and candidate.program is None:
            revision = Revision(rollout.candidate_revision)
            yield self._refusal(compiled.rollout_owner, tenant, candidate, revision)

    def _refusal(
        self, owner: str, tenant: str, compilation: Compilation, revision: Revision | None = None
    ) -> Refusal:
        refusal = Refusal(
            owner=owner,
            tenant=tenant,
            revision=self._revision if revision is None else revision,
            reason=compilation.errors[0].reason,
            message="; ".join(problem.message for problem in compilation.errors),
            time=self._clock.now(),
        )
        log.error(
            "a revision does not compile on this node",
            extra={
                "tenant": tenant,
                "revision": refusal.revision,
                "problems": [problem.message for problem in compilation.errors],
            },
        )
        return refusal

    async def wait_past(self, revision: Revision) -> None:
        """Wait, as long as it takes, until the node has got past a revision."""
        async with self._moved:
            await self._moved.wait_for(lambda: self._revision > revision)

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
