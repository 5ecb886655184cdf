"""Thousands of nodes and subscribers below relays: how far a change gets, and what it costs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.crowd import Crowd, Group, crowd, publish_and_wait
from bench.histogram import Latencies
from bench.machine import pinned
from bench.measure import Context
from bench.records import Figure, Times
from bench.scenarios.running import with_policies
from bench.scenarios.subscribers import EACH, LAST
from bench.servers import Server, Variant, running_relay
from bench.workloads import TENANT

_SIZE = 100
_PUBLISHES, _QUICK_PUBLISHES = 15, 5


@dataclass(frozen=True, slots=True)
class Shape:
    """What is below the control node."""

    relays: int
    nodes: int
    """Nodes without a store that follow a relay: streams of everything."""
    subscribers: int
    """Clients that follow one tenant at a relay."""

    @property
    def name(self) -> str:
        """The scenario's name."""
        below = f"{self.nodes:,} nodes and {self.subscribers:,} subscribers"
        return f"{below} at {self.relays} relay{'s' if self.relays > 1 else ''}"

    def groups(self, relays: Sequence[Server]) -> Iterator[Group]:
        """Yield who follows which relay."""
        for relay in relays:
            yield Group(relay.address, "", self.nodes // self.relays)
            yield Group(relay.address, TENANT, self.subscribers // self.relays)


# The second is one relay of the last, with a core to itself: where relays are machines of their
# own, all of them together take as long as it does.
SHAPES = (Shape(1, 10, 100), Shape(1, 100, 1_000), Shape(10, 100, 1_000), Shape(10, 1_000, 10_000))
QUICK_SHAPES = (Shape(1, 10, 100), Shape(2, 20, 200))
CONTROL, RELAY, RECEIVED = (
    "the control node's processor time a publish",
    "each relay's processor time a publish",
    "received by all a publish",
)


def run(context: Context, variant: Variant) -> None:
    """Publish on a control node, and wait until all have it who follow it through relays."""
    for shape in QUICK_SHAPES if context.quick else SHAPES:
        context.tell(f"{shape.name}: {variant.name}")
        with (
            with_policies(context, variant, {TENANT: _SIZE}) as control,
            _relays(context, shape.relays, control) as relays,
            pinned(context.cores.load),
            crowd(control.address, list(shape.groups(relays))) as below,
        ):
            below.wait_for_all(0)
            _measure(context, shape, control, relays, below)


def _measure(
    context: Context, shape: Shape, control: Server, relays: Sequence[Server], below: Crowd
) -> None:
    rounds = _QUICK_PUBLISHES if context.quick else _PUBLISHES
    publish_and_wait(below, rounds=1)
    used = [server.cpu_seconds() for server in (control, *relays)]
    received = below.received_bytes
    each, last = publish_and_wait(below, rounds=rounds, warm_up=0)
    used = [
        (server.cpu_seconds() - before) / rounds * 1e3
        for server, before in zip((control, *relays), used, strict=True)
    ]
    for what, values in ((EACH, each), (LAST, last)):
        context.results.times.append(Times(shape.name, control.name, what, Latencies(values)))
    for what, value, unit in (
        (CONTROL, used[0], "ms"),
        (RELAY, sum(used[1:]) / len(relays), "ms"),
        (RECEIVED, (below.received_bytes - received) / rounds / 1e3, "kB"),
    ):
        context.results.figures.append(Figure(shape.name, control.name, what, value, unit))


@contextmanager
def _relays(context: Context, count: int, control: Server) -> Iterator[list[Server]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=context.folder)))
        yield [
            stack.enter_context(
                running_relay(f"relay{number}", control.address, context.cores, folder)
            )
            for number in range(count)
        ]
