"""Two failures in a row take a node out, one answer brings it back."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable, Collection, Mapping

import pytest

from placet_server.clock import SystemClock
from placet_server.regions.probing import Answer, Prober, ProbeTiming
from placet_server.testing import ManualClock

AWAY = Answer("it cannot be reached", is_one=False)
UNWELL = Answer("it says that it does not serve")


class Scripted:
    """Answers for nodes as it is told to."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.kept: frozenset[str] = frozenset()
        self.is_closed = False
        self.timeouts_s: list[float] = []
        self.lose: Callable[[str], None] = lambda _: None

    def when_lost(self, tell: Callable[[str], None]) -> None:
        self.lose = tell

    async def ask(self, address: str, timeout_s: float) -> Answer:
        self.asked.append(address)
        self.timeouts_s.append(timeout_s)
        return self.answers.get(address, Answer())

    async def keep(self, addresses: Collection[str]) -> None:
        self.kept = frozenset(addresses)

    async def aclose(self) -> None:
        self.is_closed = True


class Probing:
    """A prober whose time passes by hand."""

    def __init__(self, *targets: str, **timing: float) -> None:
        self.targets = set(targets)
        self.asker = Scripted()
        self.clock = ManualClock()
        self.reports: list[Mapping[str, str]] = []
        self.prober = Prober(
            asker=self.asker,
            targets=lambda: self.targets,
            report=self.reports.append,
            clock=self.clock,
            timing=ProbeTiming(**timing),  # type: ignore[arg-type]
            rng=random.Random(1),
        )

    async def round(self, passing_s: float = 0.25) -> None:
        """Let time pass, and ask whoever is due."""
        await self.prober.follow_targets()
        self.clock.advance(passing_s)
        await asyncio.gather(*(self.prober.ask(address) for address in self.prober.due()))

    @property
    def failing(self) -> Mapping[str, str]:
        return self.reports[-1] if self.reports else {}


async def test_one_failure_is_tried_again_at_once_and_two_count() -> None:
    probing = Probing("a", "b")
    await probing.round()
    probing.asker.answers["a"] = AWAY
    await probing.round()
    assert {} == probing.failing
    await probing.round(0.03)
    assert {"a": "it cannot be reached"} == probing.failing
    assert 1 == len(probing.reports)
    probing.asker.answers["a"] = UNWELL
    await probing.round()
    assert {"a": "it says that it does not serve"} == probing.failing
    del probing.asker.answers["a"]
    await probing.round()
    assert {} == probing.failing
    assert 3 == probing.prober.failed


async def test_a_connection_that_breaks_is_a_failure_and_has_the_node_asked_at_once() -> None:
    probing = Probing("a", "b", timeout_s=0.3)
    await probing.round()
    probing.asker.asked.clear()
    probing.asker.timeouts_s.clear()
    probing.asker.lose("a")
    # It was the network's, or an old connection's end: the node answers.
    await probing.round(0.0)
    assert (["a"], [0.15]) == (probing.asker.asked, probing.asker.timeouts_s)
    assert [] == probing.reports
    probing.asker.answers["a"] = AWAY
    probing.asker.lose("a")
    await probing.round(0.0)
    assert {"a": "it cannot be reached"} == probing.failing


async def test_a_loss_while_a_node_is_asked_is_no_second_failure() -> None:
    probing = Probing("a", "b")
    await probing.round()
    probing.clock.advance(0.25)
    probing.prober._asking.add("a")
    probing.asker.lose("a")
    probing.asker.lose("nobody")
    probing.asker.answers["a"] = AWAY
    await probing.prober.ask("a")
    assert [] == probing.reports


async def test_a_failure_that_passes_is_none() -> None:
    probing = Probing("a", "b")
    for _ in range(5):
        probing.asker.answers["a"] = AWAY
        await probing.round()
        del probing.asker.answers["a"]
        await probing.round(0.03)
    assert [] == probing.reports


async def test_when_nobody_answers_nobody_is_to_blame() -> None:
    probing = Probing("a", "b")
    await probing.round()
    probing.asker.answers = {"a": AWAY}
    for _ in range(3):
        await probing.round()
    assert {"a": "it cannot be reached"} == probing.failing
    probing.asker.answers = {"a": AWAY, "b": AWAY}
    for _ in range(3):
        await probing.round()
    assert {} == probing.failing
    # Who says that it does not serve has answered.
    probing.asker.answers = {"a": AWAY, "b": UNWELL}
    for _ in range(3):
        await probing.round()
    assert {"a", "b"} == probing.failing.keys()


async def test_a_single_node_that_does_not_answer_counts() -> None:
    probing = Probing("a")
    probing.asker.answers = {"a": AWAY}
    for _ in range(3):
        await probing.round()
    assert {"a"} == probing.failing.keys()


async def test_who_goes_is_forgotten() -> None:
    probing = Probing("a", "b")
    probing.asker.answers = {"a": AWAY}
    for _ in range(3):
        await probing.round()
    probing.targets = {"b"}
    await probing.round()
    assert {} == probing.failing
    assert {"b"} == probing.asker.kept


async def test_many_are_asked_less_often_and_a_few_at_once() -> None:
    probing = Probing(*map(str, range(300)), max_per_second=100.0, max_at_once=32)
    await probing.prober.follow_targets()
    probing.clock.advance(0.25)
    assert 32 == len(probing.prober.due())
    for _ in range(100):
        await probing.round(0.1)
    asked = len(probing.asker.asked)
    assert 900 <= asked <= 1600, "ten seconds, 100 a second, and up to a fifth early"


async def test_probing_runs_and_ends(caplog: pytest.LogCaptureFixture) -> None:
    asker = Scripted()
    asker.answers["a"] = AWAY
    seen = asyncio.Event()
    prober = Prober(
        asker=asker,
        targets=lambda: ["a"],
        report=lambda failing: seen.set(),
        clock=SystemClock(),
        timing=ProbeTiming(every_s=0.01),
    )
    task = asyncio.create_task(prober.run())
    await asyncio.wait_for(seen.wait(), 10)
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert asker.is_closed
    assert "does not answer" in caplog.text


async def test_no_probes_when_they_are_off() -> None:
    probing = Probing("a", every_s=0.0)
    await asyncio.wait_for(probing.prober.run(), 10)
    assert [] == probing.asker.asked
