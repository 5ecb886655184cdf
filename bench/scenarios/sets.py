"""How decisions depend on how many policies and tenants there are."""

from __future__ import annotations

import itertools
import time

from bench.measure import Context
from bench.results import Figure
from bench.scenarios.running import with_policies
from bench.scenarios.unary import probe
from bench.servers import Variant
from bench.workloads import TENANT, cold, policies, publish

SIZES = (10, 100, 1_000, 10_000, 100_000)
QUICK_SIZES = (10, 1_000, 10_000)
MEMORY_SIZE = 10_000
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
            start = time.perf_counter()
            publish(server.address, TENANT, list(policies(size)))
            took = time.perf_counter() - start
            add = context.results.figures.append
            add(Figure(name_of(size), server.name, "publishing all", took, "s"))
            memory = server.memory_bytes() / _MB
            add(Figure(name_of(size), server.name, "memory after publishing", memory, "MB"))
            bodies = cold(size, context.serials)
            probe(context, server, name_of(size), bodies, cached=0.0)
            memory = server.memory_bytes() / _MB
            add(Figure(name_of(size), server.name, "memory after load", memory, "MB"))


def run_tenants(context: Context, variant: Variant) -> None:
    """Ask new things of 200 tenants in turn, 10 policies each."""
    tenants = [f"tenant-{number}" for number in range(TENANTS)]
    context.tell(f"tenants: {variant.name}, publishing")
    sizes = dict(zip(tenants, itertools.repeat(_TENANT_SIZE), strict=False))
    with with_policies(context, variant, sizes) as server:
        bodies = cold(_TENANT_SIZE, context.serials, tenants=tenants)
        probe(context, server, "tenants", bodies, cached=0.0)
