"""Takes the steps that are due, and tells the others how this node fares. One task on each node.

All nodes measure and tell; one of them leads, and takes the steps. A step is taken once even if
two believe that they lead: the store takes it on top of what it was worked out on, and from the
newest leader. Who dies before it has taken a step leaves it to the next leader; who dies after has
left it taken.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import secrets
from collections import OrderedDict
from dataclasses import dataclass

from placet_engine.changes import ItemSet
from placet_engine.items import Revision
from placet_engine.rollouts import moving
from placet_engine.rollouts.record import Rollout, RolloutState
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies, Refusal
from placet_server.rollouts.controller import Caller, RolloutController
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.overview import Overview, Seen
from placet_server.rollouts.shadow import ShadowMeter, StepKey
from placet_server.rollouts.standings import (
    NODES,
    REPORTS,
    SAMPLES,
    NodeSamples,
    Standing,
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
_REMEMBERED_REVISIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often things are done, in seconds."""

    tick_s: float = 0.25
    report_s: float = 1.0
    lease_s: float = 15.0


class RolloutDriver:
    """Drives rollouts for as long as :meth:`run` runs."""

    def __init__(
        self,
        *,
        store: Store,
        active: ActivePolicies,
        controller: RolloutController,
        overview: Overview,
        meter: ShadowMeter,
        clock: Clock,
        node: str,
        region: str,
        timing: Timing,
        telemetry: RolloutTelemetry | None = None,
    ) -> None:
        self._store = store
        self._active = active
        self._controller = controller
        self._overview = overview
        self._meter = meter
        self._clock = clock
        self._node = node
        # Counts begin anew with the process; what those before it counted stays.
        self._instance = f"{node} {secrets.token_hex(4)}"
        self._region = region
        self._timing = timing
        self._telemetry = telemetry or RolloutTelemetry()
        self._leadership: Leadership | None = None
        self._enforced: OrderedDict[Revision, datetime.datetime] = OrderedDict()
        self._told: tuple[Revision, tuple[Refusal, ...]] | None = None
        self._told_samples: dict[StepKey, int] = {}
        self._told_at_s = float("-inf")
        self._cleaned_at_s = float("-inf")

    async def run(self) -> None:
        """Do what is due until cancelled. A store that is away holds rollouts, and nothing else."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._meter.run(), name="rollouts-shadow")
            tasks.create_task(self._note_revisions(), name="rollouts-revisions")
            tasks.create_task(self._lead_on(), name="rollouts-lead")
            tasks.create_task(self._tick_on(), name="rollouts-tick")

    async def _lead_on(self) -> None:
        """Lead whenever nobody else does."""
        while True:
            try:
                async with self._store.lead(ROLE, holder=self._instance) as leadership:
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
            await asyncio.sleep(self._timing.tick_s * random.uniform(0.5, 1.5))  # noqa: S311

    async def _note_revisions(self) -> None:
        """Note when this node began to decide by each revision, and what is to be measured now.

        At once: what is asked right after a rollout began is measured as well.
        """
        while True:
            revision = self._note_revision()
            self._meter.watch()
            await self._active.wait_past(revision)

    def _note_revision(self) -> Revision:
        revision = self._active.revision
        if revision not in self._enforced:
            self._enforced[revision] = self._clock.now()
            if len(self._enforced) > _REMEMBERED_REVISIONS:
                self._enforced.popitem(last=False)
        return revision

    async def tick(self) -> None:
        """Do once what is due now."""
        await self._tell()
        under_way, leadership = self._with_rollouts(), self._leadership
        if not under_way or leadership is None or leadership.is_lost:
            return
        seen = await self._overview.look()
        for items in under_way:
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

    # ------------------------------------------------------------------------------- tell

    async def _tell(self) -> None:
        """Put up where this node stands and what it measured, as far as that is news."""
        now_s, now = self._clock.monotonic(), self._clock.now()
        await self._tell_standing(now_s, now)
        await self._tell_samples(now)
        await self._clean(now_s, now)

    async def _tell_standing(self, now_s: float, now: datetime.datetime) -> None:
        """At once while a rollout waits for it, soon otherwise, and in time for the lease."""
        standing = (self._active.revision, tuple(self._active.refusals))
        silent_s = now_s - self._told_at_s
        soon_s = 0 if self._with_rollouts() else self._timing.report_s
        wait_s = self._timing.lease_s / 3 if standing == self._told else soon_s
        if silent_s >= wait_s:
            await self._store.put_up(self._standing(now).to_notice())
            self._told, self._told_at_s = standing, now_s

    async def _tell_samples(self, now: datetime.datetime) -> None:
        for key, meter in self._meter.steps().items():
            if meter.decisions == self._told_samples.get(key):
                continue
            samples = meter.samples()
            told = NodeSamples(
                node=self._instance,
                time=now,
                step=key,
                samples=samples,
                examples=tuple(meter.examples),
            )
            await self._store.put_up(told.to_notice())
            self._told_samples[key] = samples.decisions
        for key in self._told_samples.keys() - self._meter.steps().keys():
            del self._told_samples[key]

    def _standing(self, now: datetime.datetime) -> Standing:
        revision = self._note_revision()
        return Standing(
            node=self._node,
            region=self._region,
            time=now,
            revision=revision,
            enforce_time=self._enforced[revision],
            enforced=dict(self._enforced),
            refusals=tuple(self._active.refusals),
        )

    async def _clean(self, now_s: float, now: datetime.datetime) -> None:
        """Take down what nobody looks at any more, once an hour."""
        if now_s - self._cleaned_at_s < _CLEAN_EVERY_S:
            return
        self._cleaned_at_s = now_s
        for topic in (NODES, SAMPLES, REPORTS):
            await self._store.take_down(topic, before=now - _KEPT)


_CLEAN_EVERY_S = 3600.0
