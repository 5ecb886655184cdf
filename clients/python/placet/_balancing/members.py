"""What is known of one endpoint, and what follows for whether it is given calls. Pure.

Three things speak of it: the health watch, its calls, and the list it is in. A state is not kept
but worked out of what they said last, so that no order of events leads to a state of its own.
"""

from __future__ import annotations

from collections import deque
from enum import Enum

from placet._balancing.ejection import Outcomes
from placet._balancing.endpoints import Endpoint, EndpointState, EndpointStatistics
from placet._balancing.options import Balancing
from placet._balancing.pace import quantile
from placet._errors import PlacetError

SUSPICION_S = 2.0
"""How long an endpoint is left alone after a call broke there: until pings have found out."""
CONNECTING_S = 1.0
"""How long one that is watched and was never heard of is taken for one that will be."""
LEAST_RAMP = 0.1
"""What an endpoint, or a region, gets of its share at the moment it comes back."""
_KEPT_LATENCIES = 256
_NEWEST_SHARE = 0.1


class Health(Enum):
    """What the health watch says."""

    UNKNOWN = "unknown"
    """Nothing yet, or nothing any more."""
    UNWATCHED = "unwatched"
    """It has no health service, or nobody is to watch it: its calls show how it fares."""
    SERVING = "serving"
    NOT_SERVING = "not serving"
    AWAY = "away"
    """It cannot be reached."""


class Fault(Enum):
    """How an attempt failed, where the endpoint is to blame."""

    BROKEN = "broken"
    """The connection broke, or none could be made."""
    SILENT = "silent"
    """No answer came in the time it had. Only if nothing else came either, it may hang."""
    FAILED = "failed"
    """It answered that it failed."""


