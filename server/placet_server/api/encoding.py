"""Writes decisions as bytes, out of parts that are made once and parts that are made each time.

Two messages of protobuf written one after the other are one message with the fields of both. So
what is the same in every decision of one kind is encoded once and kept, and what differs (the id,
the age of what it rests on) is put behind it. Making a whole message each time costs much more.
"""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable, Iterator

from placet.v1 import decision_pb2, evaluate_service_pb2
from placet.wire import duration, verdict_to_wire
from placet_engine.editions import Variant
from placet_engine.items import Revision
from placet_engine.model import Verdict
from placet_server.decisions.decider import Decided


def lasting_part(*, node: str, region: str) -> Callable[[Verdict, Revision, Variant], bytes]:
    """Return what encodes the part of a decision that lasts, except whether it was cached."""

    def encode(verdict: Verdict, revision: Revision, variant: Variant) -> bytes:
        message = verdict_to_wire(verdict)
        message.revision = revision
        message.rollout_variant = variant
        message.region = region
        message.node = node
        return message.SerializeToString()

    return encode


def decision_ids() -> Iterator[str]:
    """Yield ids that no other process or run yields: random once, then counted."""
    origin = os.urandom(9).hex()
    return (f"{origin}-{number:x}" for number in itertools.count(1))


class Stamp:
    """Puts to answers what differs from one time to the next. For one call."""

    __slots__ = ("_age",)

    def __init__(self, staleness_s: float) -> None:
        self._age = decision_pb2.Decision(staleness=duration(staleness_s)).SerializeToString()

    def decision(self, decided: Decided, decision_id: str) -> bytes:
        """Return a whole ``Decision``."""
        return b"".join((decided.lasting, self._age, delimited(_ID, decision_id.encode())))

    def response(self, decided: Decided, decision_id: str) -> bytes:
        """Return a whole ``EvaluateResponse``."""
        return delimited(_RESPONSE_DECISION, self.decision(decided, decision_id))

    def stream_decision(self, decided: Decided, decision_id: str) -> bytes:
        """Return the decision as a field of an ``EvaluateStreamResponse``."""
        return delimited(_STREAM_DECISION, self.decision(decided, decision_id))

    def batch_result(self, decided: Decided, decision_id: str) -> bytes:
        """Return a whole ``BatchResult``, as a field of an ``EvaluateBatchResponse``."""
        decision = self.decision(decided, decision_id)
        return delimited(_RESULTS, delimited(_RESULT_DECISION, decision))


def delimited(tag: bytes, content: bytes) -> bytes:
    """Return a field that holds text, bytes or a message.

    See "Base 128 Varints" and "Length-Delimited Records" of the protobuf encoding.
    """
    size = len(content)
    if size < 0x80:
        return b"%b%c%b" % (tag, size, content)
    length = bytearray()
    while size >= 0x80:
        length.append(size & 0x7F | 0x80)
        size >>= 7
    length.append(size)
    return b"".join((tag, length, content))


def batch_error(error: decision_pb2.DecisionError) -> bytes:
    """Return an error in the place of a decision, as a field of an ``EvaluateBatchResponse``."""
    result = evaluate_service_pb2.BatchResult(error=error)
    return delimited(_RESULTS, result.SerializeToString())


def _tag(number: int) -> bytes:
    """Return what a length-delimited field begins with, for numbers up to 15."""
    return bytes((number << 3 | 2,))


_ID = _tag(decision_pb2.Decision.DECISION_ID_FIELD_NUMBER)
_RESPONSE_DECISION = _tag(evaluate_service_pb2.EvaluateResponse.DECISION_FIELD_NUMBER)
_RESULTS = _tag(evaluate_service_pb2.EvaluateBatchResponse.RESULTS_FIELD_NUMBER)
_RESULT_DECISION = _tag(evaluate_service_pb2.BatchResult.DECISION_FIELD_NUMBER)
_STREAM_DECISION = _tag(evaluate_service_pb2.EvaluateStreamResponse.DECISION_FIELD_NUMBER)

CACHED: bytes = decision_pb2.Decision(cached=True).SerializeToString()
"""What says in a decision that it came from the cache."""
