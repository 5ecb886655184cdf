"""Admission control: take a call, or refuse it at once and say when to come back.

Three things are asked, the cheapest to refuse first: is the node overloaded
(and does this tenant take more than its share of it), are too many calls in
work, is the tenant over its rate. All of it is synchronous and counts only;
time and transport are the caller's.
"""

from __future__ import annotations

import enum
import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass

from placet_server.admission.backlog import Backlog
from placet_server.admission.overload import Overload
from placet_server.admission.tenants import MAX_TENANTS, Shares, TokenBuckets
from placet_server.errors import Overloaded, TenantLimited


class Reason(enum.Enum):
    """Why a call is refused."""

    OVERLOADED = "overloaded"
    """It would wait longer than the target, or too many are in work."""
    TENANT_LIMIT = "tenant_limit"
    """The tenant asks for more than its rate."""
    MANAGEMENT_LIMIT = "management_limit"
    """Too many calls about policies are in work."""


class Arrival(enum.Enum):
    """What is known of a call before it was read."""

    TAKEN = "taken"
    """Load is no reason to refuse it."""
    UNDECIDED = "undecided"
    """Whether there is room for it depends on whose it is."""


# What was said of the call that the running task is about.
_ARRIVAL: ContextVar[Arrival] = ContextVar("arrival", default=Arrival.UNDECIDED)


@dataclass(frozen=True, slots=True)
class Refusal:
    """A call that is not taken."""

    reason: Reason
    retry_after_s: float
    """When to try again, in steps of 10 ms, so that equal refusals are equal."""
    tenant: str = ""
    """Whose limit it is; empty unless it is a tenant's."""


@dataclass(frozen=True, slots=True)
class AdmissionStatistics:
    """How admission does. Counts are since it was made, in calls and messages."""

    admitted: int
    refused: dict[Reason, int]
    expired: int
    """Calls whose deadline had passed before they were looked at."""
    in_work: int
    wait_s: float
    """How long a call that arrives now is going to wait."""
    is_shedding: bool
    tenants: int
    """Tenants whose rates are being kept."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What is allowed. Zero turns a limit off."""

    target_wait_s: float = 0.004
    max_calls: int = 1000
    max_management_calls: int = 32
    tenant_decisions_per_second: float = 0.0
    tenant_burst_s: float = 1.0


# Long enough for an overload to pass, short enough not to leave the node idle.
_RETRY_OVERLOADED_S = 0.2
_LONGEST_RETRY_S = 60.0
_JITTER = 0.5
# While shedding, one call in so many is taken whatever the wait: something gets done however many
# come, and tenants are noticed that were quiet before.
_ONE_IN = 16


