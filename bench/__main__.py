"""Runs every scenario and prints a table; keeps the raw run."""

from __future__ import annotations

import asyncio
import json
import os
import platform
import statistics
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from pathlib import Path

from bench import scenarios
from bench.scenarios import BATCH, POLICIES, Bench

_Scenario = Callable[[Bench, int], Awaitable[list[float]]]

# Scenario, calls, decisions a call.
_SCENARIOS: tuple[tuple[_Scenario, int, int], ...] = (
    (scenarios.unary_warm, 8000, 1),
    (scenarios.unary_cold, 8000, 1),
    (scenarios.stream_warm, 8000, 1),
    (scenarios.batch_warm, 400, BATCH),
    (scenarios.batch_cold, 400, BATCH),
    (scenarios.engine_cold, 20_000, 1),
)
_WARM_UP_PART = 10


async def _run() -> list[dict[str, object]]:
    rows = []
    async with scenarios.running_bench() as bench:
        for scenario, calls, decisions in _SCENARIOS:
            await scenario(bench, calls // _WARM_UP_PART)
            start = time.perf_counter()
            times = await scenario(bench, calls)
            took = time.perf_counter() - start
            cuts = statistics.quantiles(times, n=100)
            rows.append(
                {
                    "scenario": scenario.__name__,
                    "calls": len(times),
                    "decisions_per_second": len(times) * decisions / took,
                    "p50_ms": cuts[49] * 1e3,
                    "p99_ms": cuts[98] * 1e3,
                }
            )
    return rows


def _print(rows: list[dict[str, object]]) -> None:
    base = float(str(rows[0]["decisions_per_second"]))
    print(f"{'scenario':14} {'decisions/s':>12} {'p50 ms':>9} {'p99 ms':>9} {'to unary_warm':>14}")
    for row in rows:
        speed = float(str(row["decisions_per_second"]))
        print(
            f"{row['scenario']!s:14} {speed:12,.0f} {row['p50_ms']:9.3f} {row['p99_ms']:9.3f} "
            f"{speed / base:13.2f}x"
        )


def main() -> None:
    """Run, print, keep."""
    rows = asyncio.run(_run())
    _print(rows)
    now = datetime.now(UTC)
    document = {
        "time": now.isoformat(timespec="seconds"),
        "machine": {
            "system": platform.platform(),
            "python": platform.python_version(),
            "cores": os.cpu_count(),
        },
        "policies": POLICIES,
        "rows": rows,
    }
    path = Path(__file__).parent / "results" / f"{now:%Y%m%dT%H%M%SZ}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(document, indent=2) + "\n", "utf-8")
    print(f"\nraw run: {path}")


if __name__ == "__main__":
    main()
