"""Which numbers of rollouts are read whenever metrics are collected."""

from __future__ import annotations

from collections.abc import Iterator

from placet_engine.rollouts.record import Rollout
from placet_server.policies.active import ActivePolicies
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.telemetry.recorders import Metrics, Point

PLATFORM_LABEL = "_platform"
"""Stands for the platform among tenants. No tenant can be called so: names begin with a letter or
a digit."""


class RolloutTelemetry:
    """Counts what this node does for rollouts, and shows how far they are."""

    def __init__(
        self, metrics: Metrics | None = None, active: ActivePolicies | None = None
    ) -> None:
        metrics = metrics or Metrics()
        self._moves = metrics.counter(
            "placet.rollout.moves",
            "{move}",
            "Steps of rollouts that this node took, by the state they led to.",
        )
        if active is not None:
            metrics.observe(
                "placet.rollout.share",
                "%",
                "How much of an owner's requests the candidate of a rollout under way decides.",
                lambda: self._shares(active),
            )
            metrics.observe(
                "placet.revision.refused",
                "{revision}",
                "Revisions that this node cannot compile and does not decide by.",
                lambda: len(active.refusals),
            )

    def observe(self, metrics: Metrics, meter: ShadowMeter) -> None:
        """Have the numbers of the shadow read as well."""
        numbers = (
            ("shadowed", "{request}", "Requests that both revisions of a rollout decided."),
            ("changed_answers", "{request}", "Those of them with two different answers."),
            ("skipped", "{request}", "Requests that there was no time to decide by both."),
        )
        for name, unit, description in numbers:
            metrics.observe(
                f"placet.rollout.{name}",
                unit,
                description,
                lambda name=name: getattr(meter, name),  # type: ignore[misc]
                monotonic=True,
            )

    def moved(self, rollout: Rollout) -> None:
        """Note that this node took a rollout on."""
        self._moves.child({"state": rollout.state.name}).add()

    @staticmethod
    def _shares(active: ActivePolicies) -> Iterator[Point]:
        for items in active.sets():
            rollout = items.rollout_under_way
            if rollout is not None:
                yield rollout.share_percent, {"tenant": items.owner or PLATFORM_LABEL}
