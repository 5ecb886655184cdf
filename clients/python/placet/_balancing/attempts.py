"""The way of one call: attempt after attempt, until one is answered or there is no point. Pure.

A driver asks ``begin`` for an attempt, makes it, and tells how it went; what it is told to do next
is the same with threads and with tasks.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from placet._backoff import Backoff
from placet._balancing.balancer import Balancer
from placet._balancing.members import Fault, Member
from placet._balancing.outcomes import Outcome
from placet._errors import Unavailable

_LEAST_PATIENCE_S = 0.25
_PATIENCE_FACTOR = 4.0
_PATIENCE_SHARE = 0.5
_LEAST_LEFT_S = 0.001
_PAUSES = Backoff(first_s=0.05, most_s=0.5)


@dataclass(frozen=True, slots=True)
class Method:
    """What is known of an rpc."""

    path: str
    """``/placet.v1.EvaluateService/Evaluate``."""
    is_repeatable: bool
    """Whether doing it twice does no harm."""
    is_decision: bool
    """Whether it is answered out of memory, so that one that takes long is worth giving up."""


class Attempt(NamedTuple):
    """One attempt at one endpoint."""

    member: Member
    begun_s: float
    timeout_s: float


class Call:
    """One call. For one thread or task at a time."""

    __slots__ = (
        "_balancer",
        "_count",
        "_deadline_s",
        "_holder",
        "_is_led",
        "_method",
        "_rng",
        "_tenant",
        "_tried",
    )

    def __init__(
        self,
        balancer: Balancer,
        method: Method,
        tenant: str,
        deadline_s: float,
        rng: random.Random,
        *,
        holder: str = "",
    ) -> None:
        """Begin a call.

        Args:
            balancer: the fleet.
            method: what is called.
            tenant: whose call it is.
            deadline_s: when it has to be answered, by the clock that ``now_s`` is of.
            rng: spreads pauses.
            holder: the address to ask first, if any.
        """
        self._balancer = balancer
        self._method = method
        self._tenant = tenant
        self._deadline_s = deadline_s
        self._rng = rng
        self._holder = holder
        self._tried: set[Member] = set()
        self._count = 0
        self._is_led = False

    def begin(self, now_s: float, *, is_hedged: bool = False) -> Attempt:
        """Begin an attempt; every one has to be ended by one of the methods below.

        Args:
            now_s: the time.
            is_hedged: whether it may go on while another is made, so that it need not be cut.

        Raises:
            Unavailable: there is no endpoint, or another error that says why there is none.
        """
        kind = self._method.path
        begun = self._balancer.begin(self._tenant, kind, now_s, self._tried, self._holder)
        if begun is None and self._tried:
            # Everybody was tried: once more from the beginning, after a pause.
            self._tried.clear()
            begun = self._balancer.begin(self._tenant, kind, now_s)
        if begun is None:
            raise self._balancer.outage or Unavailable(
                "no endpoint is known; name one that can be reached"
            )
        self._count += 1
        timeout_s = max(self._deadline_s - now_s, _LEAST_LEFT_S)
        may_repeat = begun.has_other and self._count < self._balancer.options.attempts
        if may_repeat and self._method.is_decision and not is_hedged:
            timeout_s = self._patience(timeout_s, begun.longest_s)
        return Attempt(begun.member, now_s, timeout_s)

    def answered(self, attempt: Attempt, now_s: float) -> None:
        """Note the answer."""
        self._balancer.answered(attempt.member, now_s - attempt.begun_s, self._method.path, now_s)

    def dropped(self, attempt: Attempt) -> None:
        """Note that the caller gave up, which says nothing of the endpoint."""
        self._balancer.dropped(attempt.member)

    def lost(self, attempt: Attempt, now_s: float) -> None:
        """Note that another attempt was answered first."""
        waited_s = now_s - attempt.begun_s
        if waited_s >= _LEAST_PATIENCE_S:
            slow = Unavailable(f"no answer within {waited_s:.2f} s, when another endpoint gave one")
            self._balancer.failed(attempt.member, slow, Fault.SILENT, attempt.begun_s, now_s)
        else:
            self._balancer.dropped(attempt.member)

    def ended(self, attempt: Attempt, outcome: Outcome, now_s: float) -> None:
        """Note how an attempt failed after which there is no other."""
        balancer = self._balancer
        if outcome.fault is None:
            balancer.answered(attempt.member, None, self._method.path, now_s)
        else:
            balancer.failed(attempt.member, outcome.error, outcome.fault, attempt.begun_s, now_s)

    def failed(self, attempt: Attempt, outcome: Outcome, now_s: float) -> float | None:
        """Note how an attempt failed; return how long to wait before the next, None for no next.

        A next one is paid for by the budget, except where a refusal leads: that is once a call.
        """
        balancer = self._balancer
        self.ended(attempt, outcome, now_s)
        self._tried.add(attempt.member)
        self._holder = ""
        left_s = self._deadline_s - now_s
        if left_s <= _LEAST_LEFT_S:
            return None
        if outcome.route and not self._is_led:
            self._is_led = True
            return 0.0 if balancer.tenant_route(self._tenant, outcome.route, now_s) else None
        may_repeat = outcome.may_repeat and (self._method.is_repeatable or outcome.is_refusal)
        if not may_repeat or self._count >= balancer.options.attempts:
            return None
        pause_s = 0.0
        if not balancer.has_untried(self._tenant, now_s, self._tried):
            if outcome.fault is not Fault.BROKEN:
                return None
            pause_s = _PAUSES.delay_s(self._count, self._rng)
        return pause_s if pause_s < left_s and balancer.repeat(now_s) else None

    def hedge_delay_s(self) -> float | None:
        """Return how long to wait for an answer before another endpoint is asked too."""
        after_s = self._balancer.options.hedge_after_s
        if after_s is None or not self._method.is_decision:
            return None
        if after_s != "p95":
            return after_s
        return self._balancer.pace(self._method.path).p95_s or None

    def hedge(self, now_s: float, running: Iterable[Attempt]) -> Attempt | None:
        """Begin another attempt beside those that take long; None if there is none to be had."""
        balancer = self._balancer
        self._tried.update(attempt.member for attempt in running)
        if (
            self._count >= balancer.options.attempts
            or not balancer.has_untried(self._tenant, now_s, self._tried)
            or not balancer.repeat(now_s)
        ):
            return None
        return self.begin(now_s, is_hedged=True)

    def _patience(self, left_s: float, usual_s: float) -> float:
        """Return how long an attempt may take when there are others to turn to."""
        fixed_s = self._balancer.options.attempt_timeout_s
        if fixed_s is not None:
            return min(fixed_s, left_s)
        patience_s = max(_LEAST_PATIENCE_S, _PATIENCE_FACTOR * usual_s)
        return min(patience_s, _PATIENCE_SHARE * left_s)
