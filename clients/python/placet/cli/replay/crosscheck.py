"""Asks a server about some of the requests that were decided here, to see that it says the same."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import TypeAlias

from placet import Action, ChangeSet, Client, Request, Resource, Subject
from placet import _convert as convert
from placet.cli.failures import Failure
from placet.cli.replay.answers import Answer, answer_of
from placet.cli.replay.impact import Example, Impact
from placet.v1 import evaluate_service_pb2
from placet_engine.model import Cause
from placet_server.api.recorded_requests import request_of

_MAX_EXAMPLES = 2000
# Beside the candidate, which may nearly fill a message by itself.
_MAX_CALL_BYTES, _MAX_CALL_REQUESTS = 64 * 1024, 100

_Asked: TypeAlias = tuple[Example, Request]


def crosscheck(client: Client, change_set: ChangeSet | None, impact: Impact) -> int:
    """Ask a server about the examples and a sample; return how many requests that were.

    Args:
        client: asks, as a tenant.
        change_set: the candidate; None when it is the platform's, which a server tries on no
            tenant. Then it is asked about the answers of today only.
        impact: what was found here.

    Raises:
        Failure: it answers otherwise.
        PlacetError: it does not answer.
    """
    count = 0
    for chunk in _chunks(islice(_examples(impact), _MAX_EXAMPLES)):
        requests = [request for _, request in chunk]
        _compare(client, None, requests, [example.before for example, _ in chunk])
        if change_set is not None:
            _compare(client, change_set, requests, [example.after for example, _ in chunk])
        count += len(chunk)
    return count


def _examples(impact: Impact) -> Iterator[Example]:
    rows = (row for group in impact.groups.values() for row in group.rows.values())
    # One may be an example for several policies.
    examples = {id(one): one for row in rows for one in row.heaviest()}
    for example in (*examples.values(), *impact.sample):
        # The permit that came along cannot be sent again.
        if example.record.cause != Cause.APPROVED.name:
            yield example


def _chunks(examples: Iterable[Example]) -> Iterator[list[_Asked]]:
    chunk: list[_Asked] = []
    chunk_bytes = 0
    for example in examples:
        message = request_of(example.record)
        size = message.ByteSize()
        is_full = chunk_bytes + size > _MAX_CALL_BYTES or len(chunk) >= _MAX_CALL_REQUESTS
        if chunk and is_full:
            yield chunk
            chunk, chunk_bytes = [], 0
        chunk.append((example, _to_sdk(message)))
        chunk_bytes += size
    if chunk:
        yield chunk


def _compare(
    client: Client, change_set: ChangeSet | None, requests: list[Request], here: list[Answer]
) -> None:
    there = [answer_of(one) for one in client.test(requests, change_set).results]
    differing = sum(one != other for one, other in zip(here, there, strict=True))
    if differing:
        raise Failure(
            f"the server answers {differing} of {len(requests)} requests otherwise than this "
            "release does with the server's policies; if nobody published meanwhile, use the "
            "release that the server runs"
        )


def _to_sdk(message: evaluate_service_pb2.EvaluateRequest) -> Request:
    subject, action, resource = message.subject, message.action, message.resource
    properties = convert.attributes
    return Request(
        subject=Subject(subject.type, subject.id, properties(subject.properties)),
        action=Action(action.name, action.type, properties(action.properties)),
        resource=Resource(resource.type, resource.id, properties(resource.properties)),
        context=convert.attributes(message.context),
        entities=[convert.entity(entity) for entity in message.entities],
    )
