"""How decisions depend on how many policies and tenants there are."""

from __future__ import annotations

import itertools
import time

import placet
from bench.measure import Context
from bench.records import Figure, Skipped
from bench.scenarios.running import with_policies
from bench.scenarios.unary import probe
from bench.servers import Server, Variant
from bench.workloads import TENANT, cold, policies, publish

SIZES = (10, 100, 1_000, 10_000, 100_000)
QUICK_SIZES = (10, 1_000, 10_000)
MEMORY_SIZE = 10_000
MEMORY = "memory after publishing"
TENANTS = 200
_TENANT_SIZE = 10
_MB = 1_000_000


def name_of(size: int) -> str:
    """Return the scenario's name."""
    return f"cold, {size:,} policies"


def run_sizes(context: Context, variant: Variant) -> None:
    """Ask new things of sets from 10 to 100,000 policies."""
    for size in QUICK_SIZES if context.quick else SIZES:
        with with_policies(context, variant, {}) as server:
            context.tell(f"{name_of(size)}: {server.name}, publishing")
            try:
                _one_size(context, server, size)
            except placet.DeadlineExceeded:
                reason = "publishing them took more than two minutes"
                context.results.skipped.append(Skipped(name_of(size), server.name, reason))


def _one_size(context: Context, server: Server, size: int) -> None:
    def note(what: str, value: float, unit: str) -> None:
        context.results.figures.append(Figure(name_of(size), server.name, what, value, unit))

    start = time.perf_counter()
    publish(server.address, TENANT, list(policies(size)))
    note("publishing all", time.perf_counter() - start, "s")
    note(MEMORY, server.memory_bytes() / _MB, "MB")
    probe(context, server, name_of(size), cold(size, context.serials), cached=0.0)
    note("memory after load", server.memory_bytes() / _MB, "MB")


def run_tenants(context: Context, variant: Variant) -> None:
    """Ask new things of 200 tenants in turn, 10 policies each."""
    tenants = [f"tenant-{number}" for number in range(TENANTS)]
    context.tell(f"tenants: {variant.name}, publishing")
    sizes = dict(zip(tenants, itertools.repeat(_TENANT_SIZE), strict=False))
    with with_policies(context, variant, sizes) as server:
        bodies = cold(_TENANT_SIZE, context.serials, tenants=tenants)
        probe(context, server, "tenants", bodies, cached=0.0)
