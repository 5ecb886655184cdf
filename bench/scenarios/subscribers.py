"""From publish to the delta on every subscriber."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from bench.failures import WrongAnswer
from bench.histogram import Latencies
from bench.http2 import StreamingConnection, UnaryConnection, message
from bench.links import Socket, wait
from bench.machine import pinned
from bench.measure import Context
from bench.records import Times
from bench.scenarios.publishing import PUBLISH, publishes
from bench.scenarios.running import nodes_with_policies
from bench.servers import Variant
from bench.workloads import TENANT
from placet.v1 import policy_service_pb2
from placet.v1 import subscribe_service_pb2 as pb

_SUBSCRIBE = "/placet.v1.SubscribeService/Subscribe"
COUNTS = (1, 100, 1_000)
NODES = 3
QUICK_COUNTS = (1, 100)
EACH, LAST = "publish to each subscriber", "publish to the last subscriber"
_SIZE = 100
_A_CONNECTION = 125
_PUBLISHES, _QUICK_PUBLISHES, _WARM_UP_PUBLISHES = 40, 15, 3
_TIMEOUT_S = 20.0
_NS = 1_000_000_000


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
            _crowd([server.address for server in servers], count) as crowd,
        ):
            crowd.wait_for_all(0)
            each, last = _publish_and_wait(context, crowd)
        add = context.results.times.append
        add(Times(name, servers[0].name, EACH, Latencies(each)))
        add(Times(name, servers[0].name, LAST, Latencies(last)))


def _publish_and_wait(context: Context, crowd: _Crowd) -> tuple[list[int], list[int]]:
    each: list[int] = []
    last: list[int] = []
    rounds = _QUICK_PUBLISHES if context.quick else _PUBLISHES
    for number in range(rounds + _WARM_UP_PUBLISHES):
        start = time.perf_counter_ns()
        revision = crowd.publish()
        arrivals = crowd.wait_for_all(revision)
        if number >= _WARM_UP_PUBLISHES:
            each += (max(at - start, 0) for at in arrivals)
            last.append(max(arrivals) - start)
    return each, last


@contextmanager
def _crowd(addresses: Sequence[str], count: int) -> Iterator[_Crowd]:
    crowd = _Crowd(addresses, max(count, len(addresses)))
    try:
        yield crowd
    finally:
        crowd.close()


class _Crowd:
    """As many subscribers of each address, and one more connection to publish on to the first."""

    def __init__(self, addresses: Sequence[str], count: int) -> None:
        self._count = count
        self._now = 0
        self._publishes = publishes(TENANT)
        self._latest: dict[tuple[int, int], tuple[int, int]] = {}
        self._writer = UnaryConnection(PUBLISH, addresses[0], sample_every=1)
        self._writer_socket = _socket(addresses[0])
        self._readers: list[tuple[Socket, StreamingConnection]] = []
        for place, address in enumerate(addresses):
            self._subscribe(address, len(range(place, count, len(addresses))))

    def _subscribe(self, address: str, count: int) -> None:
        request = message(pb.SubscribeRequest(tenant=TENANT).SerializeToString())
        while count > 0:
            index = len(self._readers)
            reader = StreamingConnection(
                _SUBSCRIBE,
                address,
                lambda stream, event, index=index: self._note(index, stream, event),  # type: ignore[misc]
            )
            for _ in range(min(count, _A_CONNECTION)):
                reader.open(request, end=True)
            self._readers.append((_socket(address), reader))
            count -= _A_CONNECTION

    def _note(self, index: int, stream: int, event: bytes) -> None:
        response = pb.SubscribeResponse.FromString(event)
        kind = response.WhichOneof("event")
        if kind == "delta":
            self._latest[index, stream] = (response.delta.to_revision, self._now)
        elif kind == "snapshot_end":
            self._latest[index, stream] = (0, self._now)
        elif kind in ("reset_required", "go_away"):
            raise WrongAnswer(f"a subscriber was sent away: {kind}")

    def publish(self) -> int:
        """Publish a change; return its revision as soon as it is known."""
        self._writer.call(self._publishes(), 0)
        deadline = time.monotonic() + _TIMEOUT_S
        while not self._writer.done:
            self._turn(deadline)
        ((_, status, body),) = self._writer.done
        self._writer.done.clear()
        if status != 0 or body is None:
            raise WrongAnswer(f"a publish failed with gRPC status {status}")
        return policy_service_pb2.PublishResponse.FromString(body[5:]).revision

    def wait_for_all(self, revision: int) -> list[int]:
        """Wait until every subscriber has a revision; return when each got it."""
        deadline = time.monotonic() + _TIMEOUT_S
        while True:
            arrivals = [at for known, at in self._latest.values() if known >= revision]
            if len(arrivals) == self._count:
                return arrivals
            self._turn(deadline)

    def _turn(self, deadline: float) -> None:
        """Send, wait, read."""
        if time.monotonic() > deadline:
            raise WrongAnswer(
                f"{len(self._latest)} of {self._count} subscribers were reached "
                f"within {_TIMEOUT_S:.0f} s"
            )
        everything = [(self._writer_socket, self._writer), *self._readers]
        for sock, connection in everything:
            if connection.out or sock.stuck:
                sock.send(connection.out)
        ready, _ = wait(
            [sock for sock, _ in everything], [sock for sock, _ in everything if sock.stuck], 1.0
        )
        for sock, connection in everything:
            if sock in ready:
                data = sock.receive()
                self._now = time.perf_counter_ns()
                if data == b"":
                    raise WrongAnswer("the server closed a subscriber's connection")
                connection.feed(data or b"")

    def close(self) -> None:
        """Close every connection."""
        self._writer_socket.close()
        for sock, _ in self._readers:
            sock.close()


def _socket(address: str) -> Socket:
    host, _, port = address.rpartition(":")
    return Socket((host, int(port)))
