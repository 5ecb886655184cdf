"""How a client chooses between endpoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from placet._balancing.pickers import PICKERS, Strategy
from placet._values import refusal


@dataclass(frozen=True, slots=True, kw_only=True)
class Balancing:
    """How a client chooses between endpoints. Times are in seconds.

    ``docs/balancing.md`` says how the parts play together.
    """

    strategy: Strategy = "least_request"
    """``round_robin``, ``random``, ``least_request`` (of two drawn, the one with fewer calls
    under way) or ``weighted`` (in turn, by weight)."""
    regions: Sequence[str] = ()
    """The regions to go to, the nearest first: a region gets calls when those before it have no
    endpoint that can serve, and endpoints of other regions get none, ever. Empty: all endpoints
    are alike. With ``Topology`` the order is the route's, and this has to be empty."""
    attempts: int = 3
    """Attempts a call may come to in all, hedges included. 1: nothing is repeated."""
    attempt_timeout_s: float | None = None
    """How long a decision may take at one endpoint before another is tried, within the deadline.
    None: four times what such calls took of late, at least 0.25 and at most half of the time
    that is left."""
    retry_ratio: float = 0.2
    """Attempts on top of the first, as a share of the calls of the last ten seconds ..."""
    retries_per_second: float = 10.0
    """... and so many a second besides."""
    hedge_after_s: float | Literal["p95"] | None = None
    """Ask a second endpoint too when a decision has taken this long, and take the first answer;
    ``p95``: longer than 95 % of the newest. None: do not."""
    watch_health: bool = True
    """Whether endpoints are watched by the health protocol, and pinged while they are."""
    ping_every_s: float = 0.5
    """How often a connection with anything under way is tried by a ping."""
    ping_timeout_s: float = 0.4
    """How long an answer to it may take; then the connection is closed."""
    slow_start_s: float = 10.0
    """How long an endpoint that comes back, or a region, takes to get its whole share again."""
    max_failures: int = 3
    """So many failures in a row eject an endpoint ..."""
    max_failure_share: float = 0.5
    """... and so does this share of failures within ten seconds, of 20 calls at least."""
    ejection_s: float = 1.0
    """For how long at first; it doubles with each ejection, up to 30 s."""
    max_ejected_share: float = 0.5
    """Share of the endpoints that may be ejected at a time."""
    warm_fallbacks: int = 2
    """How many endpoints of the next region are kept connected, for when they are needed."""

    def __post_init__(self) -> None:
        if self.strategy not in PICKERS:
            known = ", ".join(f"`{name}`" for name in PICKERS)
            raise refusal("strategy", f"is `{self.strategy}`; use one of {known}")
        if isinstance(self.regions, str):
            raise refusal("regions", f'is one text; pass several, such as `["{self.regions}"]`')
        for name in _POSITIVE:
            value = getattr(self, name)
            if value is not None and value != "p95" and not (_is_number(value) and value > 0):
                raise refusal(name, f"is {value!r}; use a number above 0")
        for name in _SHARES:
            if not 0 <= getattr(self, name) <= 1:
                raise refusal(name, f"is {getattr(self, name)}; use 0 to 1")
        if self.retries_per_second < 0 or self.warm_fallbacks < 0:
            raise refusal("retries_per_second", "or `warm_fallbacks` is below 0")


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


_POSITIVE = (
    "attempts",
    "attempt_timeout_s",
    "hedge_after_s",
    "ping_every_s",
    "ping_timeout_s",
    "slow_start_s",
    "max_failures",
    "ejection_s",
)
_SHARES = ("retry_ratio", "max_failure_share", "max_ejected_share")
