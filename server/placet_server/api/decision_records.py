"""Tells metrics, traces and the decision log about decisions, and puts requests into JSON for it.

``recorded_requests.py`` makes requests of that again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import asdict
from typing import TypeAlias

from placet.v1 import evaluate_service_pb2
from placet.wire import Reader, whole_item
from placet_engine.model import Entity, Undecidable
from placet_server.decisions.decider import Decided
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.telemetry.decision_log.log import DecisionLog
from placet_server.telemetry.decision_log.masking import Masker
from placet_server.telemetry.decision_log.records import AskedRequest, Document
from placet_server.telemetry.decisions import DecisionTelemetry

AskedBytes: TypeAlias = bytes | tuple[bytes, bytes]
"""A request as it came; of a batch, what all items share and what the item adds."""


class DecisionReporter:
    """Reports decisions to whoever wants to know. One call a decision, on the event loop."""

    def __init__(
        self,
        telemetry: DecisionTelemetry | None = None,
        log: DecisionLog | None = None,
        shadow: ShadowMeter | None = None,
    ) -> None:
        self._telemetry = telemetry
        self._log = log
        self._shadow = shadow

    async def room_for(self, decisions: int = 1) -> None:
        """Wait until decisions may be made; at once unless none may go unrecorded.

        Raises:
            DecisionLogFull: there was no room in the decision log in time.
        """
        if self._log is not None:
            await self._log.room_for(decisions)

    @property
    def has_room(self) -> bool:
        """Whether a decision may be made at once."""
        return self._log is None or self._log.has_room_at_once

    def has_room_for(self, decisions: int) -> bool:
        """Whether so many decisions may be made at once."""
        return self._log is None or self._log.has_room_for(decisions)

    def decided(
        self,
        tenant: str,
        request: AskedBytes,
        decided: Decided,
        *,
        decision_id: str,
        duration_s: float,
    ) -> None:
        """Report a decision."""
        verdict = decided.verdict
        if self._shadow is not None and tenant in self._shadow.watched:
            self._shadow.offer(tenant, (request,))
        if self._telemetry is not None:
            self._telemetry.record(
                tenant, verdict.outcome, verdict.cause, decided.cached, duration_s
            )
            self._telemetry.describe(tenant, verdict.outcome, decided.revision, decided.cached)
        if self._log is not None:
            self._log.offer(
                tenant,
                request,
                verdict,
                decision_id=decision_id,
                revision=decided.revision,
                variant=decided.variant,
                cached=decided.cached,
                duration_s=duration_s,
                size_bytes=_size(request),
            )

    def decided_together(
        self,
        tenant: str,
        requests: Sequence[AskedBytes],
        results: Sequence[Decided | Undecidable],
        *,
        decision_ids: Sequence[str],
        duration_s: float,
    ) -> None:
        """Report the decisions of a batch at once, which is much cheaper than one by one.

        ``duration_s`` is what they took together.
        """
        each_s = duration_s / len(results)
        if self._shadow is not None and tenant in self._shadow.watched:
            self._shadow.offer(tenant, requests[: len(results)])
        if self._telemetry is not None:
            for result, count in Counter(results).items():
                if isinstance(result, Undecidable):
                    self.failed(result.reason)
                    continue
                verdict = result.verdict
                self._telemetry.record(
                    tenant, verdict.outcome, verdict.cause, result.cached, each_s, count
                )
                if len(results) == 1:
                    # Then it is what the call that is under way asked for.
                    self._telemetry.describe(
                        tenant, verdict.outcome, result.revision, result.cached
                    )
        if self._log is None:
            return
        for request, result, decision_id in zip(requests, results, decision_ids, strict=True):
            if isinstance(result, Decided):
                self._log.offer(
                    tenant,
                    request,
                    result.verdict,
                    decision_id=decision_id,
                    revision=result.revision,
                    variant=result.variant,
                    cached=result.cached,
                    duration_s=each_s,
                    size_bytes=_size(request),
                )

    def failed(self, reason: str) -> None:
        """Report a request that could not be decided, by the stable reason of its error."""
        if self._telemetry is not None:
            self._telemetry.error(reason)


def _size(request: AskedBytes) -> int:
    if isinstance(request, bytes):
        return len(request)
    shared, item = request
    return len(shared) + len(item)


def message_of(request: object) -> evaluate_service_pb2.EvaluateRequest:
    """Return the request that was reported as :data:`AskedBytes`."""
    if isinstance(request, tuple):
        request = whole_item(*request)
    elif isinstance(request, bytes):
        request = evaluate_service_pb2.EvaluateRequest.FromString(request)
    assert isinstance(request, evaluate_service_pb2.EvaluateRequest)
    return request


def masked_reader(masker: Masker) -> Callable[[object], Document]:
    """Return what reads :data:`AskedBytes` as JSON that may be shown."""

    def read(request: object) -> Document:
        document = {**asdict(read_asked(request)), "errors": []}
        masker.mask(document)
        del document["errors"]
        return document

    return read


def read_asked(request: object) -> AskedRequest:
    """Return the JSON form of a request, out of what was reported as :data:`AskedBytes`."""
    request = message_of(request)
    reader = Reader()
    asked = AskedRequest(
        subject={
            "type": request.subject.type,
            "id": request.subject.id,
            "properties": reader.attributes(request.subject.properties, "subject.properties"),
        },
        action={
            "type": request.action.type or "Action",
            "name": request.action.name,
            "properties": reader.attributes(request.action.properties, "action.properties"),
        },
        resource={
            "type": request.resource.type,
            "id": request.resource.id,
            "properties": reader.attributes(request.resource.properties, "resource.properties"),
        },
        context=reader.attributes(request.context, "context"),
        entities=[_entity(entity) for entity in reader.entities(request.entities, "entities")],
    )
    reader.finish()
    return asked


def _entity(entity: Entity) -> Document:
    return {
        "uid": entity.uid.to_json(),
        "attributes": dict(entity.attributes),
        "parents": [parent.to_json() for parent in entity.parents],
        "tags": dict(entity.tags),
    }
