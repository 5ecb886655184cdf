"""One decision a call: remembered, new, mixed, and more than the server can take."""

from __future__ import annotations

from bench.http2 import UnaryConnection
from bench.load import Bodies
from bench.measure import SAMPLE_EVERY, USUAL, Context, Probe, measure
from bench.scenarios import answers
from bench.scenarios.running import with_policies
from bench.servers import Server, Variant
from bench.workloads import EVALUATE, TENANT, cold, hot, mixed

_SIZE = 10
_MIXED_HITS = 0.85


def run_hot(context: Context, variant: Variant) -> None:
    """Ask the same fifty things over and over."""
    with with_policies(context, variant, {TENANT: _SIZE}) as server:
        probe(context, server, "hot", hot(_SIZE), cached=1.0)


def run_cold(context: Context, variant: Variant) -> None:
    """Ask what was never asked before."""
    with with_policies(context, variant, {TENANT: _SIZE}) as server:
        probe(context, server, "cold", cold(_SIZE, context.serials), cached=0.0)


def run_mixed(context: Context, variant: Variant) -> None:
    """Ask 85 % of what was asked before."""
    with with_policies(context, variant, {TENANT: _SIZE}) as server:
        bodies = mixed(_SIZE, context.serials)
        probe(context, server, "mixed", bodies, cached=_MIXED_HITS)


def run_overload(context: Context, variant: Variant) -> None:
    """Send half as much again as can be answered."""
    with with_policies(context, variant, {TENANT: _SIZE}, sheds=True) as server:
        bodies = hot(_SIZE)
        # So few callers are no overload by themselves.
        probe(context, server, "overload", bodies, cached=1.0, levels=(1.5,), concurrency=16)


def probe(
    context: Context,
    server: Server,
    scenario: str,
    bodies: Bodies,
    *,
    cached: float,
    levels: tuple[float, ...] = USUAL,
    concurrency: int = 64,
) -> None:
    """Measure unary calls."""
    measure(
        context,
        Probe(
            scenario=scenario,
            system=server.name,
            address=server.address,
            pid=server.pid,
            connect=lambda: UnaryConnection(EVALUATE, server.address, sample_every=SAMPLE_EVERY),
            bodies=bodies,
            check=answers.unary(cached=cached),
            levels=levels,
            concurrency=concurrency,
        ),
    )
