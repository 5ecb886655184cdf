"""EvaluateService: requests in, decisions out."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Executor
from dataclasses import dataclass
from time import perf_counter
from typing import Any

import grpc

from placet.v1 import decision_pb2, evaluate_service_pb2, evaluate_service_pb2_grpc
from placet.wire import Malformed, Reader, batch_requests, duration, uid_to_wire, verdict_to_wire
from placet_engine.items import Revision
from placet_engine.model import Outcome, Request, Undecidable
from placet_server.api.deadlines import time_left_s
from placet_server.api.decision_records import DecisionReporter
from placet_server.api.explanations import explanation_to_wire
from placet_server.api.failures import to_decision_error, undecidable_to_decision_error
from placet_server.api.paging import next_page_token, read_page
from placet_server.decisions.decider import Decider, Decision, PinnedDecider
from placet_server.decisions.search import SearchTarget, candidates, hits
from placet_server.errors import PageTokenRefused, PlacetError, Undecided
from placet_server.policies.active import ActivePolicies

_Context = grpc.aio.ServicerContext[Any, Any]

# After this many decisions in a row others get a turn on the event loop.
_DECISIONS_A_TURN = 32
_MAX_CORRELATION_BYTES = 256


@dataclass(frozen=True, slots=True)
class NodeIdentity:
    """Which node answers, for every decision."""

    node: str
    region: str


class EvaluateService(evaluate_service_pb2_grpc.EvaluateServiceServicer):
    """Answers from the node's memory."""

    def __init__(
        self,
        *,
        decider: Decider,
        active: ActivePolicies,
        executor: Executor,
        identity: NodeIdentity,
        reporter: DecisionReporter | None = None,
    ) -> None:
        self._decider = decider
        self._active = active
        self._executor = executor
        self._identity = identity
        self._reporter = reporter or DecisionReporter()

    async def Evaluate(
        self, request: evaluate_service_pb2.EvaluateRequest, context: _Context
    ) -> evaluate_service_pb2.EvaluateResponse:
        """Decide one request."""
        pinned = await self._pinned(request, context)
        decided = self._decide(pinned, request, lambda: _read(request))
        if isinstance(decided, Undecidable):
            raise Undecided(decided)
        return evaluate_service_pb2.EvaluateResponse(decision=self._to_wire(decided))

    async def EvaluateBatch(
        self, request: evaluate_service_pb2.EvaluateBatchRequest, context: _Context
    ) -> evaluate_service_pb2.EvaluateBatchResponse:
        """Decide the items of a batch against one revision."""
        stops = _stopping_rule(request.semantics)
        messages = batch_requests(request)
        reader = Reader()
        reader.tenant(request.tenant)
        read = [
            reader.request(message, f"items[{index}].") for index, message in enumerate(messages)
        ]
        reader.finish()
        pinned = await self._pin(request.tenant, request.min_revision, context, len(messages))
        response = evaluate_service_pb2.EvaluateBatchResponse(revision=pinned.revision)
        for index, (message, item) in enumerate(zip(messages, read, strict=True), 1):
            decided = self._decide(pinned, message, lambda item=item: item)  # type: ignore[misc]
            response.results.append(self._to_result(decided))
            if stops(decided):
                break
            if index % _DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)
        return response

    async def EvaluateStream(
        self,
        request_iterator: AsyncIterator[evaluate_service_pb2.EvaluateStreamRequest],
        context: _Context,
    ) -> AsyncIterator[evaluate_service_pb2.EvaluateStreamResponse]:
        """Decide requests as they come. Reading waits for writing, so that nothing piles up."""
        async for message in request_iterator:
            response = evaluate_service_pb2.EvaluateStreamResponse(
                correlation_id=message.correlation_id
            )
            result = await self._stream_result(message, context)
            if isinstance(result, decision_pb2.Decision):
                response.decision.CopyFrom(result)
            else:
                response.error.CopyFrom(result)
            yield response

    async def _stream_result(
        self, message: evaluate_service_pb2.EvaluateStreamRequest, context: _Context
    ) -> decision_pb2.Decision | decision_pb2.DecisionError:
        try:
            if len(message.correlation_id.encode()) > _MAX_CORRELATION_BYTES:
                reader = Reader()
                reader.refuse("correlation_id", f"is longer than {_MAX_CORRELATION_BYTES} bytes")
                reader.finish()
            pinned = await self._pinned(message.request, context)
            decided = self._decide(pinned, message.request, lambda: _read(message.request))
        except (PlacetError, Malformed) as error:
            refusal = to_decision_error(error)
            self._reporter.failed(refusal.reason)
            return refusal
        if isinstance(decided, Undecidable):
            return undecidable_to_decision_error(decided)
        return self._to_wire(decided)

    async def Explain(
        self, request: evaluate_service_pb2.ExplainRequest, context: _Context
    ) -> evaluate_service_pb2.ExplainResponse:
        """Decide one request and show the work."""
        pinned = await self._pinned(request.request, context)
        platform, own = self._active.platform, self._active.items(request.request.tenant)
        loop = asyncio.get_running_loop()
        explanation = await loop.run_in_executor(
            self._executor, pinned.program.explain, _read(request.request)
        )
        if isinstance(explanation, Undecidable):
            raise Undecided(explanation)
        decision = self._to_wire(pinned.name(explanation.verdict))
        return explanation_to_wire(explanation, decision, platform=platform, own=own)

    async def Search(
        self, request: evaluate_service_pb2.SearchRequest, context: _Context
    ) -> evaluate_service_pb2.SearchResponse:
        """List for what the request would be allowed."""
        reader = Reader()
        page = read_page(request, reader)
        target = reader.choice(SearchTarget, request.target, "target", SearchTarget.SUBJECT)
        reader.tenant(request.request.tenant, field="request.tenant")
        asked = reader.request(request.request, "request.")
        reader.finish()
        pinned = await self._pin(request.request.tenant, request.request.min_revision, context)
        if page.revision not in (0, pinned.revision):
            raise PageTokenRefused
        open_part = {
            SearchTarget.SUBJECT: asked.subject,
            SearchTarget.RESOURCE: asked.resource,
            SearchTarget.ACTION: asked.action,
        }[target]
        uids = candidates(pinned.program, target, open_part.type)
        stop = page.start + page.size
        response = evaluate_service_pb2.SearchResponse(revision=pinned.revision)
        found = hits(pinned.program, asked, target, uids[page.start : stop])
        for index, hit in enumerate(found, 1):
            if hit is not None:
                response.hits.append(
                    evaluate_service_pb2.SearchHit(
                        uid=uid_to_wire(hit.uid),
                        outcome=hit.verdict.outcome.value,  # type: ignore[arg-type]
                        obligations=hit.verdict.obligations,
                    )
                )
            if index % _DECISIONS_A_TURN == 0:
                await asyncio.sleep(0)
        if stop < len(uids):
            response.next_page_token = next_page_token(request, stop, pinned.revision)
        return response

    async def _pinned(
        self, request: evaluate_service_pb2.EvaluateRequest, context: _Context
    ) -> PinnedDecider:
        if not request.tenant:
            _read(request)
        reader = Reader()
        reader.tenant(request.tenant)
        reader.finish()
        return await self._pin(request.tenant, request.min_revision, context)

    async def _pin(
        self, tenant: str, min_revision: int, context: _Context, decisions: int = 1
    ) -> PinnedDecider:
        """Choose the revision that decides, once the node has the one the caller wants."""
        await self._reporter.room_for(decisions)
        if min_revision > self._active.revision:
            await self._active.wait_for(Revision(min_revision), time_left_s(context))
        return self._decider.pin(tenant)

    def _decide(
        self,
        pinned: PinnedDecider,
        request: evaluate_service_pb2.EvaluateRequest,
        read: Callable[[], Request],
    ) -> Decision | Undecidable:
        started_s = perf_counter()
        decided = pinned.decide(_key(request), read)
        if isinstance(decided, Undecidable):
            self._reporter.failed(decided.reason)
            return decided
        self._reporter.decided(
            pinned.program.tenant,
            request,
            decided.verdict,
            decision_id=decided.decision_id,
            revision=decided.revision,
            cached=decided.cached,
            duration_s=perf_counter() - started_s,
        )
        return decided

    def _to_result(self, decided: Decision | Undecidable) -> evaluate_service_pb2.BatchResult:
        if isinstance(decided, Undecidable):
            return evaluate_service_pb2.BatchResult(error=undecidable_to_decision_error(decided))
        return evaluate_service_pb2.BatchResult(decision=self._to_wire(decided))

    def _to_wire(self, decision: Decision) -> decision_pb2.Decision:
        message = verdict_to_wire(decision.verdict)
        message.decision_id = decision.decision_id
        message.revision = decision.revision
        message.staleness.CopyFrom(duration(decision.staleness_s))
        message.cached = decision.cached
        message.region = self._identity.region
        message.node = self._identity.node
        return message


