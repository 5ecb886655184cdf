"""What all evaluating does with an ``EvaluateRequest``: by its bytes, and by what it says.

Requests are known again by their bytes, so that those that come twice need not be read. It is the
same whichever call they came in.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

from placet.v1 import evaluate_service_pb2
from placet.wire import Reader, read_natively, read_request
from placet_engine.model import Request, Undecidable
from placet_engine.native import Unread
from placet_server.api.decision_records import AskedBytes, DecisionReporter, message_of
from placet_server.api.messages import ONE_REQUEST_BYTES, read_message
from placet_server.decisions.decider import Decided, PinnedDecider

_SHORTEST = 3
_TENANT_TAG = evaluate_service_pb2.EvaluateRequest.TENANT_FIELD_NUMBER << 3 | 2


def leading_tenant(data: bytes) -> str:
    """Return the tenant an ``EvaluateRequest`` begins with, unread; empty if it does not.

    Everybody writes fields in order of their numbers, and the tenant is the first. Bytes of
    another order are good as well; they only have to be read each time.
    """
    if len(data) < _SHORTEST or data[0] != _TENANT_TAG:
        return ""
    return data[2 : 2 + data[1]].decode("ascii", "replace")


def read_asked(message: evaluate_service_pb2.EvaluateRequest) -> Request:
    """Return what a message asks.

    Raises:
        Malformed: it is not a request.
    """
    reader = Reader()
    reader.tenant(message.tenant)
    request = read_request(message, reader)
    reader.finish()
    return request


def read_reported(request: object) -> Request:
    """Return what was asked, out of what was reported as ``AskedBytes``.

    Whose policies decided was reported beside it: the items of a batch do not say.

    Raises:
        Malformed: it is not a request.
    """
    reader = Reader()
    read = read_request(message_of(request), reader)
    reader.finish()
    return read


class Opened(NamedTuple):
    """A request whose tenant is known."""

    tenant: str
    min_revision: int
    request: Callable[[], Request | Unread]
    """Returns what is asked, or raises Malformed."""


def open_request(data: bytes) -> Opened:
    """Read an ``EvaluateRequest``, natively where that can be.

    Raises:
        MessageTooLarge, BadMessage: it cannot be read.
    """
    read = read_natively(data)
    if read is not None:
        return Opened(read.tenant, read.min_revision, lambda: read.request)
    return opened(read_message(evaluate_service_pb2.EvaluateRequest, data, ONE_REQUEST_BYTES))


def opened(message: evaluate_service_pb2.EvaluateRequest) -> Opened:
    """Return what there is to a message, which Python reads."""
    return Opened(message.tenant, message.min_revision, lambda: read_asked(message))


class Group:
    """Requests of one tenant that are decided together."""

    def __init__(self, pinned: PinnedDecider) -> None:
        self.pinned = pinned
        self._places: list[int] = []
        self._data: list[bytes] = []
        self._requests: list[Request | Unread] = []
        self._keys: list[bytes | None] = []

    def add(self, place: int, data: bytes, request: Request | Unread, tenant: str) -> None:
        """Add a request, with its place among all that are asked."""
        self._places.append(place)
        self._data.append(data)
        self._requests.append(request)
        # Bytes that are written in no usual way will not be looked for.
        self._keys.append(data if leading_tenant(data) == tenant else None)

    def decided(
        self, ids: Iterator[str], reporter: DecisionReporter
    ) -> Iterator[tuple[int, Decided | Undecidable, str]]:
        """Decide all, report it, and yield for each its place, the result and its id."""
        started_s = perf_counter()
        results = self.pinned.decide(self._requests, self._keys)
        decision_ids = reported(self.pinned, self._data, results, ids, reporter, started_s)
        yield from zip(self._places, results, decision_ids, strict=True)


def reported(
    pinned: PinnedDecider,
    data: Sequence[AskedBytes],
    results: Sequence[Decided | Undecidable],
    ids: Iterator[str],
    reporter: DecisionReporter,
    started_s: float,
) -> list[str]:
    """Report decisions of one tenant together; return their ids."""
    decision_ids = [next(ids) for _ in results]
    reporter.decided_together(
        pinned.tenant,
        data,
        results,
        decision_ids=decision_ids,
        duration_s=perf_counter() - started_s,
    )
    return decision_ids
