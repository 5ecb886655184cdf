"""Drivers under load, as the bench has them: a script stands for one."""

from __future__ import annotations

import sys

import pytest

from bench.drivers import Load, Tick, last_sent_ns, loading
from bench.failures import WrongAnswer

_TICK = (
    '{"event": "tick", "calls": 3, "failed": 1, "nodes": {"node-0": 2}, "gap_ms": 12.5}',
    '{"event": "failed", "code": "UNAVAILABLE"}',
)
_DONE = '{"event": "done", "calls": 3, "failed": 1}'
_SECOND_NS = 1_000_000_000


def script(*lines: str, end: str = "sys.stdin.read()") -> tuple[str, ...]:
    shown = "\n".join(f"print({line!r}, flush=True)" for line in lines)
    return (sys.executable, "-c", f"import sys\n{shown}\n{end}\nprint({_DONE!r}, flush=True)")


def test_what_a_driver_tells_is_kept_and_it_ends_with_the_block() -> None:
    with loading("a driver", script(*_TICK), environment={}) as load:
        load.wait_for(lambda ticks: len(ticks) == 1, 20.0)
    (tick,) = load.ticks
    assert (3, 1, 12_500_000) == (tick.calls, tick.failed, tick.gap_ns)
    assert {"node-0"} == tick.nodes
    assert {"event": "done", "calls": 3, "failed": 1} == load.done


def test_a_driver_that_does_not_say_how_it_went_is_no_result() -> None:
    command = script(end="sys.exit(1)")
    with pytest.raises(WrongAnswer, match="did not say"), loading("it", command, environment={}):
        pass


def test_what_never_comes_about_is_no_result() -> None:
    command = script(*_TICK)
    with (
        loading("it", command, environment={}) as load,
        pytest.raises(WrongAnswer, match="not where it has to be"),
    ):
        load.wait_for(lambda ticks: False, 0.1)


def test_calls_are_sent_until_a_deadline_before_the_last_one_failed() -> None:
    def tick(at_s: float, failed: int) -> Tick:
        return Tick(round(at_s * _SECOND_NS), 10, failed, frozenset(), 0)

    load = Load("it", [tick(9.9, 2), tick(11.1, 3), tick(11.4, 1), tick(11.5, 0)])
    after = load.since(10 * _SECOND_NS)
    assert round(0.4 * _SECOND_NS) == last_sent_ns(after, 10 * _SECOND_NS, 1.0)
    assert 0 == last_sent_ns([tick(11.0, 0)], 10 * _SECOND_NS, 1.0)
