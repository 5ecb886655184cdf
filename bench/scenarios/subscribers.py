"""From publish to the delta on every subscriber."""

from __future__ import annotations

from bench.crowd import crowd_of, publish_and_wait
from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.records import Times
from bench.scenarios.running import nodes_with_policies
from bench.servers import Variant
from bench.workloads import TENANT

COUNTS = (1, 100, 1_000)
NODES = 3
QUICK_COUNTS = (1, 100)
EACH, LAST = "publish to each subscriber", "publish to the last subscriber"
_SIZE = 100
_PUBLISHES, _QUICK_PUBLISHES = 40, 15


def name_of(count: int, nodes: int = 1) -> str:
    """Return the scenario's name."""
    name = f"{count:,} subscribers"
    return name if nodes == 1 else f"{name} on {nodes} nodes"


def run(context: Context, variant: Variant) -> None:
    """Publish again and again to 1, 100 and 1,000 subscribers, each when all have the last."""
    _run(context, variant, nodes=1)


def run_nodes(context: Context, variant: Variant) -> None:
    """Do the same with three nodes on one store; the change is published on the first of them."""
    _run(context, variant, nodes=NODES)


def _run(context: Context, variant: Variant, *, nodes: int) -> None:
    for count in QUICK_COUNTS if context.quick else COUNTS:
        name = name_of(count, nodes)
        context.tell(f"{name}: {variant.name}")
        with (
            nodes_with_policies(context, variant, {TENANT: _SIZE}, nodes=nodes) as servers,
            pinned(context.cores.load),
            crowd_of([server.address for server in servers], count) as crowd,
        ):
            crowd.wait_for_all(0)
            rounds = _QUICK_PUBLISHES if context.quick else _PUBLISHES
            each, last = publish_and_wait(crowd, rounds=rounds)
        add = context.results.times.append
        add(Times(name, servers[0].name, EACH, Latencies(each)))
        add(Times(name, servers[0].name, LAST, Latencies(last)))
