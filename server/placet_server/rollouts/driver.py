"""Takes the steps that are due. One task on each node that has the store.

All nodes measure and tell (``reporting.py``); one of these leads, and takes the steps. A step is
taken once even if two believe that they lead: the store takes it on top of what it was worked out
on, and from the newest leader. Who dies before it has taken a step leaves it to the next leader;
who dies after has left it taken.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import secrets

from placet_engine.changes import ItemSet
from placet_engine.items import Revision
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
from placet_server.store.contract import (
    Fence,
    Leadership,
    LeadershipLost,
    RevisionConflict,
    Store,
    StoreError,
)

log = logging.getLogger(__name__)

NOBODY = Caller()
"""Takes the steps that nobody asked for."""

ROLE = "rollouts"
"""What is led."""

_LEAD_AGAIN_S = 0.5
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
        node: str,
        tick_s: float,
        telemetry: RolloutTelemetry | None = None,
    ) -> None:
        self._store = store
        self._active = active
        self._controller = controller
        self._overview = overview
        self._clock = clock
        self._holder = f"{node} {secrets.token_hex(4)}"
        self._tick_s = tick_s
        self._telemetry = telemetry or RolloutTelemetry()
        self._leadership: Leadership | None = None
        self._stepped: dict[str, Revision] = {}
        """The owner's revision from which this node last took a step."""
        self._cleaned_at_s = float("-inf")

    async def run(self) -> None:
        """Do what is due until cancelled. A store that is away holds rollouts, and nothing else."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._lead_on(), name="rollouts-lead")
            tasks.create_task(self._tick_on(), name="rollouts-tick")

    async def _lead_on(self) -> None:
        """Lead whenever nobody else does."""
        while True:
            try:
                async with self._store.lead(ROLE, holder=self._holder) as leadership:
                    self._leadership = leadership
                    log.info("leads rollouts", extra={"term": leadership.fence.term})
                    await leadership.lost()
            except StoreError:
                log.debug("the store does not answer; nobody leads rollouts", exc_info=True)
            finally:
                self._leadership = None
            await asyncio.sleep(_LEAD_AGAIN_S * random.uniform(0.5, 1.5))  # noqa: S311

    async def _tick_on(self) -> None:
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
        under_way, leadership = self._with_rollouts(), self._leadership
        if not under_way or leadership is None or leadership.is_lost:
            return
        seen = await self._overview.look()
        for items in under_way:
            # What is in memory may be what a step was taken from a moment ago.
            if self._stepped.get(items.owner) != items.revision:
                await self._drive(items, seen, leadership.fence)

    def _with_rollouts(self) -> list[ItemSet]:
        """Return the items of every owner whose rollout has not ended, as this node knows it."""
        return [items for items in self._active.sets() if items.rollout_under_way is not None]

    # ------------------------------------------------------------------------------- steps

    async def _drive(self, items: ItemSet, seen: Seen, fence: Fence) -> None:
        # INVARIANT: the step is stored on top of the items it is worked out on. People may be
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
        await self._keep(items, after, fence)

    async def _keep(self, items: ItemSet, after: Rollout, fence: Fence) -> None:
        try:
            await self._controller.keep(items, after, caller=NOBODY, fence=fence)
        except (RevisionConflict, LeadershipLost):
            # A person was faster, or another node leads by now.
            return
        self._stepped[items.owner] = items.revision
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
