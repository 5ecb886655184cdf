"""What a run found out, and how it is kept."""

from __future__ import annotations

from dataclasses import dataclass, field

from bench.histogram import Latencies
from bench.load import Tally


@dataclass(frozen=True, slots=True)
class Level:
    """One open-loop run at a share of the ceiling."""

    name: str
    """``20 %``."""
    rate: float
    """Calls a second that were meant to be sent."""
    latencies: Latencies
    """From the intended sending; of what was decided."""
    shed: Latencies
    """Of what was refused because it was too much."""
    lag: Latencies
    """How late the generator sent."""
    sent: int
    unanswered: int
    failures: dict[int, int]

    @classmethod
    def of(cls, name: str, rate: float, tally: Tally) -> Level:
        """Make one of what was counted."""
        return cls(
            name=name,
            rate=rate,
            latencies=Latencies(tally.ok),
            shed=Latencies(tally.shed),
            lag=Latencies(tally.lag),
            sent=tally.sent,
            unanswered=tally.unanswered,
            failures=dict(tally.failures),
        )

    def document(self) -> dict[str, object]:
        return {
            "level": self.name,
            "calls_per_second": round(self.rate, 1),
            "sent": self.sent,
            "unanswered": self.unanswered,
            "failures_by_status": {str(status): count for status, count in self.failures.items()},
            "latency": self.latencies.document(),
            "shed": self.shed.document(),
            "send_lag": self.lag.document(),
        }


@dataclass(frozen=True, slots=True)
class Row:
    """One system in one scenario: its ceiling, and latencies below (or above) it."""

    scenario: str
    system: str
    ceiling: float
    """Calls a second, closed loop; the median where it was looked for several times."""
    decisions: int
    """In one call."""
    generator_busy: float
    """Share of its core the generator needed at the ceiling."""
    levels: tuple[Level, ...] = ()
    note: str = ""
    rounds: tuple[float, ...] = ()
    """The ceiling, each time it was looked for; those of other systems were found in between."""
    server_cpu_us: float = 0.0
    """Processor time the server needed for a call at the ceiling, in microseconds."""
    server_share: float = 0.0
    """Of a core, how much the server had at the ceiling: less than 1 is what others took."""

    @property
    def decisions_per_second(self) -> float:
        """Decisions a second at the ceiling."""
        return self.ceiling * self.decisions

    def level(self, name: str) -> Level | None:
        """Return a level by its name."""
        return next((level for level in self.levels if level.name == name), None)

    def document(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "system": self.system,
            "ceiling_calls_per_second": round(self.ceiling, 1),
            "ceiling_rounds": [round(speed, 1) for speed in self.rounds],
            "decisions_per_call": self.decisions,
            "decisions_per_second": round(self.decisions_per_second, 1),
            "server_cpu_us_per_call": round(self.server_cpu_us, 2),
            "server_share_of_a_core": round(self.server_share, 3),
            "generator_busy": round(self.generator_busy, 3),
            "note": self.note,
            "levels": [level.document() for level in self.levels],
        }


@dataclass(frozen=True, slots=True)
class Times:
    """How long something took, each time it was done."""

    scenario: str
    system: str
    what: str
    latencies: Latencies

    def document(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "system": self.system,
            "what": self.what,
            "latency": self.latencies.document(),
        }


@dataclass(frozen=True, slots=True)
class Figure:
    """One number."""

    scenario: str
    system: str
    what: str
    value: float
    unit: str

    def document(self) -> dict[str, object]:
        return {
            "scenario": self.scenario,
            "system": self.system,
            "what": self.what,
            "value": round(self.value, 4),
            "unit": self.unit,
        }


@dataclass(frozen=True, slots=True)
class Skipped:
    """What was not measured, and why."""

    scenario: str
    system: str
    reason: str

    def document(self) -> dict[str, object]:
        return {"scenario": self.scenario, "system": self.system, "reason": self.reason}


@dataclass(slots=True)
class Results:
    """Everything of one run."""

    machine: dict[str, object]
    started: str
    """When, in UTC."""
    arguments: str
    """Of the command line."""
    rows: list[Row] = field(default_factory=list)
    times: list[Times] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)
    skipped: list[Skipped] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    """About the whole run, for whoever reads its figures."""

    def systems(self) -> list[str]:
        """Return the systems that were measured, in the order they were."""
        names = (
            *(row.system for row in self.rows),
            *(found.system for found in self.times),
            *(found.system for found in self.figures),
        )
        return list(dict.fromkeys(names))

    def row(self, scenario: str, system: str) -> Row | None:
        """Return a row by its names."""
        return next(
            (row for row in self.rows if (row.scenario, row.system) == (scenario, system)), None
        )

    def time(self, scenario: str, system: str, what: str) -> Latencies | None:
        """Return times by their names."""
        wanted = (scenario, system, what)
        return next(
            (
                found.latencies
                for found in self.times
                if (found.scenario, found.system, found.what) == wanted
            ),
            None,
        )

    def figure(self, scenario: str, system: str, what: str) -> float | None:
        """Return a number by its names."""
        wanted = (scenario, system, what)
        return next(
            (
                found.value
                for found in self.figures
                if (found.scenario, found.system, found.what) == wanted
            ),
            None,
        )

    def document(self) -> dict[str, object]:
        """Return all of it for `raw.json`."""
        return {
            "started": self.started,
            "arguments": self.arguments,
            "machine": self.machine,
            "remarks": self.remarks,
            "rows": [row.document() for row in self.rows],
            "times": [found.document() for found in self.times],
            "figures": [found.document() for found in self.figures],
            "skipped": [found.document() for found in self.skipped],
        }
