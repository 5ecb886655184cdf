"""Takes the steps that are due. One task on each node that has the store.

There is no leader: every node may take a step, and the store lets one of them. Who dies before it
has taken a step leaves it to the others; who dies after has left it taken.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random

from placet_engine.changes import ItemSet
from placet_engine.rollouts import moving
from placet_engine.rollouts.record import Rollout, RolloutState
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies
from placet_server.rollouts.controller import Caller, RolloutController
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.overview import Overview, Seen
from placet_server.rollouts.standings import (
    NODES,
    REPORTS,
    SAMPLES,
)
from placet_server.store.contract import RevisionConflict, Store, StoreError

log = logging.getLogger(__name__)

NOBODY = Caller()
"""Takes the steps that nobody asked for."""

_KEPT = datetime.timedelta(days=7)


class RolloutDriver:
    """Drives rollouts for as long as :meth:`run` runs."""

    def __init__(
        self,
        *,
        store: Store,
        active: ActivePolicies,
        controller: RolloutController,
        overview: Overview,
        clock: Clock,
        tick_s: float,
        telemetry: RolloutTelemetry | None = None,
    ) -> None:
        self._store = store
        self._active = active
        self._controller = controller
        self._overview = overview
        self._clock = clock
        self._tick_s = tick_s
        self._telemetry = telemetry or RolloutTelemetry()
        self._cleaned_at_s = float("-inf")

    async def run(self) -> None:
        """Do what is due until cancelled. A store that is away holds rollouts, and nothing else."""
        while True:
            try:
                await self.tick()
            except StoreError:
                log.warning("the store does not answer; rollouts wait", exc_info=True)
            except Exception:  # rollouts must not stop in silence
                log.exception("a rollout could not be driven on; it is tried again")
            # Nodes that started together need not all have the same idea at the same time.
            await asyncio.sleep(self._tick_s * random.uniform(0.5, 1.5))  # noqa: S311

    async def tick(self) -> None:
        """Do once what is due now."""
        await self._clean()
        under_way = self._with_rollouts()
        if not under_way:
            return
        seen = await self._overview.look()
        for items in under_way:
            await self._drive(items, seen)

    def _with_rollouts(self) -> list[ItemSet]:
        """Return the items of every owner whose rollout has not ended, as this node knows it."""
        return [items for items in self._active.sets() if items.rollout_under_way is not None]

    # ------------------------------------------------------------------------------- steps

    async def _drive(self, items: ItemSet, seen: Seen) -> None:
        # INVARIANT: the step is stored on top of the items it is worked out on. Others may be
        # faster while this node looks around; the store then refuses the step.
        rollout = items.rollout_under_way
        assert rollout is not None
        progress = seen.progress(items.owner, rollout)
        now = self._clock.now()
        after = moving.due(rollout, progress.readings, now, pending_nodes=progress.pending)
        if after is None:
            return
        if after.state is RolloutState.ROLLED_BACK:
            # First, so that whoever sees the rollback sees why.
            await self._store.put_up(progress.findings(rollout, now).to_notice())
        await self._keep(items, after)

    async def _keep(self, items: ItemSet, after: Rollout) -> None:
        try:
            await self._controller.keep(items, after, caller=NOBODY)
        except RevisionConflict:
            # Another node was faster, or a person.
            return
        self._telemetry.moved(after)
        level = logging.WARNING if after.state is RolloutState.ROLLED_BACK else logging.INFO
        log.log(
            level,
            "a rollout went on",
            extra={
                "tenant": items.owner or "the platform",
                "rollout": after.id,
                "state": after.state.name,
                "share_percent": after.share_percent,
            },
        )

    async def _clean(self) -> None:
        """Take down what nobody looks at any more, once an hour."""
        now_s, now = self._clock.monotonic(), self._clock.now()
        if now_s - self._cleaned_at_s < _CLEAN_EVERY_S:
            return
        self._cleaned_at_s = now_s
        for topic in (NODES, SAMPLES, REPORTS):
            await self._store.take_down(topic, before=now - _KEPT)


_CLEAN_EVERY_S = 3600.0
