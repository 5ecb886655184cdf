"""Clients of other languages under load: the drivers of `tests/polyglot`, as processes."""

from __future__ import annotations

import json
import os
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.failures import WrongAnswer

_PROJECT = Path(__file__).resolve().parents[1]
_POLL_S = 0.01
_NS = 1_000_000_000
_END_TIMEOUT_S = 20.0


@dataclass(frozen=True, slots=True)
class Tick:
    """What a driver told of a tenth of a second."""

    at_ns: int
    """When it was told, by the clock of ``time.perf_counter_ns``."""
    calls: int
    failed: int
    nodes: frozenset[str]
    gap_ns: int
    """The longest wait of any worker that ended in it, or was still under way."""


@dataclass(slots=True)
class Load:
    """A driver that calls on and on."""

    name: str
    ticks: list[Tick] = field(default_factory=list)
    done: Mapping[str, Any] | None = None

    def since(self, moment_ns: int) -> list[Tick]:
        """Return what was told after a moment."""
        return [tick for tick in list(self.ticks) if tick.at_ns > moment_ns]

    def before(self, moment_ns: int) -> list[Tick]:
        """Return what was told before it."""
        return [tick for tick in list(self.ticks) if tick.at_ns <= moment_ns]

    def wait_for(self, holds: Callable[[Sequence[Tick]], bool], timeout_s: float) -> None:
        """Wait until the ticks are as they have to be.

        Raises:
            WrongAnswer: they are not, in time.
        """
        deadline_s = time.monotonic() + timeout_s
        while not holds(list(self.ticks)):
            if self.done is not None or time.monotonic() > deadline_s:
                told = [sorted(tick.nodes) for tick in self.ticks[-3:]]
                raise WrongAnswer(f"{self.name} is not where it has to be: {told}")
            time.sleep(_POLL_S)


def last_sent_ns(ticks: Sequence[Tick], broken_ns: int, deadline_s: float) -> int:
    """Return how long after a node hung the last call was sent to it.

    That call failed at its deadline. Up to a tick more than it was.
    """
    late = [tick.at_ns for tick in ticks if tick.failed]
    return max(0, max(late) - broken_ns - round(deadline_s * _NS)) if late else 0


@contextmanager
def loading(
    name: str, command: Sequence[str], *arguments: str, environment: Mapping[str, str]
) -> Iterator[Load]:
    """Run a driver's `load`, and end it with the block, after which it is `done`.

    Raises:
        WrongAnswer: it did not end well.
    """
    load = Load(name)
    with subprocess.Popen(
        [*command, "load", *arguments],
        cwd=_PROJECT,
        env={**os.environ, **environment},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as process:
        listening = threading.Thread(target=_listen, args=(process, load), daemon=True)
        listening.start()
        try:
            yield load
            assert process.stdin is not None
            process.stdin.close()
            listening.join(_END_TIMEOUT_S)
            if load.done is None:
                raise WrongAnswer(f"{name} did not say how it went")
        finally:
            process.kill()
            listening.join(_END_TIMEOUT_S)


def _listen(process: subprocess.Popen[bytes], load: Load) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        told, now_ns = json.loads(line), time.perf_counter_ns()
        match told["event"]:
            case "tick":
                load.ticks.append(
                    Tick(
                        now_ns,
                        told["calls"],
                        told["failed"],
                        frozenset(told["nodes"]),
                        round(told["gap_ms"] * 1e6),
                    )
                )
            case "done":
                load.done = told
