"""Subscribers by the thousand, in one process: when does a change reach each of them?"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from bench.failures import WrongAnswer
from bench.http2 import StreamingConnection, UnaryConnection, message
from bench.links import Socket, wait
from bench.scenarios.publishing import PUBLISH, publishes
from bench.workloads import TENANT
from placet.v1 import policy_service_pb2
from placet.v1 import subscribe_service_pb2 as pb

_SUBSCRIBE = "/placet.v1.SubscribeService/Subscribe"
_A_CONNECTION = 125
_TIMEOUT_S = 60.0
_WARM_UP_PUBLISHES = 3


@dataclass(frozen=True, slots=True)
class Group:
    """Subscribers that are alike."""

    address: str
    """Of the node they follow."""
    tenant: str
    """What they follow; empty for everything, as nodes do."""
    count: int


def publish_and_wait(
    crowd: Crowd, *, rounds: int, warm_up: int = _WARM_UP_PUBLISHES
) -> tuple[list[int], list[int]]:
    """Publish so many times, each when all have the last.

    Returns:
        Nanoseconds from the publish to each subscriber, and to the last of them.
    """
    each: list[int] = []
    last: list[int] = []
    for number in range(warm_up + rounds):
        start = time.perf_counter_ns()
        revision = crowd.publish()
        arrivals = crowd.wait_for_all(revision)
        if number >= warm_up:
            each += (max(at - start, 0) for at in arrivals)
            last.append(max(arrivals) - start)
    return each, last


@contextmanager
def crowd_of(addresses: Sequence[str], count: int) -> Iterator[Crowd]:
    """Have followers of one tenant, spread over nodes; the first is published on."""
    count = max(count, len(addresses))
    groups = [
        Group(address, TENANT, len(range(place, count, len(addresses))))
        for place, address in enumerate(addresses)
    ]
    with crowd(addresses[0], groups) as gathered:
        yield gathered


@contextmanager
def crowd(writer: str, groups: Sequence[Group]) -> Iterator[Crowd]:
    """Have groups of subscribers, and a node to publish on."""
    gathered = Crowd(writer, groups)
    try:
        yield gathered
    finally:
        gathered.close()


class Crowd:
    """Subscribers by groups, and one more connection to publish on."""

    def __init__(self, writer: str, groups: Sequence[Group]) -> None:
        self._count = sum(group.count for group in groups)
        self._now = 0
        self._publishes = publishes(TENANT)
        self._latest: dict[tuple[int, int], tuple[int, int]] = {}
        self._wanted = 0
        self._behind: set[tuple[int, int]] = set()
        self._writer = UnaryConnection(PUBLISH, writer, sample_every=1)
        self._writer_socket = _socket(writer)
        self.received_bytes = 0
        """What came over all connections."""
        self._readers: list[tuple[Socket, StreamingConnection]] = []
        for group in groups:
            self._subscribe(group)

    def _subscribe(self, group: Group) -> None:
        address, count = group.address, group.count
        request = message(pb.SubscribeRequest(tenant=group.tenant).SerializeToString())
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
            if response.delta.to_revision >= self._wanted:
                self._behind.discard((index, stream))
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
        self._wanted = revision
        self._behind = {one for one, (known, _) in self._latest.items() if known < revision}
        while self._behind or len(self._latest) < self._count:
            self._turn(deadline)
        return [at for _, at in self._latest.values()]

    def _turn(self, deadline: float) -> None:
        """Send, wait, read."""
        if time.monotonic() > deadline:
            reached = len(self._latest) - len(self._behind)
            raise WrongAnswer(
                f"{reached} of {self._count} subscribers were reached within {_TIMEOUT_S:.0f} s"
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
                self.received_bytes += len(data or b"")
                connection.feed(data or b"")

    def close(self) -> None:
        """Close every connection."""
        self._writer_socket.close()
        for sock, _ in self._readers:
            sock.close()


def _socket(address: str) -> Socket:
    host, _, port = address.rpartition(":")
    return Socket((host, int(port)))
