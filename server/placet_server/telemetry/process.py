"""Metrics of the process: memory, processor time, and how late the event loop is."""

from __future__ import annotations

import asyncio
import os
import time
from pathlib import Path

from placet_server.telemetry.recorders import Metrics

_STATM = Path("/proc/self/statm")
_LAG_EVERY_S = 0.25


def observe_process(metrics: Metrics) -> None:
    """Have memory and processor time read with the other metrics."""
    metrics.observe(
        "process.cpu.time",
        "s",
        "Processor time this process used.",
        lambda: [
            (os.times().user, {"cpu.mode": "user"}),
            (os.times().system, {"cpu.mode": "system"}),
        ],
        monotonic=True,
    )
    if _STATM.exists():
        page_bytes = os.sysconf("SC_PAGE_SIZE")
        metrics.observe(
            "process.memory.usage",
            "By",
            "Memory of this process that is in use, the resident set.",
            lambda: int(_STATM.read_text("ascii").split()[1]) * page_bytes,
        )


async def measure_loop_lag(metrics: Metrics) -> None:
    """Record how much later than asked for the event loop wakes a task, until cancelled.

    A callback that keeps the loop to itself shows here, and as latency of every call.
    """
    lag = metrics.distribution(
        "placet.event_loop.lag", "s", "How late the event loop wakes a task that is due."
    ).child()
    while True:
        due = time.perf_counter() + _LAG_EVERY_S
        await asyncio.sleep(_LAG_EVERY_S)
        lag.record(max(time.perf_counter() - due, 0.0))