class AdmissionControl:
    """Says which calls are taken. Lives on one event loop."""

    def __init__(
        self,
        limits: Limits,
        monotonic: Callable[[], float],
        *,
        rng: random.Random | None = None,
        max_tenants: int = MAX_TENANTS,
    ) -> None:
        self.limits = limits
        self.backlog = Backlog()
        self._monotonic = monotonic
        self._rng = rng or random.Random()  # noqa: S311  # spreads retries, keeps no secret
        self._overload = Overload(limits.target_wait_s)
        self._shares = Shares(max_tenants)
        self._buckets = TokenBuckets(
            per_second=limits.tenant_decisions_per_second,
            burst_s=limits.tenant_burst_s,
            max_tenants=max_tenants,
        )
        self._has_rate = limits.tenant_decisions_per_second > 0
        self._in_work = 0
        self._managing = 0
        self._admitted = 0
        self._expired = 0
        self._turn = 0
        self._refused = dict.fromkeys(Reason, 0)

    @property
    def is_shedding(self) -> bool:
        """Whether the node is overloaded."""
        return self._overload.is_shedding

    def probe_sent(self) -> None:
        """Note that a probe was sent."""
        self.backlog.probe_sent(self._monotonic())

    def probe_arrived(self) -> None:
        """Note that the probe arrived where calls do."""
        now = self._monotonic()
        self._overload.measured(self.backlog.probe_arrived(now), now)
        self.backlog.is_watched = self._overload.is_shedding

    def try_arrive(self, tenant: str | None = None) -> Arrival | Refusal:
        """Take or refuse a call that was not read yet, which is the cheapest moment to refuse.

        Args:
            tenant: whose call it says it is. None: it does not say, and is refused
                unread only while all that was given of late went to one tenant.
        """
        arrival = self._arrived(tenant)
        _ARRIVAL.set(arrival if isinstance(arrival, Arrival) else Arrival.UNDECIDED)
        return arrival

    def _arrived(self, tenant: str | None) -> Arrival | Refusal:
        self.backlog.accepted()
        if not self._overload.is_shedding:
            return Arrival.TAKEN
        now = self._monotonic()
        if not self._is_too_long(now):
            return Arrival.TAKEN
        if tenant is None:
            spared = self._shares.has_others(now)
        else:
            spared = self._shares.is_below_fair(tenant, now)
        if spared:
            return Arrival.UNDECIDED
        return self._refuse(Reason.OVERLOADED, _RETRY_OVERLOADED_S)

    def try_admit(self, tenant: str, cost: int = 1, *, in_stream: bool = False) -> Refusal | None:
        """Take or refuse a call, or a message of a stream, of a tenant.

        A call that is taken has to be given back with :meth:`release`. What
        :meth:`try_arrive` said of it in the same task is not gone back on.

        Args:
            tenant: whose it is.
            cost: decisions it asks for.
            in_stream: whether it is a message, which did not arrive as a call.
        """
        refusal = None
        if self._overload.is_shedding:
            arrival = Arrival.UNDECIDED if in_stream else _ARRIVAL.get()
            refusal = self._shed(tenant, cost, arrival)
        if refusal is None and self._has_rate:
            refusal = self._over_rate(tenant, cost)
        if refusal is None and 0 < self.limits.max_calls <= self._in_work:
            refusal = self._refuse(Reason.OVERLOADED, _RETRY_OVERLOADED_S)
        if refusal is None:
            self._in_work += 1
            self._admitted += 1
        return refusal

    def release(self) -> None:
        """Give back what :meth:`try_admit` gave."""
        self._in_work -= 1

    def admit(self, tenant: str, *, in_stream: bool = False) -> None:
        """Take a call, or a message of a stream, that is worked on without a break.

        Raises:
            Overloaded: there is no room for it.
            TenantLimited: the tenant is over its rate.
        """
        refusal = self.try_admit(tenant, in_stream=in_stream)
        if refusal is not None:
            raise self.error(refusal)
        self.release()

    @contextmanager
    def admitted(self, tenant: str, cost: int = 1, *, in_stream: bool = False) -> Iterator[None]:
        """Take a call, or a message of a stream, for the length of the block.

        Raises:
            Overloaded: there is no room for it.
            TenantLimited: the tenant is over its rate.
        """
        refusal = self.try_admit(tenant, cost, in_stream=in_stream)
        if refusal is not None:
            raise self.error(refusal)
        try:
            yield
        finally:
            self.release()

    def error(self, refusal: Refusal) -> Overloaded | TenantLimited:
        """Return a refusal as an exception."""
        if refusal.reason is Reason.TENANT_LIMIT:
            rate = self.limits.tenant_decisions_per_second
            return TenantLimited(refusal.tenant, rate, refusal.retry_after_s)
        return Overloaded(refusal.retry_after_s)

    def try_manage(self) -> Refusal | None:
        """Take or refuse a call about policies; to be given back with :meth:`release_managing`."""
        if 0 < self.limits.max_management_calls <= self._managing:
            return self._refuse(Reason.MANAGEMENT_LIMIT, _RETRY_OVERLOADED_S)
        self._managing += 1
        return None

    def release_managing(self) -> None:
        """Give back what :meth:`try_manage` gave."""
        self._managing -= 1

    def expired(self) -> None:
        """Count a call that came too late to be worth anything."""
        self._expired += 1

    def statistics(self) -> AdmissionStatistics:
        """Return how admission does."""
        return AdmissionStatistics(
            admitted=self._admitted,
            refused=dict(self._refused),
            expired=self._expired,
            in_work=self._in_work,
            wait_s=self.backlog.wait_s(self._monotonic()),
            is_shedding=self._overload.is_shedding,
            tenants=len(self._buckets),
        )

    def _shed(self, tenant: str, cost: int, arrival: Arrival) -> Refusal | None:
        now = self._monotonic()
        if (
            arrival is Arrival.UNDECIDED
            and self._is_too_long(now)
            and not self._shares.is_below_fair(tenant, now)
        ):
            return self._refuse(Reason.OVERLOADED, _RETRY_OVERLOADED_S)
        self._shares.add(tenant, cost, now)
        return None

    def _is_too_long(self, now: float) -> bool:
        """Whether what arrives now would wait too long, and it is not its turn all the same."""
        if not self._overload.is_too_long(self.backlog.wait_s(now), now):
            return False
        self._turn = (self._turn + 1) % _ONE_IN
        return self._turn != 0

    def _over_rate(self, tenant: str, cost: int) -> Refusal | None:
        wait_s = self._buckets.take(tenant, cost, self._monotonic())
        if wait_s <= 0:
            return None
        return self._refuse(Reason.TENANT_LIMIT, wait_s, tenant)

    def _refuse(self, reason: Reason, after_s: float, tenant: str = "") -> Refusal:
        self._refused[reason] += 1
        spread_s = after_s * (1 + self._rng.random() * _JITTER)
        steps = int(min(spread_s, _LONGEST_RETRY_S) * 100) + 1
        return Refusal(reason, steps / 100, tenant)
