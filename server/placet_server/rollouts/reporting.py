"""Measures rollouts on this node, and tells where it stands. One task on each node.

Whom it tells is a seam: on a control node the store's board of notices, on a node without a store
those upstream.
"""

from __future__ import annotations

import asyncio
import datetime
import logging
import random
import secrets
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from placet_engine.items import Revision
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies, Refusal
from placet_server.rollouts.shadow import ShadowMeter, StepKey
from placet_server.rollouts.standings import NodeSamples, Standing
from placet_server.store.contract import Store, StoreError

log = logging.getLogger(__name__)

_REMEMBERED_REVISIONS = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Timing:
    """How often things are done, in seconds."""

    tick_s: float = 0.25
    report_s: float = 1.0
    lease_s: float = 15.0


class Board(Protocol):
    """Where nodes tell how they fare. What was told last under a name is what counts."""

    async def put_standing(self, standing: Standing) -> None:
        """Tell where a node stands."""
        ...

    async def put_samples(self, samples: NodeSamples) -> None:
        """Tell what a node measured."""
        ...


class StoreBoard:
    """The board of notices of a store. Raises as the store does."""

    def __init__(self, store: Store) -> None:
        self._store = store

    async def put_standing(self, standing: Standing) -> None:
        """See ``Board``."""
        await self._store.put_up(standing.to_notice())

    async def put_samples(self, samples: NodeSamples) -> None:
        """See ``Board``."""
        await self._store.put_up(samples.to_notice())


class RolloutReporter:
    """Measures and tells for as long as :meth:`run` runs."""

    def __init__(
        self,
        *,
        board: Board,
        active: ActivePolicies,
        meter: ShadowMeter,
        clock: Clock,
        node: str,
        region: str,
        timing: Timing,
    ) -> None:
        self._board = board
        self._active = active
        self._meter = meter
        self._clock = clock
        self._node = node
        # Counts begin anew with the process; what those before it counted stays.
        self._instance = f"{node} {secrets.token_hex(4)}"
        self._region = region
        self._timing = timing
        self._enforced: OrderedDict[Revision, datetime.datetime] = OrderedDict()
        self._told: tuple[Revision, tuple[Refusal, ...]] | None = None
        self._told_samples: dict[StepKey, int] = {}
        self._told_at_s = float("-inf")

    async def run(self) -> None:
        """Measure, and tell what is news, until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self._meter.run(), name="rollouts-shadow")
            tasks.create_task(self._note_revisions(), name="rollouts-revisions")
            tasks.create_task(self._tell_on(), name="rollouts-tell")

    async def _tell_on(self) -> None:
        while True:
            try:
                await self.tell()
            except StoreError:
                log.warning("the store does not answer; what nodes tell waits", exc_info=True)
            except Exception:  # a node must not fall silent for good
                log.exception("how this node fares could not be told; it is tried again")
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

    async def tell(self) -> None:
        """Tell where this node stands and what it measured, as far as that is news."""
        if not self._active.is_loaded:
            return
        now_s, now = self._clock.monotonic(), self._clock.now()
        is_renewed = await self._tell_standing(now_s, now)
        await self._tell_samples(now, anew=is_renewed)

    async def _tell_standing(self, now_s: float, now: datetime.datetime) -> bool:
        """At once while a rollout waits for it, soon otherwise, and in time for the lease.

        Return whether it was told only to be told again.
        """
        standing = (self._active.revision, tuple(self._active.refusals))
        silent_s = now_s - self._told_at_s
        is_old = standing == self._told
        soon_s = 0 if self._is_waited_for() else self._timing.report_s
        wait_s = self._timing.lease_s / 3 if is_old else soon_s
        if silent_s < wait_s:
            return False
        await self._board.put_standing(self._standing(now))
        self._told, self._told_at_s = standing, now_s
        return is_old

    def _is_waited_for(self) -> bool:
        return any(items.rollout_under_way is not None for items in self._active.sets())

    async def _tell_samples(self, now: datetime.datetime, *, anew: bool) -> None:
        """Tell the counts that have changed; now and then all, for what was told may be lost."""
        for key, meter in self._meter.steps().items():
            if not anew and meter.decisions == self._told_samples.get(key):
                continue
            samples = meter.samples()
            told = NodeSamples(
                node=self._instance,
                time=now,
                step=key,
                samples=samples,
                examples=tuple(meter.examples),
            )
            await self._board.put_samples(told)
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
