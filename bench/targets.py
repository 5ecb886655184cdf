"""What Placet has to reach, and whether a run shows it."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from bench.peers import compare
from bench.records import Results, Row
from bench.scenarios import balancing, failover, local, many, sets, subscribers, xds
from bench.scenarios.callers import KINDS, Kind
from placet._balancing.pickers import PICKERS

PEER = "cerbos"
_BATCH = 100
_OWN_CORE = 0.9
"""With less of its core a server's ceiling is not its own: processor time is compared then."""


@dataclass(frozen=True, slots=True)
class Target:
    """One promise beside what was measured."""

    what: str
    system: str
    target: str
    measured: str
    met: bool


@dataclass(frozen=True, slots=True)
class _Promise:
    what: str
    limit: float
    at_least: bool
    unit: str
    """As it stands behind figures."""
    find: Callable[[Results, str], float | None]

    def look(self, results: Results, system: str) -> Target | None:
        """Return what this run says; None when it did not measure it."""
        value = self.find(results, system)
        if value is None:
            return None
        met = value >= self.limit if self.at_least else value <= self.limit
        bound = "at least" if self.at_least else "at most"
        return Target(
            self.what,
            system,
            f"{bound} {_number(self.limit)}{self.unit}",
            f"{_number(value)}{self.unit}",
            met,
        )


def targets(results: Results) -> Iterator[Target]:
    """Yield every target that this run measured, for each variant of Placet."""
    systems = dict.fromkeys(name for name in results.systems() if name.startswith("placet"))
    for promise in _PROMISES:
        for system in systems:
            target = promise.look(results, system)
            if target is not None:
                yield target


def ratio(results: Results, scenario: str, system: str, peer: str) -> float | None:
    """Return how many times a peer's decisions a second a system makes.

    Where both were looked at in turn it is the median of the turns' ratios.
    """
    ours, theirs = results.row(scenario, system), results.row(scenario, peer)
    if ours is None or theirs is None or not theirs.decisions_per_second:
        return None
    pairs = zip(ours.rounds or (ours.ceiling,), theirs.rounds or (theirs.ceiling,), strict=False)
    return statistics.median(
        mine * ours.decisions / (other * theirs.decisions) for mine, other in pairs if other
    )


def cpu_ratio(results: Results, scenario: str, system: str, peer: str) -> float | None:
    """Return the same for each second of the server's processor time.

    It says what the ceilings would be if each had had the core to itself.
    """
    ours, theirs = results.row(scenario, system), results.row(scenario, peer)
    if ours is None or theirs is None or not ours.server_cpu_us:
        return None
    mine = ours.server_cpu_us / ours.decisions
    return theirs.server_cpu_us / theirs.decisions / mine


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _over_peer(scenario: str) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        rows = (results.row(scenario, system), results.row(scenario, PEER))
        if any(row is not None and 0 < row.server_share < _OWN_CORE for row in rows):
            return cpu_ratio(results, scenario, system, PEER)
        return ratio(results, scenario, system, PEER)

    return find


def _decisions(scenario: str) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        row = results.row(scenario, system)
        return None if row is None else row.decisions_per_second

    return find


def _percentile(
    scenario: str, level: str, percentile: float
) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        row: Row | None = results.row(scenario, system)
        found = row.level(level) if row is not None else None
        return None if found is None else found.latencies.at(percentile)

    return find


def _figure(scenario: str, what: str) -> Callable[[Results, str], float | None]:
    return lambda results, system: results.figure(scenario, system, what)


def _slowdown(results: Results, system: str) -> float | None:
    """Return how many times longer a new decision takes by 10,000 policies than by 10."""
    small = results.row(sets.name_of(10), system)
    large = results.row(sets.name_of(sets.MEMORY_SIZE), system)
    if small is None or large is None or not large.ceiling:
        return None
    return small.ceiling / large.ceiling


def _delivered(nodes: int) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        times = results.time(subscribers.name_of(100, nodes), system, subscribers.EACH)
        return None if times is None else times.at(99)

    return find


def _gap(kind: Kind, fault: str) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        times = results.time(failover.NAME, system, failover.gap_name(kind, fault))
        return None if times is None else times.maximum

    return find


def _failed_calls(results: Results, system: str) -> float | None:
    """Return how many calls failed, whatever happened to a node."""
    names = [
        failover.failed_name(kind, fault)
        for kind in KINDS
        for fault in (failover.KILLED, failover.HUNG, failover.CUT)
    ]
    found = [results.figure(failover.NAME, system, name) for name in names]
    return None if None in found else sum(count for count in found if count is not None)


