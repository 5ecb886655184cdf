"""All that is known of a fleet, behind one lock that is held for microseconds.

Knows neither gRPC nor the time: both are passed in. Threads and event loops use it alike; what
has to be done about it (connecting, watching) is told by ``on_change``.
"""

from __future__ import annotations

import random
import threading
from collections import OrderedDict
from collections.abc import Callable, Collection
from typing import NamedTuple

from placet._balancing.budget import RetryBudget
from placet._balancing.endpoints import EndpointState, EndpointStatistics, Tiers
from placet._balancing.members import Fault, Health, Member
from placet._balancing.options import Balancing
from placet._balancing.pace import Pace
from placet._balancing.pickers import PICKERS
from placet._balancing.selection import Selection
from placet._errors import PlacetError

_MOST_TENANTS = 1024
_TENANT_ROUTE_S = 60.0
"""How long a route that a refusal led to is taken, before the usual endpoints are asked again."""


class Begun(NamedTuple):
    """An attempt that was begun."""

    member: Member
    has_other: bool
    """Whether another could serve if this one does not, and the budget pays for it."""
    longest_s: float
    """How long the slowest of the newest calls of its kind took; 0 without any."""


class Balancer:
    """The fleet of one client. Thread-safe."""

    def __init__(
        self,
        options: Balancing,
        *,
        rng: random.Random | None = None,
        on_change: Callable[[], None] = lambda: None,
    ) -> None:
        """Begin without endpoints.

        Args:
            options: how to choose.
            rng: for every choice by chance.
            on_change: called when ``wanted`` or ``gone`` may have changed, by whichever thread
                changed it, with no lock held.
        """
        self.options = options
        # Spreads calls; nobody gains by guessing them.
        self._rng = rng or random.Random()  # noqa: S311
        self.on_change = on_change
        self._lock = threading.Lock()
        self._members: dict[str, Member] = {}
        self._tiers: Tiers | None = None
        self._usual: Selection | None = None
        self._tenants: OrderedDict[str, tuple[Selection, float]] = OrderedDict()
        self._budget = RetryBudget(ratio=options.retry_ratio, per_second=options.retries_per_second)
        self._paces: dict[str, Pace] = {}
        self.outage: PlacetError | None = None
        """Why there are no endpoints, while there are none."""

    # ------------------------------------------------------------------- what is said of it

    def route(self, tiers: Tiers) -> None:
        """Take the endpoints that a source lists, in place of those before."""
        with self._lock:
            if tiers == self._tiers:
                return
            before, self._tiers = self._usual, tiers
            self._usual = self._select(tiers)
            if before is not None:
                self._usual.take_over(before)
            self.outage = None
            self._unlist()
        self.on_change()

    def no_route(self, error: PlacetError) -> None:
        """Give no calls to anybody: there is nowhere they may go."""
        with self._lock:
            self._tiers = self._usual = None
            self.outage = error
            self._unlist()
        self.on_change()

    def tenant_route(self, tenant: str, tiers: Tiers, now_s: float) -> bool:
        """Take where a refusal led for a tenant; return whether that is anywhere to go.

        A client that names its regions goes nowhere else, whoever says so.
        """
        regions = self.options.regions
        if regions:
            tiers = [
                [endpoint for endpoint in tier if endpoint.region in regions] for tier in tiers
            ]
        if not any(tiers):
            return False
        with self._lock:
            self._tenants[tenant] = (self._select(tiers), now_s + _TENANT_ROUTE_S)
            self._tenants.move_to_end(tenant)
            if len(self._tenants) > _MOST_TENANTS:
                self._tenants.popitem(last=False)
            self._unlist()
        self.on_change()
        return True

    def health(
        self, member: Member, health: Health, now_s: float, error: PlacetError | None = None
    ) -> None:
        """Take what the health watch says."""
        with self._lock:
            member.health_is(health, now_s, error)
            self._doubt()
        self.on_change()

    def watch_begins(self, member: Member, now_s: float) -> None:
        """Note that an endpoint's health is watched from now on."""
        with self._lock:
            member.watch_begins(now_s)
            self._doubt()

    def watch_ends(self, member: Member) -> None:
        """Note that it is watched no longer."""
        with self._lock:
            member.watch_ends()
            self._doubt()

    # ------------------------------------------------------------------------------- calls

    @property
    def has_route(self) -> bool:
        """Whether any endpoint is known."""
        return self._usual is not None

    def begin(
        self,
        tenant: str,
        kind: str,
        now_s: float,
        tried: Collection[Member] = (),
        holder: str = "",
    ) -> Begun | None:
        """Pick an endpoint for an attempt; None: all were tried.

        Args:
            tenant: whose call it is.
            kind: what is called, for what is usual.
            now_s: the time.
            tried: endpoints that are not to be picked. With any it is no new call.
            holder: the address that is picked if it can be, for what only it knows well.
        """
        with self._lock:
            routes = len(self._tenants)
            selection = self._selection(tenant, now_s)
            if selection is None:
                return None
            used = selection.used
            if not tried:
                self._budget.deposit(now_s)
            picked = self._members.get(holder) if holder else None
            if picked is None or not selection.can_serve(picked):
                picked = selection.pick(now_s, tried)
            if picked is None:
                return None
            picked.begin()
            has_other = selection.has_other(picked) and self._budget.balance(now_s) >= 1.0
            longest_s = self._pace(kind).longest_s
            is_moved = selection.used != used or len(self._tenants) != routes
        if is_moved:
            self.on_change()
        return Begun(picked, has_other, longest_s)

    def has_untried(self, tenant: str, now_s: float, tried: Collection[Member]) -> bool:
        """Return whether there is any endpoint left to try."""
        with self._lock:
            selection = self._selection(tenant, now_s)
            return selection is not None and any(
                member not in tried for tier in selection.tiers for member in tier
            )

    def heard(self, member: Member, now_s: float) -> None:
        """Note a sign of life in the middle of an attempt."""
        with self._lock:
            if member.answered(None, now_s):
                self._doubt()

    def answered(self, member: Member, latency_s: float | None, kind: str, now_s: float) -> None:
        """Note the answer to an attempt; a refusal is one too."""
        with self._lock:
            member.end()
            was_doubted = member.answered(latency_s, now_s)
            if latency_s is not None:
                self._pace(kind).note(latency_s)
            if was_doubted:
                self._doubt()
        self._mind(member)

    def failed(
        self, member: Member, error: PlacetError, fault: Fault, begun_s: float, now_s: float
    ) -> None:
        """Note that an attempt failed through the endpoint's fault."""
        with self._lock:
            member.end()
            member.failed(error, fault, begun_s, now_s)
            self._judge(member, now_s)
            self._doubt()
        self.on_change()

    def dropped(self, member: Member) -> None:
        """Note the end of an attempt that says nothing: it was cancelled, or is a stream's."""
        with self._lock:
            member.end()
        self._mind(member)

    def repeat(self, now_s: float) -> bool:
        """Take another attempt out of the budget; return whether there was one."""
        with self._lock:
            return self._budget.withdraw(now_s)

    def pace(self, kind: str) -> Pace:
        """Return how long calls of a kind take."""
        with self._lock:
            return self._pace(kind)

    # --------------------------------------------------------------------- what is to be done

    def wanted(self) -> list[Member]:
        """Return the endpoints to be connected to and watched."""
        with self._lock:
            routes = [selection for selection, _ in self._tenants.values()]
            if self._usual is not None:
                routes.insert(0, self._usual)
            warm = self.options.warm_fallbacks
            return list(dict.fromkeys(member for route in routes for member in route.wanted(warm)))

    def gone(self) -> list[Member]:
        """Return, and forget, the endpoints that are listed no longer and have no calls."""
        with self._lock:
            gone = [
                member
                for member in self._members.values()
                if not member.is_listed and not member.in_flight
            ]
            for member in gone:
                del self._members[member.endpoint.address]
            return gone

    def is_settled(self, now_s: float) -> bool:
        """Return whether the nearest endpoints have been heard of, and somebody can serve."""
        with self._lock:
            if self._usual is None:
                return False
            states = [[member.state(now_s) for member in tier] for tier in self._usual.tiers]
        is_known = EndpointState.CONNECTING not in states[0]
        return is_known and any(EndpointState.READY in tier for tier in states)

    def statistics(self, now_s: float) -> tuple[EndpointStatistics, ...]:
        """Return what can be seen of every endpoint, in the order of the routes."""
        with self._lock:
            return tuple(member.statistics(now_s) for member in self._members.values())

    # --------------------------------------------------------------------------------- parts

    def _selection(self, tenant: str, now_s: float) -> Selection | None:
        if self._tenants:
            own = self._tenants.get(tenant)
            if own is not None:
                if now_s < own[1]:
                    return own[0]
                del self._tenants[tenant]
                self._unlist()
        return self._usual

    def _select(self, tiers: Tiers) -> Selection:
        founding = self._usual is None and not self._members
        members = []
        for tier in tiers:
            found = []
            for endpoint in tier:
                member = self._members.get(endpoint.address)
                if member is None:
                    member = Member(endpoint, self.options, founding=founding)
                    self._members[endpoint.address] = member
                member.endpoint = endpoint
                member.is_listed = True
                found.append(member)
            members.append(list(dict.fromkeys(found)))
        picker = PICKERS[self.options.strategy](self._rng)
        return Selection(members, picker, self._rng, slow_start_s=self.options.slow_start_s)

    def _unlist(self) -> None:
        """Tell apart the endpoints that some route has from those that none has."""
        routes = [selection for selection, _ in self._tenants.values()]
        if self._usual is not None:
            routes.append(self._usual)
        listed = {member for route in routes for tier in route.tiers for member in tier}
        for member in self._members.values():
            member.is_listed = member in listed
        self._doubt()

    def _judge(self, member: Member, now_s: float) -> None:
        """Eject an endpoint that fails too often, unless too many are."""
        others = [other for other in self._members.values() if other is not member]
        windows = [other.window(now_s) for other in others]
        total = (sum(calls for calls, _ in windows), sum(failures for _, failures in windows))
        if not member.is_outlier(now_s, total):
            return
        ejected = sum(other.is_ejected(now_s) for other in others)
        most = max(int(self.options.max_ejected_share * len(self._members)), 1)
        if others and ejected < most:
            member.eject(now_s)

    def _doubt(self) -> None:
        """Have every route look at its endpoints again."""
        if self._usual is not None:
            self._usual.doubt()
        for selection, _ in self._tenants.values():
            selection.doubt()

    def _pace(self, kind: str) -> Pace:
        pace = self._paces.get(kind)
        if pace is None:
            pace = self._paces[kind] = Pace()
        return pace

    def _mind(self, member: Member) -> None:
        """Have an endpoint that nobody lists any more closed when its last call is over."""
        if not member.is_listed and not member.in_flight:
            self.on_change()
