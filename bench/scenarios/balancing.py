"""Who gets the calls: each strategy against what it promises, and what one slow node costs."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from bench.chi_square import chi_square, chi_square_limit
from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.records import Figure, Times
from bench.scenarios.callers import calling, publish_permission
from bench.scenarios.running import nodes_with_policies
from bench.servers import Server, Variant
from bench.wires import wire_in_background
from bench.workloads import TENANT, wait_everywhere
from placet import Balancing, Endpoint
from placet._balancing.pickers import Strategy

NAME = "balancing over three nodes"
SLOW = "balancing, one of three nodes 20 ms late"
ROUND_ROBIN, LEAST_REQUEST = "round_robin", "least_request"
_WITH_ONE_SLOW: Mapping[str, Balancing] = {
    ROUND_ROBIN: Balancing(strategy="round_robin"),
    LEAST_REQUEST: Balancing(strategy="least_request"),
    f"{LEAST_REQUEST}, hedged": Balancing(strategy="least_request", hedge_after_s="p95"),
}
_SHARES: Mapping[Strategy, Sequence[int]] = {
    "round_robin": (100, 100, 100),
    "random": (100, 100, 100),
    "least_request": (100, 100, 100),
    "weighted": (100, 200, 400),
}
_CALLS, _QUICK_CALLS = 6_000, 1_500
_DELAY_S = 0.02
_CALLERS = 8
_SECONDS, _QUICK_SECONDS = 6.0, 2.0


def distance_name(strategy: str) -> str:
    """Return what a strategy's chi-square over its limit is called."""
    return f"{strategy}: chi-square over its limit at 99.9 %"


def run(context: Context, variant: Variant) -> None:
    """Compare who gets the calls with what each strategy promises, and with one slow node."""
    with nodes_with_policies(context, variant, {TENANT: 0}, nodes=3) as servers:
        revision = publish_permission(servers[0].address)
        for server in servers:
            wait_everywhere(server.address, TENANT, revision)
        with pinned(context.cores.load):
            for strategy, shares in _SHARES.items():
                context.tell(f"{NAME}: {strategy}")
                _distribution(context, servers, strategy, shares)
            for name, balancing in _WITH_ONE_SLOW.items():
                context.tell(f"{SLOW}: {name}")
                _one_slow(context, servers, name, balancing)


def _distribution(
    context: Context, servers: Sequence[Server], strategy: Strategy, shares: Sequence[int]
) -> None:
    """Make calls one after the other, and count who answers."""
    target = [
        Endpoint(server.address, weight=share)
        for server, share in zip(servers, shares, strict=True)
    ]
    wanted = _QUICK_CALLS if context.quick else _CALLS
    balancing = Balancing(strategy=strategy)
    with calling("threads", target, count=1, balancing=balancing) as tally:
        while len(tally.waits) < wanted:
            time.sleep(0.01)
    calls = {found.address: found.calls for found in tally.endpoints}
    counts = [calls[server.address] for server in servers]
    statistic = chi_square(counts, shares)
    add, system = context.results.figures.append, servers[0].name
    for number, (count, share) in enumerate(zip(counts, shares, strict=True), 1):
        what = f"{strategy}: node {number}, whose share is {share / sum(shares):.1%}"
        add(Figure(NAME, system, what, 100 * count / sum(counts), "%"))
    add(Figure(NAME, system, f"{strategy}: chi-square", statistic, ""))
    limit = chi_square_limit(len(counts) - 1)
    add(Figure(NAME, system, distance_name(strategy), statistic / limit, "x"))


def _one_slow(context: Context, servers: Sequence[Server], name: str, balancing: Balancing) -> None:
    """Let one node's answers come late, and see what callers wait for."""
    seconds = _QUICK_SECONDS if context.quick else _SECONDS
    with wire_in_background(servers[0].address) as wire:
        wire.delay_s = _DELAY_S
        target = [wire.address, *(server.address for server in servers[1:])]
        with calling("threads", target, count=_CALLERS, balancing=balancing) as tally:
            time.sleep(seconds)
    system = servers[0].name
    waits = [wait for _, wait in tally.waits]
    context.results.times.append(Times(SLOW, system, name, Latencies(waits)))
    slow = next(found.calls for found in tally.endpoints if found.address == wire.address)
    share = 100 * slow / sum(found.calls for found in tally.endpoints)
    add = context.results.figures.append
    add(Figure(SLOW, system, f"{name}: calls that went to the slow node", share, "%"))
    add(Figure(SLOW, system, f"{name}: calls a second", len(waits) / seconds, ""))
