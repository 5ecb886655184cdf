from __future__ import annotations

import itertools

import pytest

from bench import gate
from bench.failures import WrongAnswer
from bench.gate import Finding, Floor

FLOOR = Floor("cache over judging", "warm", "cold", floor=2.0, margin=0.1)


def test_every_floor_is_of_speeds_that_are_measured() -> None:
    known = {
        gate.LOCAL_WARM,
        gate.LOCAL_COLD,
        gate.LOCAL_LARGE,
        gate.WIRE_HOT,
        gate.WIRE_COLD,
        gate.WIRE_BATCH,
    }

    assert {name for floor in gate.FLOORS for name in (floor.fast, floor.slow)} <= known
    assert all(floor.limit > 0 for floor in gate.FLOORS)


@pytest.mark.parametrize(("ratios", "held"), [((1.81, 1.8, 1.79), True), ((1.79,) * 3, False)])
def test_floor_holds_down_to_its_margin(ratios: tuple[float, ...], held: bool) -> None:
    assert held is Finding(FLOOR, ratios).held


def test_one_bad_round_is_noise() -> None:
    assert Finding(FLOOR, (2.1, 0.2, 2.2)).held


def test_sides_take_turns_in_going_first() -> None:
    order: list[str] = []

    def speed(name: str, value: float) -> float:
        order.append(name)
        return value

    speeds = {"warm": lambda: speed("warm", 30.0), "cold": lambda: speed("cold", 10.0)}

    (finding,) = gate.look([FLOOR], speeds, rounds=3)

    assert ["warm", "cold", "cold", "warm", "warm", "cold"] == order
    assert (3.0, 3.0, 3.0) == finding.ratios


def test_ratio_is_of_measurements_side_by_side() -> None:
    """A machine that gets slower by half from round to round changes no ratio."""
    slower = [1.0, 1.0, 0.5, 0.5, 0.25, 0.25]
    turns = itertools.count()
    speeds = {
        "warm": lambda: 30.0 * slower[next(turns)],
        "cold": lambda: 10.0 * slower[next(turns)],
    }

    (finding,) = gate.look([FLOOR], speeds, rounds=3)

    assert (3.0, 3.0, 3.0) == finding.ratios


def test_loss_fails_the_gate_and_is_readable(capsys: pytest.CaptureFixture[str]) -> None:
    code = gate.main(lambda: [Finding(FLOOR, (1.2, 1.3, 1.1))])

    out, err = capsys.readouterr()
    assert 1 == code
    assert "cache over judging" in out
    assert "LOST" in out
    assert "1.2 1.3 1.1" in out
    assert "lost: cache over judging" in err


def test_nothing_lost_passes_the_gate(capsys: pytest.CaptureFixture[str]) -> None:
    code = gate.main(lambda: [Finding(FLOOR, (2.2,))])

    assert 0 == code
    assert "LOST" not in capsys.readouterr().out


def test_gate_that_cannot_measure_does_not_pass(capsys: pytest.CaptureFixture[str]) -> None:
    def broken() -> list[Finding]:
        raise WrongAnswer("calls failed: {14: 3}")

    assert 2 == gate.main(broken)
    assert "calls failed" in capsys.readouterr().err
