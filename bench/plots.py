"""The plots of a run, as SVG."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl

# Before anything that would choose another one.
mpl.use("Agg")

from matplotlib import pyplot as plt
from matplotlib.axes import Axes

from bench.records import Results, Row

_SIZE = re.compile(r"^cold, ([\d,]+) policies$")
_LEVELS = (("20 %", "--"), ("70 %", "-"))


def draw(results: Results, folder: Path) -> list[tuple[str, str]]:
    """Draw what the run has figures for; return title and file of each plot."""
    drawn = []
    for title, file, plot, height in _PLOTS:
        figure, axes = plt.subplots(figsize=(9, height(results)))
        if plot(axes, results):
            axes.set_title(title)
            figure.tight_layout()
            figure.savefig(folder / file, metadata={"Date": None})
            drawn.append((title, file))
        plt.close(figure)
    return drawn


def _bars(axes: Axes, results: Results) -> bool:
    rows = results.rows[::-1]
    if not rows:
        return False
    colours = {"placet": "#2b6cb0"}
    bars = axes.barh(
        [f"{row.scenario}: {row.system}" for row in rows],
        [row.decisions_per_second for row in rows],
        color=[colours.get(row.system.split()[0], "#a0aec0") for row in rows],
    )
    axes.bar_label(bars, [f" {row.decisions_per_second:,.0f}" for row in rows], fontsize=7)
    axes.tick_params(axis="y", labelsize=7)
    axes.set_xscale("log")
    axes.set_xlim(10, 3 * max(row.decisions_per_second for row in rows) + 10)
    axes.set_xlabel("decisions a second on one core, at the ceiling")
    return True


def _curves(axes: Axes, results: Results) -> bool:
    rows = [
        row
        for row in results.rows
        if row.scenario in ("hot", "cold", "mixed") or row.scenario.startswith("peers: same")
    ]
    for index, row in enumerate(rows):
        for name, style in _LEVELS:
            _curve(axes, row, name, style, f"C{index % 10}")
    if not rows:
        return False
    axes.set_xscale("log")
    axes.set_yscale("log")
    ticks = (2, 10, 100, 1_000, 10_000)
    axes.set_xticks(ticks, [f"{100 - 100 / tick:g} %" for tick in ticks])
    axes.set_xlabel("percentile")
    axes.set_ylabel("latency from the intended sending, ms")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=7)
    return True


def _curve(axes: Axes, row: Row, name: str, style: str, colour: str) -> None:
    level = row.level(name)
    if level is None:
        return
    points = [(1 / (1 - p / 100), at) for p, at in level.latencies.curve() if p < 100]
    axes.plot(
        [point[0] for point in points],
        [point[1] for point in points],
        style,
        color=colour,
        label=f"{row.scenario}: {row.system}, {name}",
    )


def _sizes(axes: Axes, results: Results) -> bool:
    by_system: dict[str, list[tuple[int, Row]]] = {}
    for row in results.rows:
        found = _SIZE.match(row.scenario)
        if found:
            size = int(found[1].replace(",", ""))
            by_system.setdefault(row.system, []).append((size, row))
    for system, rows in by_system.items():
        rows.sort(key=lambda pair: pair[0])
        sizes = [size for size, _ in rows]
        axes.plot(sizes, [1e3 / row.ceiling for _, row in rows], "o-", label=f"{system}, a call")
        for name, style in _LEVELS:
            levels = [row.level(name) for _, row in rows]
            axes.plot(
                sizes,
                [level.latencies.at(99) if level else float("nan") for level in levels],
                f"o{style}",
                label=f"{system}, p99 at {name}",
            )
    if not by_system:
        return False
    axes.set_xscale("log")
    axes.set_yscale("log")
    axes.set_xlabel("policies")
    axes.set_ylabel("ms")
    axes.grid(visible=True, alpha=0.3)
    axes.legend(fontsize=8)
    return True


# Title, file, what draws it, and how high it is, in inches.
_PLOTS: tuple[tuple[str, str, Callable[[Axes, Results], bool], Callable[[Results], float]], ...] = (
    ("Decisions a second", "decisions.svg", _bars, lambda results: 1.5 + 0.24 * len(results.rows)),
    (
        "Latency by percentile, at 20 % and 70 % of the ceiling",
        "latency.svg",
        _curves,
        lambda results: 5.5,
    ),
    (
        "New decisions by the size of the policy set",
        "policies.svg",
        _sizes,
        lambda results: 5.5,
    ),
)