def _read(message: evaluate_service_pb2.EvaluateRequest) -> Request:
    reader = Reader()
    reader.tenant(message.tenant)
    request = reader.request(message)
    reader.finish()
    return request


def _key(message: evaluate_service_pb2.EvaluateRequest) -> bytes:
    """Return bytes that are equal for requests that ask the same."""
    if message.min_revision:
        asked = evaluate_service_pb2.EvaluateRequest()
        asked.CopyFrom(message)
        asked.ClearField("min_revision")
        message = asked
    return message.SerializeToString(deterministic=True)


def _stopping_rule(semantics: int) -> Callable[[Decision | Undecidable], bool]:
    def allowed(decided: Decision | Undecidable) -> bool:
        return isinstance(decided, Decision) and decided.verdict.outcome is Outcome.ALLOW

    rules: dict[int, Callable[[Decision | Undecidable], bool]] = {
        evaluate_service_pb2.BATCH_SEMANTICS_UNSPECIFIED: lambda decided: False,
        evaluate_service_pb2.BATCH_SEMANTICS_EXECUTE_ALL: lambda decided: False,
        evaluate_service_pb2.BATCH_SEMANTICS_DENY_ON_FIRST_DENY: lambda decided: (
            not allowed(decided)
        ),
        evaluate_service_pb2.BATCH_SEMANTICS_PERMIT_ON_FIRST_PERMIT: allowed,
    }
    rule = rules.get(semantics)
    if rule is None:
        reader = Reader()
        reader.refuse("semantics", f"is {semantics}, which is not known; use 1, 2 or 3")
        reader.finish()
        raise AssertionError("finish raises")
    return rule
