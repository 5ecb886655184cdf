"""Asks nodes whether they serve: a lease can be kept by a process that answers nobody."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Protocol

from placet_server.clock import Clock

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class ProbeTiming:
    """How often nodes are asked."""

    every_s: float = 0.25
    """How often each is, while there are few. 0: never."""
    timeout_s: float = 0.3
    """How long an answer may take."""
    max_per_second: float = 100.0
    """How many are asked; with more of them, each is asked less often."""
    max_at_once: int = 32


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of asking a node."""

    reason: str = ""
    """Why it does not serve; nothing if it does."""
    is_one: bool = True
    """Whether it answered at all."""


class Asker(Protocol):
    """Asks a node, over the network."""

    def when_lost(self, tell: Callable[[str], None]) -> None:
        """Have somebody told the address of a node whenever the connection to it breaks."""
        ...

    async def ask(self, address: str, timeout_s: float) -> Answer:
        """Ask the node there. Does not raise."""
        ...

    async def keep(self, addresses: Collection[str]) -> None:
        """Drop what is kept for other addresses."""
        ...

    async def aclose(self) -> None:
        """Drop everything."""
        ...


@dataclass(slots=True)
class _Asked:
    """What came of asking one address."""

    due_s: float
    failures: int = 0
    """In a row."""
    answer: Answer = Answer()
    """The last."""


_FAILURES_THAT_COUNT = 2
_AGAIN_S = 0.02
_AGAIN_PART = 0.5
"""Who has failed once, and is asked again, has so much of the time for its answer."""
_TICK_S = 0.05
_SPREAD = 0.2


class Prober:
    """Asks whoever is to be asked, for as long as :meth:`run` runs.

    Two failures in a row take a node out, one answer brings it back. A connection that breaks is a
    failure, too: that is how nodes are noticed between two questions, however rare these are. When
    nobody answers at all, of two or more, it is the network here that is to blame, and nobody is
    taken out.

    Args:
        asker: how.
        targets: says which addresses.
        report: is given those that do not answer, with the reason, whenever that changes.
        clock: tells when to ask again.
        timing: how often.
        rng: spreads the asking.
    """

    def __init__(
        self,
        *,
        asker: Asker,
        targets: Callable[[], Collection[str]],
        report: Callable[[Mapping[str, str]], None],
        clock: Clock,
        timing: ProbeTiming,
        rng: random.Random | None = None,
    ) -> None:
        self._asker = asker
        self._targets = targets
        self._report = report
        self._clock = clock
        self._timing = timing
        self._rng = rng or random.Random()  # noqa: S311  # spreads, guards nothing
        self._asked: dict[str, _Asked] = {}
        self._asking: set[str] = set()
        self._told: dict[str, str] = {}
        self._hurry = asyncio.Event()
        self.failed = 0
        """Answers that did not come, or were not what they should be."""
        asker.when_lost(self.take_loss)

    async def run(self) -> None:
        """Ask until cancelled."""
        if not self._timing.every_s:
            return
        try:
            async with asyncio.TaskGroup() as tasks:
                while True:
                    await self.follow_targets()
                    for address in self.due():
                        self._asking.add(address)
                        tasks.create_task(self.ask(address), name=f"probe-{address}")
                    await self._tick()
        finally:
            await self._asker.aclose()

    async def _tick(self) -> None:
        """Wait until somebody may have to be asked."""
        self._hurry.clear()
        try:
            async with asyncio.timeout(_TICK_S):
                await self._hurry.wait()
        except TimeoutError:
            pass

    def take_loss(self, address: str) -> None:
        """Take note that the connection to a node broke, and have it asked at once."""
        asked = self._asked.get(address)
        if asked is None or address in self._asking:
            # Whoever is being asked fails to answer by it.
            return
        asked.failures += 1
        asked.due_s = self._clock.monotonic()
        self._hurry.set()

    async def follow_targets(self) -> None:
        """Take up those that are to be asked by now, and let go of the others."""
        targets = frozenset(self._targets())
        if targets == self._asked.keys():
            return
        now_s = self._clock.monotonic()
        for address in targets - self._asked.keys():
            self._asked[address] = _Asked(now_s + self._rng.random() * self._timing.every_s)
        for address in self._asked.keys() - targets:
            del self._asked[address]
        self._tell()
        await self._asker.keep(targets)

    def due(self) -> list[str]:
        """Return whom to ask now, those first who have waited longest."""
        now_s = self._clock.monotonic()
        waiting = sorted(
            (asked.due_s, address)
            for address, asked in self._asked.items()
            if asked.due_s <= now_s and address not in self._asking
        )
        room = self._timing.max_at_once - len(self._asking)
        return [address for _, address in waiting[: max(room, 0)]]

    async def ask(self, address: str) -> None:
        """Ask once, and take note of the answer."""
        suspect = self._asked.get(address)
        timeout_s = self._timing.timeout_s
        if suspect is not None and suspect.failures:
            timeout_s *= _AGAIN_PART
        try:
            answer = await self._asker.ask(address, timeout_s)
        finally:
            self._asking.discard(address)
        asked = self._asked.get(address)
        if asked is None:
            return
        now_s = self._clock.monotonic()
        asked.answer = answer
        if answer.reason:
            self.failed += 1
            asked.failures += 1
        else:
            asked.failures = 0
        is_new = asked.failures == 1
        asked.due_s = now_s + (_AGAIN_S if is_new else self._interval_s())
        self._tell()

    def _interval_s(self) -> float:
        spread = self._rng.uniform(1 - _SPREAD, 1)
        return max(self._timing.every_s, len(self._asked) / self._timing.max_per_second) * spread

    def _tell(self) -> None:
        failing = {
            address: asked.answer.reason
            for address, asked in self._asked.items()
            if asked.failures >= _FAILURES_THAT_COUNT
        }
        if len(self._asked) > 1 and not any(one.answer.is_one for one in self._asked.values()):
            failing = {}
        if failing == self._told:
            return
        for address in failing.keys() - self._told.keys():
            log.warning(
                "a node does not answer and gets no calls",
                extra={"address": address, "reason": failing[address]},
            )
        for address in self._told.keys() - failing.keys():
            log.info("a node is no longer kept from calls", extra={"address": address})
        self._told = failing
        self._report(failing)
