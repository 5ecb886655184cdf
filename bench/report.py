"""The report: what was measured, as tables, with the targets first."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from bench.histogram import PERCENTILES
from bench.peers import compare
from bench.records import Level, Results, Row
from bench.targets import cpu_ratio, ratio, targets

_GENERATOR_LIMIT = 0.8
_BEYOND = "150 %"


def report(results: Results, plots: Sequence[tuple[str, str]]) -> str:
    """Return the report in Markdown.

    Args:
        results: the run.
        plots: title and file of each plot, beside the report.
    """
    parts = [
        [f"# Bench, {results.started}", ""],
        _machine(results),
        _targets(results),
        _peers(results),
        *([f"![{title}]({file})", ""] for title, file in plots),
        _rows(results),
        _overload(results),
        _times(results),
        _figures(results),
        _skipped(results),
        _HOW_TO_READ.splitlines(),
    ]
    return "\n".join(line for part in parts for line in part).rstrip() + "\n"


_HOW_TO_READ = """\
## How to read this

- The *ceiling* is what a closed loop of callers gets out of a system. Latencies are from an open
  loop at a share of it, with callers that come independently (Poisson), counted from the moment a
  request was *meant* to be sent: a server that stalls shows.
- *CPU µs/call* is the server's processor time for a call at the ceiling, and *server* the share of
  a core that it had. Where that is well below 100 %, others had the rest: compare by CPU then.
- *generator* is the share of its core that the load generator needed at the ceiling. Above 80 %
  the generator may be what limits.
- *send lag* is how late requests went out, p99; it is contained in the latencies. Where it is
  large at 20 %, something else had the generator's core: see the load average.
- Machines differ, and so do hours on the same one: ratios within a run say more than figures of
  two runs.
- Peers are timed in turn on the same core, after all of them gave the same answers to every case
  of the corpus; the median of the turns' ratios counts.
"""


def _table(head: Sequence[str], lines: Iterable[Sequence[str]]) -> list[str]:
    made = [f"| {' | '.join(line)} |" for line in lines]
    if not made:
        return []
    return [f"| {' | '.join(head)} |", "|" + " --- |" * len(head), *made, ""]


def _section(title: str, table: list[str]) -> list[str]:
    return [f"## {title}", "", *table] if table else []


def _machine(results: Results) -> list[str]:
    lines = [
        (key.replace("_", " "), _plain(value))
        for key, value in results.machine.items()
        if value != ""
    ]
    lines.append(("arguments", f"`{results.arguments}`" if results.arguments else "none"))
    remarks = [f"- {remark}" for remark in results.remarks]
    return [*_table(("machine", ""), lines), *remarks, *([""] if remarks else [])]


def _plain(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key} {item}" for key, item in value.items())
    if isinstance(value, list):
        return ", ".join(str(item) for item in value)
    return str(value)


def _targets(results: Results) -> list[str]:
    lines = [
        (found.what, found.system, found.target, found.measured, "met" if found.met else "MISSED")
        for found in targets(results)
    ]
    return _section("Targets", _table(("what", "system", "target", "measured", ""), lines))


def _peers(results: Results) -> list[str]:
    systems = list(dict.fromkeys(row.system for row in results.rows))
    ours = [system for system in systems if system.startswith("placet")]
    others = [system for system in systems if system not in ours]
    lines = []
    for scenario in (compare.HOT, compare.FRESH, compare.BATCH, compare.FRESH_BATCH):
        for system in ours:
            for other in others:
                found = ratio(results, scenario, system, other)
                by_cpu = cpu_ratio(results, scenario, system, other)
                if found is not None:
                    cpu = "" if by_cpu is None else f"{by_cpu:.2f}x"
                    lines.append((scenario, system, other, f"{found:.2f}x", cpu))
    return _section(
        "Decisions a second, Placet over its peers",
        _table(("scenario", "system", "peer", "a second", "a CPU second"), lines),
    )


def _rows(results: Results) -> list[str]:
    head = ("scenario", "system", "calls/s", "decisions/s", "CPU µs/call", "server", "generator")
    return _section(
        "Ceilings, and latency below them",
        _table(
            (*head, "level", *(f"p{p:g} ms" for p in PERCENTILES), "max ms", "send lag ms", "note"),
            (line for row in results.rows for line in _row_lines(row)),
        ),
    )


def _row_lines(row: Row) -> Iterator[tuple[str, ...]]:
    busy = f"{row.generator_busy:.0%}" + (" (!)" if row.generator_busy > _GENERATOR_LIMIT else "")
    first: tuple[str, ...] = (
        row.scenario,
        row.system,
        f"{row.ceiling:,.0f}",
        f"{row.decisions_per_second:,.0f}",
        f"{row.server_cpu_us:,.0f}",
        f"{row.server_share:.0%}",
        busy,
    )
    note = row.note
    for level in row.levels:
        if level.name != _BEYOND:
            yield (*first, level.name, *_latencies(level), f"{level.lag.at(99):.2f}", note)
            first, note = ("",) * len(first), _trouble(level)


def _trouble(level: Level) -> str:
    return f"{level.unanswered} unanswered" if level.unanswered else ""


def _latencies(level: Level) -> tuple[str, ...]:
    times = level.latencies
    return (*(f"{times.at(p):.3f}" for p in PERCENTILES), f"{times.maximum:.1f}")


def _overload(results: Results) -> list[str]:
    lines = [
        (
            row.scenario,
            row.system,
            f"{level.rate:,.0f}",
            f"{level.latencies.count:,}",
            f"{level.shed.count:,}",
            str(level.unanswered + sum(level.failures.values())),
            f"{level.latencies.at(50):.1f}",
            f"{level.latencies.at(99):.1f}",
            f"{level.shed.at(99):.1f}",
        )
        for row in results.rows
        for level in row.levels
        if level.name == _BEYOND
    ]
    head = ("scenario", "system", "calls/s sent", "decided", "shed", "lost")
    ends = ("decided p50 ms", "decided p99 ms", "shed p99 ms")
    return _section("Beyond the ceiling (150 %)", _table((*head, *ends), lines))


def _times(results: Results) -> list[str]:
    lines = [
        (
            found.scenario,
            found.system,
            found.what,
            f"{found.latencies.count:,}",
            *(_short(found.latencies.at(p)) for p in PERCENTILES),
            _short(found.latencies.maximum),
        )
        for found in results.times
    ]
    head = ("scenario", "system", "what", "count", *(f"p{p:g}" for p in PERCENTILES), "max")
    return _section("Times", _table(head, lines))


def _short(milliseconds: float) -> str:
    return f"{milliseconds * 1e3:.1f} µs" if milliseconds < 1 else f"{milliseconds:.1f} ms"


def _figures(results: Results) -> list[str]:
    lines = [
        (found.scenario, found.system, found.what, f"{found.value:,.1f} {found.unit}")
        for found in results.figures
    ]
    return _section("Other figures", _table(("scenario", "system", "what", ""), lines))


def _skipped(results: Results) -> list[str]:
    lines = [(found.scenario, found.system, found.reason) for found in results.skipped]
    return _section("Not measured", _table(("scenario", "system", "why"), lines))
