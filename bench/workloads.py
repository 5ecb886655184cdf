"""Placet's side of the scenarios: policy sets of any size, and requests about them.

Every policy that can matter reads `context.serial`, and requests that are to be new carry a
serial nobody used: a cache that looks only at what policies read cannot know them either.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import placet
from bench.http2 import message
from bench.load import Bodies
from placet.v1 import evaluate_service_pb2 as pb

EVALUATE = "/placet.v1.EvaluateService/Evaluate"
EVALUATE_BATCH = "/placet.v1.EvaluateService/EvaluateBatch"
EVALUATE_STREAM = "/placet.v1.EvaluateService/EvaluateStream"

TENANT = "bench"
GENERAL = 4
"""Policies without a scope, in a set of any size: a few rules hold for everybody."""
_SERIAL_DIGITS = 10
_PLACEHOLDER = "0" * _SERIAL_DIGITS
_SPREAD = 100
"""So many subjects, and so many resources, requests are about."""
_HOT = 50
_PUBLISH_ITEMS = 10_000
"""At most in one change set."""
_PUBLISH_TIMEOUT_S = 120.0
_SETTLING_CONNECTIONS = 8


def policies(size: int) -> Iterator[placet.Policy]:
    """Yield a set: few rules for all, the others about one subject or one resource each."""
    yield placet.Policy(
        id="general/archived",
        cedar="forbid(principal, action, resource) "
        'when { context.serial != "" && context.archived };',
    )
    for number in range(1, GENERAL):
        yield placet.Policy(
            id=f"general/{number}",
            cedar=f'permit(principal, action == Action::"general{number}", resource) '
            'when { context.serial != "" };',
        )
    for number in range(size - GENERAL):
        scope = (
            f'principal == User::"u{number // 2}", action == Action::"view", resource'
            if number % 2 == 0
            else f'principal, action == Action::"edit", resource == Document::"d{number // 2}"'
        )
        yield placet.Policy(
            id=f"own/{number}",
            cedar=f'permit({scope}) when {{ context.serial != "" && context.level > 3 }};',
        )


def publish(address: str, tenant: str, items: Sequence[placet.Policy]) -> int:
    """Publish policies the way users do, in parts where there are many; return the revision.

    Raises:
        placet.PlacetError: the server refuses them, or all of it takes more than two minutes.
    """
    deadline = time.monotonic() + _PUBLISH_TIMEOUT_S
    revision = 0
    with placet.Client(address, tenant=tenant) as client:
        for start in range(0, len(items), _PUBLISH_ITEMS):
            revision = client.publish(
                placet.ChangeSet(policies=items[start : start + _PUBLISH_ITEMS]),
                timeout_s=max(deadline - time.monotonic(), 0.001),
            ).revision
    return revision


def wait_everywhere(address: str, tenant: str, revision: int) -> None:
    """Wait until every process that takes connections decides by a revision.

    Which one takes a connection cannot be chosen, so several are made.

    Raises:
        placet.PlacetError: one of them does not get there.
    """
    for _ in range(_SETTLING_CONNECTIONS):
        with placet.Client(
            address, tenant=tenant, options=[("grpc.use_local_subchannel_pool", 1)]
        ) as client:
            client.evaluate(
                *(("User", "nobody"), "view", ("Document", "none")),
                min_revision=revision,
                timeout_s=_PUBLISH_TIMEOUT_S,
            )


@dataclass(frozen=True, slots=True)
class Ask:
    """What a request is about, but for its serial."""

    subject: str
    action: str
    resource: str


def asks(size: int) -> list[Ask]:
    """Return what requests ask of a set of this size: half about subjects, half about resources.

    One in five is about somebody or something that no policy names.
    """
    own = max(size - GENERAL, 2)
    made = []
    for number in range(_SPREAD):
        known = number % 5 != 0
        # Spread over the whole set, however large.
        name = str(number * own // (2 * _SPREAD)) if known else f"-unknown-{number}"
        if number % 2 == 0:
            made.append(Ask(f"u{name}", "view", f"d{number}"))
        else:
            made.append(Ask(f"u{number}", "edit", f"d{name}"))
    return made


def request(ask: Ask, serial: str, *, tenant: str = TENANT) -> pb.EvaluateRequest:
    """Return a request as a message."""
    made = pb.EvaluateRequest(
        tenant=tenant,
        subject=pb.Subject(type="User", id=ask.subject),
        action=pb.Action(name=ask.action),
        resource=pb.Resource(type="Document", id=ask.resource),
    )
    made.context["serial"].string_value = serial
    made.context["level"].int_value = 5
    made.context["archived"].bool_value = False
    return made


class Serials:
    """Numbers that no request of this run has had."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)

    def next(self) -> int:
        """Return one more."""
        return next(self._numbers)


def hot(size: int) -> Bodies:
    """Ask the same few things over and over."""
    bodies = [message(request(ask, _PLACEHOLDER).SerializeToString()) for ask in asks(size)[:_HOT]]
    return itertools.cycle(bodies).__next__


def cold(size: int, serials: Serials, *, tenants: Sequence[str] = (TENANT,)) -> Bodies:
    """Ask something new each time."""
    templates = itertools.cycle(
        [
            _split(message(request(ask, _PLACEHOLDER, tenant=tenant).SerializeToString()))
            for ask in asks(size)
            for tenant in tenants
        ]
    )

    def body() -> bytes:
        head, tail = next(templates)
        return b"%b%010d%b" % (head, serials.next(), tail)

    return body


def mixed(size: int, serials: Serials, *, hits_in_20: int = 17) -> Bodies:
    """Ask something old so many times out of twenty, evenly mixed, and something new else."""
    old, new = hot(size), cold(size, serials)
    pattern = itertools.cycle(
        [(number * hits_in_20) % 20 < hits_in_20 for number in range(20)]
    ).__next__
    return lambda: old() if pattern() else new()


def batch_warm(items: int, size: int) -> Bodies:
    """Ask the same batch over and over."""
    body = message(_batch_head(size) + b"".join(_items(items, size)))
    return itertools.repeat(body).__next__


def batch_cold(items: int, size: int, serials: Serials) -> Bodies:
    """Ask a batch of new things each time."""
    head = _batch_head(size)
    templates = [_split(item) for item in _items(items, size)]

    def body() -> bytes:
        parts = [head]
        for before, after in templates:
            parts.append(b"%b%010d%b" % (before, serials.next(), after))
        return message(b"".join(parts))

    return body


def _batch_head(size: int) -> bytes:
    """Return a batch without items: who asks, and what is the same for all items."""
    subject = asks(size)[2]
    made = pb.EvaluateBatchRequest(
        tenant=TENANT,
        subject=pb.Subject(type="User", id=subject.subject),
        action=pb.Action(name=subject.action),
    )
    made.context["level"].int_value = 5
    made.context["archived"].bool_value = False
    return made.SerializeToString()


def _items(items: int, size: int) -> Iterator[bytes]:
    """Yield items as they stand in a batch: tag, length and all."""
    for number in range(items):
        item = pb.BatchItem(resource=pb.Resource(type="Document", id=f"d{number}"))
        item.context["serial"].string_value = _PLACEHOLDER
        yield pb.EvaluateBatchRequest(items=[item]).SerializeToString()


def _split(written: bytes) -> tuple[bytes, bytes]:
    """Return what stands before and after the serial."""
    head, found, tail = written.partition(_PLACEHOLDER.encode("ascii"))
    assert found
    return head, tail
