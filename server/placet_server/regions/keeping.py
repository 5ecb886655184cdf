"""Lets time pass in a registry: leases lapse, and readers learn of loads now and then."""

from __future__ import annotations

import asyncio

from placet_server.clock import Clock
from placet_server.regions.registry import Registry

_SWEEP_S = 0.05
_NODES_A_BEAT = 200
# Less is what event loops do every day.
_LATE_S = 0.05


async def keep(registry: Registry, clock: Clock, *, beat_s: float = 1.0) -> None:
    """Keep a registry until cancelled.

    Args:
        registry: which.
        clock: tells when.
        beat_s: how often readers learn of loads, in seconds; less often of many nodes.
    """
    began_s = beat_at_s = clock.monotonic()
    while True:
        await asyncio.sleep(_SWEEP_S)
        now_s = clock.monotonic()
        late_s = now_s - began_s - _SWEEP_S
        registry.sweep(late_s if late_s > _LATE_S else 0.0)
        if now_s >= beat_at_s:
            registry.view.beat()
            beat_at_s = now_s + beat_s * max(1.0, len(registry.view.nodes) / _NODES_A_BEAT)
        began_s = now_s