class Member:
    """One endpoint of the fleet. Not thread-safe: the balancer's lock is around it."""

    def __init__(self, endpoint: Endpoint, options: Balancing, *, founding: bool) -> None:
        self.endpoint = endpoint
        self._options = options
        self._watched_s: float | None = None
        self._health = Health.UNKNOWN if options.watch_health else Health.UNWATCHED
        # Those that were there at the beginning have nothing to catch up with.
        self._rejoins = not founding
        self._joined_s: float | None = None
        self._suspect_until_s = self._ejected_until_s = 0.0
        self._outcomes = Outcomes(options)
        self._heard_s = float("-inf")
        self._latencies: deque[float] = deque(maxlen=_KEPT_LATENCIES)
        self._mean_latency_s = 0.0
        self._calls = self._failures = self._ejections = 0
        self._last_error: PlacetError | None = None
        self.is_listed = True
        """Whether some route has it. One that none has is forgotten with its last call."""
        self.ramp = 1.0
        """How much of its share it is to get, as of the last ``look``."""
        self.in_flight = 0

    @property
    def weight(self) -> float:
        return self.endpoint.weight

    # ------------------------------------------------------------------------ what is said

    def health_is(self, health: Health, now_s: float, error: PlacetError | None = None) -> None:
        """Note what the health watch says."""
        self._health = health
        if health is Health.SERVING:
            self._suspect_until_s = 0.0
            self._heard_s = now_s
        elif health in (Health.NOT_SERVING, Health.AWAY):
            self._rejoins, self._joined_s = True, None
        self._last_error = error or self._last_error

    def watch_begins(self, now_s: float) -> None:
        """Note that somebody watches it from now on."""
        self._watched_s = now_s

    def watch_ends(self) -> None:
        """Note that nobody watches it any more. What was last known may be old."""
        self._watched_s = None
        self._health = Health.UNKNOWN

    def begin(self) -> None:
        """Note an attempt."""
        self._calls += 1
        self.in_flight += 1

    def end(self) -> None:
        """Note that an attempt is over, however it went."""
        self.in_flight -= 1

    def answered(self, latency_s: float | None, now_s: float) -> bool:
        """Note an answer, a refusal included; return whether that changes what it is taken for.

        Without a latency it says nothing about speed.
        """
        is_news = self._heard_s == float("-inf") or now_s < self._suspect_until_s
        self._outcomes.answered(now_s)
        self._heard_s = now_s
        self._suspect_until_s = 0.0
        if latency_s is not None:
            self._latencies.append(latency_s)
            mean_s = self._mean_latency_s or latency_s
            self._mean_latency_s = mean_s + _NEWEST_SHARE * (latency_s - mean_s)
        return is_news

    def failed(self, error: PlacetError, fault: Fault, begun_s: float, now_s: float) -> None:
        """Note a failure of an attempt that began at a time."""
        self._failures += 1
        self._last_error = error
        self._outcomes.failed(now_s)
        is_silent = fault is Fault.SILENT and self._heard_s < begun_s
        if fault is Fault.BROKEN or is_silent:
            self._suspect_until_s = now_s + SUSPICION_S

    def is_outlier(self, now_s: float, others: tuple[int, int]) -> bool:
        """Return whether it fails too often."""
        return not self.is_ejected(now_s) and self._outcomes.is_outlier(now_s, others)

    def is_ejected(self, now_s: float) -> bool:
        """Return whether it is left alone for failing too often."""
        return now_s < self._ejected_until_s

    def window(self, now_s: float) -> tuple[int, int]:
        """Return calls and failures of the last ten seconds."""
        return self._outcomes.window(now_s)

    def eject(self, now_s: float) -> None:
        """Leave it alone for a while."""
        self._ejections += 1
        self._ejected_until_s = self._outcomes.eject(now_s)
        self._suspect_until_s = 0.0
        self._rejoins, self._joined_s = True, None

    # ---------------------------------------------------------------------- what follows

    def state(self, now_s: float) -> EndpointState:
        """Return whether it is given calls."""
        if not self.is_listed:
            return EndpointState.DRAINING
        if self.is_ejected(now_s):
            return EndpointState.EJECTED
        if self._health in (Health.NOT_SERVING, Health.AWAY):
            return EndpointState.UNHEALTHY
        if now_s < self._suspect_until_s:
            return EndpointState.SUSPECT
        is_said = self._health in (Health.SERVING, Health.UNWATCHED)
        is_known = is_said or self._heard_s > float("-inf")
        return EndpointState.READY if is_known else EndpointState.CONNECTING

    def look(self, now_s: float) -> tuple[EndpointState, float]:
        """Return the state, and when it is to be looked at again. Sets the ramp."""
        state = self.state(now_s)
        later_s = float("inf")
        match state:
            case EndpointState.EJECTED:
                later_s = self._ejected_until_s
            case EndpointState.SUSPECT:
                later_s = self._suspect_until_s
            case EndpointState.CONNECTING if self.may_connect(now_s):
                later_s = (self._watched_s or now_s) + CONNECTING_S
            case EndpointState.READY:
                later_s = self._climb(now_s)
            case _:
                pass
        return state, later_s

    def _climb(self, now_s: float) -> float:
        """Set the ramp of an endpoint that is ready; return when to set it again."""
        if self._joined_s is None:
            self._joined_s = now_s if self._rejoins else float("-inf")
            self._rejoins = False
        self.ramp = ramp(now_s - self._joined_s, self._options.slow_start_s)
        return now_s + self._options.slow_start_s / _STEPS if self.ramp < 1.0 else float("inf")

    def may_connect(self, now_s: float) -> bool:
        """Whether one that was never heard of may still be on its way."""
        return self._watched_s is None or now_s < self._watched_s + CONNECTING_S

    def statistics(self, now_s: float) -> EndpointStatistics:
        """Return what can be seen of it."""
        state, _ = self.look(now_s)
        latencies = list(self._latencies)
        return EndpointStatistics(
            address=self.endpoint.address,
            region=self.endpoint.region,
            weight=self.endpoint.weight,
            state=state,
            ramp=self.ramp,
            in_flight=self.in_flight,
            calls=self._calls,
            failures=self._failures,
            ejections=self._ejections,
            mean_latency_s=self._mean_latency_s,
            p50_latency_s=quantile(latencies, 0.5),
            p99_latency_s=quantile(latencies, 0.99),
            last_error=self._last_error,
        )


def ramp(since_s: float, whole_s: float) -> float:
    """Return how much of its share gets what came back so long ago."""
    return min(LEAST_RAMP + (1.0 - LEAST_RAMP) * since_s / whole_s, 1.0)


_STEPS = 100
