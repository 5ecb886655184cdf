"""Metrics of decisions, and what the span of the call says about them."""

from __future__ import annotations

from collections.abc import Iterator

from opentelemetry.trace import get_current_span

from placet_engine.model import Cause, Outcome
from placet_server.telemetry.recorders import DECISION_BOUNDS_S, Metrics, Point

OTHER_TENANTS = "_other"
"""Stands for every tenant past the limit. No tenant can be called so: names begin with a letter
or a digit."""

_OUTCOMES, _CAUSES = max(Outcome) + 1, max(Cause) + 1


class DecisionTelemetry:
    """Counts decisions; called once for each, on the event loop."""

    def __init__(
        self, metrics: Metrics, *, max_tenants: int = 100, is_traced: bool = False
    ) -> None:
        self._max_tenants = max_tenants
        self._is_traced = is_traced
        # By tenant: a count for each outcome, cause and whether it was cached, in that order.
        self._counts: dict[str, list[int]] = {}
        metrics.observe(
            "placet.decisions",
            "{decision}",
            "Decisions, by outcome, cause, tenant and whether they were remembered.",
            self._points,
            monotonic=True,
        )
        duration = metrics.distribution(
            "placet.decision.duration",
            "s",
            "How long the node worked on one decision, without the rpc around it.",
            DECISION_BOUNDS_S,
        )
        self._duration = duration.child({"cached": False})
        self._duration_cached = duration.child({"cached": True})
        self._errors = metrics.counter(
            "placet.decision.errors", "{error}", "Requests that could not be decided, by reason."
        )

    def record(
        self,
        tenant: str,
        outcome: Outcome,
        cause: Cause,
        cached: bool,
        duration_s: float,
        count: int = 1,
    ) -> None:
        """Count a decision, or several that came out alike and took so long each."""
        counts = self._counts.get(tenant)
        if counts is None:
            counts = self._counts_of(tenant)
        counts[(outcome * _CAUSES + cause) * 2 + cached] += count
        (self._duration_cached if cached else self._duration).record(duration_s, count)

    def error(self, reason: str) -> None:
        """Count a request that could not be decided, by the stable reason of its error."""
        self._errors.child({"reason": reason}).add()

    def describe(self, tenant: str, outcome: Outcome, revision: int, cached: bool) -> None:
        """Write a decision into the span of the call that asked for it, if there is one."""
        if not self._is_traced:
            return
        get_current_span().set_attributes(
            {
                "placet.tenant": tenant,
                "placet.outcome": outcome.name,
                "placet.revision": revision,
                "placet.cached": cached,
            }
        )

    def _counts_of(self, tenant: str) -> list[int]:
        if len(self._counts) >= self._max_tenants:
            tenant = OTHER_TENANTS
        return self._counts.setdefault(tenant, [0] * (_OUTCOMES * _CAUSES * 2))

    def _points(self) -> Iterator[Point]:
        for tenant, counts in list(self._counts.items()):
            for place, count in enumerate(counts):
                if count:
                    rest, cached = divmod(place, 2)
                    outcome, cause = divmod(rest, _CAUSES)
                    yield (
                        count,
                        {
                            "outcome": Outcome(outcome).name,
                            "cause": Cause(cause).name,
                            "cached": bool(cached),
                            "tenant": tenant,
                        },
                    )
