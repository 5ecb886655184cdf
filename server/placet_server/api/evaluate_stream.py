"""Messages of a stream that came together are answered together, mostly without being read.

An ``EvaluateStreamRequest`` is a correlation id and a request. What repeats is the request; its
bytes are cut out and looked up as those of any other call are. Of what was not asked before,
everything is decided at once.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from time import perf_counter
from typing import NamedTuple

from placet.v1 import evaluate_service_pb2
from placet.wire import Malformed, Reader
from placet_engine.model import Undecidable
from placet_server.admission.control import AdmissionControl
from placet_server.api.decision_records import DecisionReporter
from placet_server.api.encoding import Stamp
from placet_server.api.failures import to_decision_error
from placet_server.api.messages import ONE_REQUEST_BYTES, check_size, read_message
from placet_server.api.requests import (
    Group,
    Opened,
    leading_tenant,
    open_request,
    opened,
    reported,
)
from placet_server.decisions.decider import Decided, Decider, PinnedDecider
from placet_server.errors import Overloaded, PlacetError, TenantLimited, Undecided
from placet_server.identity.callers import Caller
from placet_server.policies.active import ActivePolicies

_MAX_CORRELATION_BYTES = 256
# Who was refused something is not read again for its delay, up to this long.
_LONGEST_HOLD_S = 0.1
# So many decisions take a few milliseconds, and others should get a turn.
_MOST_NEW = 64


class AtOnce(NamedTuple):
    """What messages of a stream came to without waiting."""

    answers: list[bytes]
    """``EvaluateStreamResponse``s to the first of the messages, in order; the rest are to be asked
    again. None at all: the first has to wait, or ends the stream."""
    hold_s: float
    """How long the last answer is to be held back: who asks for too much is kept waiting, and so
    reads and writes less."""


def split(data: bytes) -> tuple[bytes, bytes] | None:
    """Cut an ``EvaluateStreamRequest`` into the field of its correlation id and its request.

    Only what is written as everybody writes it, and asks for no look at the text: first an id of
    less than 128 ASCII bytes, then the request, and nothing else. None for all else, good or bad;
    it has to be read. See "Message Structure" and "Base 128 Varints" of the protobuf encoding.
    """
    if len(data) < _SHORTEST or data[0] != _ID_TAG:
        return None
    # With the high bit set it is the first part of a longer length. The field is then not ASCII.
    start = data[1] + _HEADER_BYTES
    head = data[:start]
    if len(data) < start + _HEADER_BYTES or data[start] != _REQUEST_TAG or not head.isascii():
        return None
    at = start + 1
    size = shift = 0
    while True:
        if at == len(data) or shift > _LONGEST_SHIFT:
            return None
        byte = data[at]
        at += 1
        size |= (byte & 0x7F) << shift
        if byte < 0x80:
            break
        shift += 7
    return (head, data[at:]) if len(data) - at == size else None


_ID_TAG = evaluate_service_pb2.EvaluateStreamRequest.CORRELATION_ID_FIELD_NUMBER << 3 | 2
_REQUEST_TAG = evaluate_service_pb2.EvaluateStreamRequest.REQUEST_FIELD_NUMBER << 3 | 2
_HEADER_BYTES = 2
_SHORTEST = 4
# Four bytes of length are more than a message may have.
_LONGEST_SHIFT = 21


def check_correlation(correlation_id: str) -> None:
    """Refuse an id that is too long to be sent back.

    Raises:
        Malformed: it is.
    """
    if len(correlation_id.encode()) > _MAX_CORRELATION_BYTES:
        reader = Reader()
        reader.refuse("correlation_id", f"is longer than {_MAX_CORRELATION_BYTES} bytes")
        reader.finish()


def hold_s(refusal: Overloaded | TenantLimited) -> float:
    """Return how long a stream that was refused something waits, in seconds."""
    return min(refusal.retry_after_s, _LONGEST_HOLD_S)


def error_answer(correlation_id: str, error: Exception) -> bytes:
    """Return an ``EvaluateStreamResponse`` that says what is wrong with one message."""
    return evaluate_service_pb2.EvaluateStreamResponse(
        correlation_id=correlation_id, error=to_decision_error(error)
    ).SerializeToString()


class StreamDecider:
    """Answers messages of streams, as many as there are at once."""

    def __init__(
        self,
        *,
        decider: Decider,
        active: ActivePolicies,
        admission: AdmissionControl,
        reporter: DecisionReporter,
        ids: Iterator[str],
    ) -> None:
        self.decider = decider
        self.active = active
        self.admission = admission
        self.reporter = reporter
        self.ids = ids

    def answer(self, several: Sequence[bytes], caller: Caller | None = None) -> AtOnce:
        """Answer messages in order, up to the first that has to wait or cannot be read.

        Those that were not asked before are decided together, a limited number at once.
        """
        if not self.reporter.has_room_for(len(several)):
            return AtOnce([], 0.0)
        return _Run(self, several, caller).answered()


class _Run:
    """The messages of one turn. Nothing waits in it, so that all is decided by one revision."""

    def __init__(
        self, stream: StreamDecider, several: Sequence[bytes], caller: Caller | None
    ) -> None:
        self._stream = stream
        self._several = several
        self._caller = caller
        self._answers = [b""] * len(several)
        self._heads = [b""] * len(several)
        self._recalled: dict[str, _Recalled | None] = {}
        self._groups: dict[str, Group] = {}
        self._new = 0

    def answered(self) -> AtOnce:
        end, held_s = len(self._several), 0.0
        started_s = perf_counter()
        for place, data in enumerate(self._several):
            parts = split(data)
            try:
                if parts is not None and self._recall(place, *parts):
                    continue
                if self._new == _MOST_NEW or not self._add(place, data, parts):
                    end = place
                    break
            except (Overloaded, TenantLimited) as error:
                end, held_s = place + 1, hold_s(error)
                self._refuse(place, error)
                break
        stream = self._stream
        for recalled in self._recalled.values():
            if recalled is not None and recalled.places:
                self._write(recalled.pinned, recalled.reported(stream, started_s))
        for group in self._groups.values():
            self._write(group.pinned, group.decided(stream.ids, stream.reporter))
        return AtOnce(self._answers[:end], held_s)

    def _recall(self, place: int, head: bytes, request: bytes) -> bool:
        """Look up what came before, unread; return whether it was known."""
        tenant = leading_tenant(request)
        try:
            recalled = self._recalled[tenant]
        except KeyError:
            recalled = self._recalled[tenant] = self._pinned(tenant)
        if recalled is None:
            return False
        decided = recalled.pinned.recall(request)
        if decided is None:
            return False
        self._heads[place] = head
        self._stream.admission.admit(tenant, in_stream=True)
        recalled.places.append(place)
        recalled.data.append(request)
        recalled.results.append(decided)
        return True

    def _pinned(self, tenant: str) -> _Recalled | None:
        if not self._stream.active.has_program(tenant):
            return None
        if self._caller is not None and not self._caller.decides(tenant):
            return None
        try:
            return _Recalled(self._stream.decider.pin(tenant))
        except PlacetError:
            # Each message is told by itself.
            return None

    def _add(self, place: int, data: bytes, parts: tuple[bytes, bytes] | None) -> bool:
        """Read a message, and have it decided with the others; return False if it has to wait."""
        try:
            id_, exact, asked = _opened(data, parts)
        except Exception:  # noqa: BLE001  # it ends the stream, when it is its turn
            return False
        tenant = asked.tenant
        if asked.min_revision > self._stream.active.revision:
            return False
        self._heads[place] = parts[0] if parts else _head(id_)
        try:
            check_correlation(id_)
            if self._caller is not None:
                self._caller.check_decides(tenant)
            if parts is None and self._recall(place, self._heads[place], exact):
                return True
            self._stream.admission.admit(tenant, in_stream=True)
            request = asked.request()
            group = self._groups.get(tenant)
            if group is None:
                group = self._groups[tenant] = Group(self._stream.decider.pin(tenant))
        except (Overloaded, TenantLimited):
            raise
        except (PlacetError, Malformed) as error:
            self._stream.reporter.failed(to_decision_error(error).reason)
            self._refuse(place, error)
        else:
            group.add(place, exact, request, tenant)
            self._new += 1
        return True

    def _refuse(self, place: int, error: Exception) -> None:
        self._answers[place] = self._heads[place] + error_answer("", error)

    def _write(
        self, pinned: PinnedDecider, results: Iterator[tuple[int, Decided | Undecidable, str]]
    ) -> None:
        answers, heads = self._answers, self._heads
        write = Stamp(pinned.staleness_s).stream_decision
        for place, result, decision_id in results:
            if isinstance(result, Undecidable):
                self._refuse(place, Undecided(result))
            else:
                answers[place] = heads[place] + write(result, decision_id)


def _opened(data: bytes, parts: tuple[bytes, bytes] | None) -> tuple[str, bytes, Opened]:
    """Read a message: its correlation id, the bytes of its request, and that.

    The id is left out where it was cut off, being short then.
    """
    if parts is not None:
        check_size(data, ONE_REQUEST_BYTES)
        return "", parts[1], open_request(parts[1])
    message = read_message(evaluate_service_pb2.EvaluateStreamRequest, data, ONE_REQUEST_BYTES)
    exact = message.request.SerializeToString(deterministic=True)
    return message.correlation_id, exact, opened(message.request)


class _Recalled:
    """Requests of one tenant that came before, and the answers to them."""

    def __init__(self, pinned: PinnedDecider) -> None:
        self.pinned = pinned
        self.places: list[int] = []
        self.data: list[bytes] = []
        self.results: list[Decided | Undecidable] = []

    def reported(
        self, stream: StreamDecider, started_s: float
    ) -> Iterator[tuple[int, Decided | Undecidable, str]]:
        decision_ids = reported(
            self.pinned, self.data, self.results, stream.ids, stream.reporter, started_s
        )
        return zip(self.places, self.results, decision_ids, strict=True)


def _head(correlation_id: str) -> bytes:
    response = evaluate_service_pb2.EvaluateStreamResponse(correlation_id=correlation_id)
    return response.SerializeToString()
