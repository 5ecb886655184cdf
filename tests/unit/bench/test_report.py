from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from bench.histogram import Latencies
from bench.load import Tally
from bench.peers import compare
from bench.plots import draw
from bench.records import Figure, Level, Results, Row, Skipped, Times
from bench.report import report
from bench.scenarios import sets, subscribers
from bench.targets import ratio, targets

MS = 1_000_000


def tally(milliseconds: float) -> Tally:
    made = Tally(sent=100, completed=100, seconds=1.0)
    made.ok.extend([round(milliseconds * MS)] * 100)
    made.lag.append(1000)
    return made


def row(scenario: str, system: str, ceiling: float, *, decisions: int = 1, ms: float = 1.0) -> Row:
    levels = tuple(Level.of(name, 10.0, tally(ms)) for name in ("20 %", "70 %"))
    return Row(scenario, system, ceiling, decisions, 0.2, levels, "a note")


@pytest.fixture
def results() -> Results:
    made = Results(machine={"cpu": "abacus", "cores": 2}, started="today", arguments="--quick")
    made.rows += [
        row("hot", "placet grpc", 5000, ms=3.0),
        replace(row(compare.HOT, "placet grpc", 15_000), server_cpu_us=60.0),
        replace(row(compare.HOT, "cerbos", 5000), server_cpu_us=90.0),
        row(compare.BATCH, "placet grpc", 200, decisions=50),
        row(compare.BATCH, "cerbos", 100, decisions=50),
        row(sets.name_of(10), "placet grpc", 3000),
        row(sets.name_of(10_000), "placet grpc", 1000),
    ]
    delivered = Latencies([60 * MS] * 10)
    made.times.append(Times(subscribers.name_of(100), "placet grpc", subscribers.EACH, delivered))
    made.figures.append(Figure(sets.name_of(10_000), "placet grpc", sets.MEMORY, 120.0, "MB"))
    made.skipped.append(Skipped("peers", "opa", "go is not here to build it"))
    return made


def test_ratio_is_of_decisions(results: Results) -> None:
    assert 3.0 == ratio(results, compare.HOT, "placet grpc", "cerbos")
    assert 2.0 == ratio(results, compare.BATCH, "placet grpc", "cerbos")
    assert None is ratio(results, compare.HOT, "placet grpc", "opa")


def test_ratio_is_the_median_of_what_was_measured_in_turn(results: Results) -> None:
    """The machine was four times slower in the second turn, and in the third only for one."""
    ours = row("turns", "placet grpc", 1000)
    theirs = row("turns", "cerbos", 500)
    results.rows += [
        replace(ours, rounds=(1000.0, 250.0, 900.0)),
        replace(theirs, rounds=(500.0, 125.0, 100.0)),
    ]

    assert 2.0 == ratio(results, "turns", "placet grpc", "cerbos")


def test_targets_say_what_was_met_and_leave_out_what_was_not_measured(results: Results) -> None:
    found = {target.what: target for target in targets(results)}

    assert {
        "unary over cerbos, same requests": ("3x", True),
        "batch over cerbos, same requests": ("2x", False),
        "cached, p99 at 20 % of the ceiling": ("3 ms", False),
        "cached, p99 at 70 % of the ceiling": ("3 ms", True),
        "new decision by 10,000 policies over by 10": ("3x", False),
        "publish to each of 100 subscribers, p99": ("60 ms", True),
        "the same, what is aimed at": ("60 ms", False),
        "memory with 10,000 policies": ("120 MB", True),
    } == {what: (target.measured, target.met) for what, target in found.items()}


def test_servers_that_had_to_share_their_core_are_compared_by_processor_time(
    results: Results,
) -> None:
    results.rows = [
        replace(found, server_share=0.4) if found.system == "cerbos" else found
        for found in results.rows
    ]

    found = {target.what: target for target in targets(results)}

    assert "1.5x" == found["unary over cerbos, same requests"].measured


def test_report_shows_targets_ratios_and_what_is_missing(results: Results) -> None:
    text = report(results, [("A plot", "plot.svg")])

    assert "| batch over cerbos, same requests | placet grpc | at least 10x | 2x | MISSED |" in text
    assert f"| {compare.HOT} | placet grpc | cerbos | 3.00x | 1.50x |" in text
    assert "| peers | opa | go is not here to build it |" in text
    assert "| cpu | abacus |" in text
    assert "![A plot](plot.svg)" in text
    assert "Beyond" not in text


def test_report_tells_what_was_shed_from_what_was_decided(results: Results) -> None:
    flood = tally(40.0)
    flood.shed.extend([MS] * 30)
    level = Level.of("150 %", 7500.0, flood)
    results.rows.append(Row("overload", "placet grpc", 5000, 1, 0.2, (level,)))

    text = report(results, [])

    (line,) = [line for line in text.splitlines() if line.startswith("| overload")]
    assert "| overload | placet grpc | 7,500 | 100 | 30 | 0 | 40.0 | 40.0 | 1.0 |" == line


def test_raw_run_has_the_whole_histograms(results: Results) -> None:
    from hdrh.histogram import HdrHistogram

    document = results.document()

    rows = document["rows"]
    assert isinstance(rows, list)
    kept = HdrHistogram.decode(rows[0]["levels"][0]["latency"]["hdr"])
    assert 100 == kept.get_total_count()


def test_plots_are_drawn(results: Results, tmp_path: Path) -> None:
    drawn = draw(results, tmp_path)

    assert ["decisions.svg", "latency.svg", "policies.svg"] == [file for _, file in drawn]
    assert all((tmp_path / file).read_text("utf-8").startswith("<?xml") for _, file in drawn)


def test_nothing_is_drawn_of_nothing(tmp_path: Path) -> None:
    assert [] == draw(Results(machine={}, started="", arguments=""), tmp_path)