def _xds_gap(language: str, kind: str, fault: str) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        times = results.time(xds.NAME, system, xds.gap_name(language, kind, fault))
        return None if times is None else times.maximum

    return find


def _xds_sent(language: str) -> Callable[[Results, str], float | None]:
    def find(results: Results, system: str) -> float | None:
        times = results.time(xds.NAME, system, xds.sent_name(language))
        return None if times is None else times.maximum

    return find


def _gain_by_least_request(results: Results, system: str) -> float | None:
    times = [
        results.time(balancing.SLOW, system, strategy)
        for strategy in (balancing.ROUND_ROBIN, balancing.LEAST_REQUEST)
    ]
    in_turn, least = (None if found is None else found.at(90) for found in times)
    return in_turn / least if in_turn and least else None


_WARM_BATCH = many.name_of(_BATCH, warm=True)
_LOCAL = local.name_of(1_000)
_MEMORY = sets.name_of(sets.MEMORY_SIZE)

_PROMISES: tuple[_Promise, ...] = (
    _Promise(f"unary over {PEER}, same requests", 2, True, "x", _over_peer(compare.HOT)),
    _Promise(f"unary over {PEER}, new requests", 1, True, "x", _over_peer(compare.FRESH)),
    _Promise(f"batch over {PEER}, same requests", 10, True, "x", _over_peer(compare.BATCH)),
    _Promise(f"batch over {PEER}, new requests", 2, True, "x", _over_peer(compare.FRESH_BATCH)),
    _Promise(f"batches of {_BATCH}, warm", 100_000, True, " decisions/s", _decisions(_WARM_BATCH)),
    _Promise("cached, p99 at 20 % of the ceiling", 2, False, " ms", _percentile("hot", "20 %", 99)),
    _Promise(
        "cached, p99 at 70 % of the ceiling", 10, False, " ms", _percentile("hot", "70 %", 99)
    ),
    _Promise(
        "p99 of what is admitted at 150 % of the ceiling",
        10,
        False,
        " ms",
        _percentile("overload", "150 %", 99),
    ),
    _Promise("new decision by 10,000 policies over by 10", 2, False, "x", _slowdown),
    _Promise(
        "local decision, warm, median",
        5,
        False,
        " µs",
        _figure(_LOCAL, f"{local.WARM}, median"),
    ),
    _Promise(
        "local decision by 1,000 policies, cold, median",
        50,
        False,
        " µs",
        _figure(_LOCAL, f"{local.COLD}, median"),
    ),
    _Promise("publish to each of 100 subscribers, p99", 500, False, " ms", _delivered(1)),
    _Promise("the same, what is aimed at", 50, False, " ms", _delivered(1)),
    _Promise(
        "publish to each of 100 subscribers of three nodes, p99",
        500,
        False,
        " ms",
        _delivered(subscribers.NODES),
    ),
    *(
        _Promise(
            f"longest wait when a node is {fault}, {kind}", limit, False, " ms", _gap(kind, fault)
        )
        for fault, limit in ((failover.KILLED, 100), (failover.HUNG, 1000), (failover.CUT, 1000))
        for kind in KINDS
    ),
    _Promise("failed calls when nodes die, hang or are cut off", 0, False, "", _failed_calls),
    *(
        promise
        for language, kind in xds.CLIENTS
        for fault, limit in ((failover.KILLED, 100), (failover.HUNG, 1000), (xds.DRAINED, 100))
        for promise in (
            _Promise(
                f"xDS, {language}, {kind}: longest wait when a node is {fault}",
                limit,
                False,
                " ms",
                _xds_gap(language, kind, fault),
            ),
            _Promise(
                f"xDS, {language}, {kind}: failed calls when a node is {fault}",
                0,
                False,
                "",
                _figure(xds.NAME, xds.failed_name(language, kind, fault)),
            ),
        )
    ),
    *(
        _Promise(
            f"xDS, {language}, stock: new calls go to a node that hangs for",
            1000,
            False,
            " ms",
            _xds_sent(language),
        )
        for language in dict.fromkeys(language for language, _ in xds.CLIENTS)
    ),
    *(
        _Promise(
            f"{strategy}: chi-square over its limit",
            1,
            False,
            "x",
            _figure(balancing.NAME, balancing.distance_name(strategy)),
        )
        for strategy in PICKERS
    ),
    _Promise(
        "one slow node of three: p90 of round_robin over that of least_request",
        2,
        True,
        "x",
        _gain_by_least_request,
    ),
    _Promise(
        "memory with 10,000 policies",
        150,
        False,
        " MB",
        _figure(_MEMORY, sets.MEMORY),
    ),
)
