"""EvaluateService: requests in, decisions out.

What is hot takes bytes and returns bytes and knows no transport: whatever carries calls to a node
calls :meth:`EvaluateService.evaluate` and its kin.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from concurrent.futures import Executor
from itertools import repeat
from time import perf_counter
from typing import Any

import grpc

from placet.v1 import decision_pb2, evaluate_service_pb2
from placet.wire import Malformed, Reader, read_request, uid_to_wire
from placet_engine.changes import ItemSet
from placet_engine.editions import Role, Sides, Variant
from placet_engine.items import PLATFORM, Revision
from placet_engine.model import Outcome, Request, Undecidable
from placet_engine.native import Unread
from placet_server.admission.control import AdmissionControl
from placet_server.api.batches import Batch, open_batch
from placet_server.api.deadlines import time_left_s
from placet_server.api.decision_records import DecisionReporter
from placet_server.api.encoding import Stamp, batch_error, decision_ids
from placet_server.api.evaluate_stream import (
    AtOnce,
    StreamDecider,
    check_correlation,
    error_answer,
    hold_s,
)
from placet_server.api.explanations import explanation_to_wire
from placet_server.api.failures import (
    to_decision_error,
    undecidable_to_decision_error,
)
from placet_server.api.identity import current_caller
from placet_server.api.messages import ONE_REQUEST_BYTES, read_message
from placet_server.api.paging import Page, next_page_token, read_page
from placet_server.api.requests import (
    Group,
    leading_tenant,
    open_request,
    read_asked,
    reported,
)
from placet_server.decisions.decider import Decided, Decider, PinnedDecider
from placet_server.decisions.search import SearchTarget, candidates, hits
from placet_server.errors import (
    Overloaded,
    PageTokenRefused,
    PlacetError,
    TenantLimited,
    Undecided,
)
from placet_server.identity.callers import Caller
from placet_server.policies.active import ActivePolicies

_Context = grpc.aio.ServicerContext[Any, Any]

# After so much work in a row others get a turn on the event loop. It is looked
# at the clock every few decisions only.
_TURN_S = 0.001
_DECISIONS_A_LOOK = 64


class EvaluateService:
    """Answers from the node's memory."""

    def __init__(
        self,
        *,
        decider: Decider,
        active: ActivePolicies,
        admission: AdmissionControl,
        executor: Executor,
        reporter: DecisionReporter | None = None,
    ) -> None:
        self._decider = decider
        self._active = active
        self._admission = admission
        self._executor = executor
        self._reporter = reporter or DecisionReporter()
        self._ids = decision_ids()
        self._stream = StreamDecider(
            decider=decider,
            active=active,
            admission=admission,
            reporter=self._reporter,
            ids=self._ids,
        )

    # ------------------------------------------------------------------- bytes to bytes

    async def evaluate(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Decide one request: an ``EvaluateRequest`` in, an ``EvaluateResponse`` out.

        Args:
            data: the request.
            time_left_s: how long it may wait for ``min_revision``.
            caller: who asks. None: somebody who may.
        """
        known = self.recall(data, caller)
        if known is not None:
            return known
        (answer,) = self.try_evaluate([(data, caller)])
        if isinstance(answer, Exception):
            raise answer
        if answer is not None:
            return answer
        opened = open_request(data)
        if caller is not None:
            caller.check_decides(opened.tenant)
        with self._admission.admitted(opened.tenant):
            request = opened.request()
            pinned = await self._pin(opened.tenant, opened.min_revision, time_left_s)
            decided, decision_id = self._decided(pinned, data, request)
        return Stamp(pinned.staleness_s).response(decided, decision_id)

    def recall(self, data: bytes, caller: Caller | None = None) -> bytes | None:
        """Return the answer to a request that came before, or None."""
        if not self._reporter.has_room:
            return None
        tenant = leading_tenant(data)
        if caller is not None and not caller.decides(tenant):
            # Perhaps that is not its tenant; who reads it says so.
            return None
        recalled = self._recalled(tenant, data)
        if recalled is None:
            return None
        pinned, decided, decision_id = recalled
        return Stamp(pinned.staleness_s).response(decided, decision_id)

    def try_evaluate(
        self, several: Sequence[tuple[bytes, Caller | None]]
    ) -> list[bytes | Exception | None]:
        """Decide requests that :meth:`recall` knows nothing of, as :meth:`evaluate` does.

        Returns for each the answer, what is wrong with it, or None where it takes waiting.
        Together they cost less than one by one.
        """
        results: list[bytes | Exception | None] = [None] * len(several)
        groups: dict[str, Group] = {}
        for place, (data, caller) in enumerate(several):
            try:
                opened = open_request(data)
                if caller is not None:
                    caller.check_decides(opened.tenant)
                if self._has_to_wait(opened.min_revision):
                    continue
                request, tenant = opened.request(), opened.tenant
                self._admission.admit(tenant)
                group = groups.get(tenant)
                if group is None:
                    group = groups[tenant] = Group(self._decider.pin(tenant))
            except Exception as error:  # noqa: BLE001  # it is this request's, not the others'
                results[place] = error
            else:
                group.add(place, data, request, tenant)
        for group in groups.values():
            self._decide_group(group, results)
        return results

    def _has_to_wait(self, min_revision: int) -> bool:
        return min_revision > self._active.revision or not self._reporter.has_room

    def _decide_group(self, group: Group, results: list[bytes | Exception | None]) -> None:
        stamp = Stamp(group.pinned.staleness_s)
        for place, decided, decision_id in group.decided(self._ids, self._reporter):
            results[place] = (
                Undecided(decided)
                if isinstance(decided, Undecidable)
                else stamp.response(decided, decision_id)
            )

    def _recalled(
        self, tenant: str, exact: bytes, *, in_stream: bool = False
    ) -> tuple[PinnedDecider, Decided, str] | None:
        """Return the answer to a request that came before."""
        if not self._active.has_program(tenant):
            return None
        started_s = perf_counter()
        pinned = self._decider.pin(tenant)
        decided = pinned.recall(exact)
        if decided is None:
            return None
        self._admission.admit(tenant, in_stream=in_stream)
        return pinned, decided, self._reported(pinned, exact, decided, started_s)

    def _decided(
        self,
        pinned: PinnedDecider,
        exact: bytes,
        request: Request | Unread,
    ) -> tuple[Decided, str]:
        """Decide a request that was not recalled.

        Raises:
            Undecided: the policies cannot be asked this.
        """
        group = Group(pinned)
        group.add(0, exact, request, pinned.tenant)
        ((_, decided, decision_id),) = group.decided(self._ids, self._reporter)
        if isinstance(decided, Undecidable):
            raise Undecided(decided)
        return decided, decision_id

    def _reported(
        self, pinned: PinnedDecider, data: bytes, decided: Decided, started_s: float
    ) -> str:
        """Give a decision its id, and tell whoever wants to know about it."""
        decision_id = next(self._ids)
        self._reporter.decided(
            pinned.tenant,
            data,
            decided,
            decision_id=decision_id,
            duration_s=perf_counter() - started_s,
        )
        return decision_id

    async def evaluate_batch(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Decide the items of a batch against one revision.

        An ``EvaluateBatchRequest`` in, an ``EvaluateBatchResponse`` out. Arguments as of
        :meth:`evaluate`.
        """
        batch = open_batch(data)
        if caller is not None:
            caller.check_decides(batch.tenant)
        stops = _stopping_rule(batch.semantics)
        with self._admission.admitted(batch.tenant, batch.count):
            return await self._evaluate_items(batch, stops, time_left_s)

    async def _evaluate_items(
        self,
        batch: Batch,
        stops: Callable[[Decided | Undecidable], bool],
        time_left_s: float,
    ) -> bytes:
        pinned = await self._pinned_or_malformed(batch, time_left_s)
        exact = batch.keys()
        known = [pinned.recall(key) for key in exact]
        read = batch.requests([place for place, decided in enumerate(known) if decided is None])
        stamp = Stamp(pinned.staleness_s)
        parts = [_revision_field(pinned.revision)]
        turns = _Turns()
        for start in range(0, len(known), _DECISIONS_A_LOOK):
            await turns.take()
            started_s = perf_counter()
            keys = exact[start : start + _DECISIONS_A_LOOK]
            results = _filled(pinned, known[start : start + len(keys)], keys, read, start)
            ends = next((place for place, result in enumerate(results, 1) if stops(result)), None)
            results = results[:ends]
            ids = reported(pinned, keys[:ends], results, self._ids, self._reporter, started_s)
            parts += map(_result, results, ids, repeat(stamp))
            if ends is not None:
                break
        return b"".join(parts)

    async def _pinned_or_malformed(self, batch: Batch, time_left_s: float) -> PinnedDecider:
        """Pin the batch's tenant. What is wrong with the batch is said before that it cannot be."""
        batch.check_shared()
        try:
            return await self._pin(batch.tenant, batch.min_revision, time_left_s, batch.count)
        except PlacetError:
            batch.requests(range(batch.count))
            raise

    async def evaluate_streamed(
        self, data: bytes, time_left_s: float, caller: Caller | None = None
    ) -> bytes:
        """Decide one message of a stream.

        An ``EvaluateStreamRequest`` in, an ``EvaluateStreamResponse`` out. What is wrong with
        one message is said in its answer. Arguments as of :meth:`evaluate`.
        """
        message = read_message(evaluate_service_pb2.EvaluateStreamRequest, data, ONE_REQUEST_BYTES)
        id_ = message.correlation_id
        try:
            check_correlation(id_)
            if caller is not None:
                caller.check_decides(message.request.tenant)
            result = await self._stream_result(message.request, time_left_s)
        except (Overloaded, TenantLimited) as error:
            await asyncio.sleep(hold_s(error))
            return error_answer(id_, error)
        except (PlacetError, Malformed) as error:
            if not isinstance(error, Undecided):
                self._reporter.failed(to_decision_error(error).reason)
            return error_answer(id_, error)
        return (
            evaluate_service_pb2.EvaluateStreamResponse(correlation_id=id_).SerializeToString()
            + result
        )

    def evaluate_streamed_at_once(
        self, several: Sequence[bytes], caller: Caller | None = None
    ) -> AtOnce:
        """Decide messages of a stream that came together, which is much cheaper than one by one.

        Returns the answers to the first of them, after which the rest is to be asked again. If
        there are none, the first is for :meth:`evaluate_streamed`, which can wait.
        """
        return self._stream.answer(several, caller)

    async def _stream_result(
        self, request: evaluate_service_pb2.EvaluateRequest, time_left_s: float
    ) -> bytes:
        exact = request.SerializeToString(deterministic=True)
        recalled = (
            self._recalled(request.tenant, exact, in_stream=True)
            if self._reporter.has_room
            else None
        )
        if recalled is not None:
            pinned, decided, decision_id = recalled
        else:
            with self._admission.admitted(request.tenant, in_stream=True):
                read = read_asked(request)
                pinned = await self._pin(request.tenant, request.min_revision, time_left_s)
                decided, decision_id = self._decided(pinned, exact, read)
        return Stamp(pinned.staleness_s).stream_decision(decided, decision_id)

    # ------------------------------------------------------------------ handlers of gRPC

    async def Evaluate(self, request: bytes, context: _Context) -> bytes:
        """Decide one request."""
        return await self.evaluate(request, time_left_s(context), current_caller())

    async def EvaluateBatch(self, request: bytes, context: _Context) -> bytes:
        """Decide the items of a batch against one revision."""
        return await self.evaluate_batch(request, time_left_s(context), current_caller())

    async def EvaluateStream(
        self, request_iterator: AsyncIterator[bytes], context: _Context
    ) -> AsyncIterator[bytes]:
        """Decide requests as they come. Reading waits for writing, so that nothing piles up."""
        caller = current_caller()
        async for message in request_iterator:
            yield await self.evaluate_streamed(message, time_left_s(context), caller)

    async def Explain(
        self, request: evaluate_service_pb2.ExplainRequest, context: _Context
    ) -> evaluate_service_pb2.ExplainResponse:
        """Decide one request and show the work."""
        asked = read_asked(request.request)
        with self._admission.admitted(request.request.tenant):
            return await self._explain(request.request, asked, time_left_s(context))

    async def _explain(
        self, message: evaluate_service_pb2.EvaluateRequest, asked: Request, time_left_s: float
    ) -> evaluate_service_pb2.ExplainResponse:
        pinned = await self._pin(message.tenant, message.min_revision, time_left_s)
        role = pinned.role_for(asked.subject)
        platform, own = (
            _side(self._active.sides(owner), role) for owner in (PLATFORM, message.tenant)
        )
        loop = asyncio.get_running_loop()
        explanation = await loop.run_in_executor(self._executor, role.program.explain, asked)
        if isinstance(explanation, Undecidable):
            raise Undecided(explanation)
        stamp = Stamp(pinned.staleness_s)
        decision = decision_pb2.Decision.FromString(
            stamp.decision(pinned.judged(explanation.verdict, role), next(self._ids))
        )
        return explanation_to_wire(explanation, decision, platform=platform, own=own)

    async def Search(
        self, request: evaluate_service_pb2.SearchRequest, context: _Context
    ) -> evaluate_service_pb2.SearchResponse:
        """List for what the request would be allowed."""
        reader = Reader()
        page = read_page(request, reader)
        target = reader.choice(SearchTarget, request.target, "target", SearchTarget.SUBJECT)
        reader.tenant(request.request.tenant, field="request.tenant")
        asked = read_request(request.request, reader, "request.")
        reader.finish()
        with self._admission.admitted(request.request.tenant, page.size):
            return await self._search(request, asked, target, page, time_left_s(context))

    async def _search(
        self,
        request: evaluate_service_pb2.SearchRequest,
        asked: Request,
        target: SearchTarget,
        page: Page,
        time_left_s: float,
    ) -> evaluate_service_pb2.SearchResponse:
        message = request.request
        pinned = await self._pin(message.tenant, message.min_revision, time_left_s)
        if page.revision not in (0, pinned.revision):
            raise PageTokenRefused
        open_part = {
            SearchTarget.SUBJECT: asked.subject,
            SearchTarget.RESOURCE: asked.resource,
            SearchTarget.ACTION: asked.action,
        }[target]
        uids = candidates(pinned.role_for(asked.subject).program, target, open_part.type)
        stop = page.start + page.size
        response = evaluate_service_pb2.SearchResponse(revision=pinned.revision)
        turns = _Turns()
        found = hits(pinned.judge, asked, target, uids[page.start : stop])
        for index, hit in enumerate(found, 1):
            if hit is not None:
                response.hits.append(
                    evaluate_service_pb2.SearchHit(
                        uid=uid_to_wire(hit.uid),
                        outcome=hit.verdict.outcome.value,  # type: ignore[arg-type]
                        obligations=hit.verdict.obligations,
                    )
                )
            if index % _DECISIONS_A_LOOK == 0:
                await turns.take()
        if stop < len(uids):
            response.next_page_token = next_page_token(request, stop, pinned.revision)
        return response

    async def _pin(
        self, tenant: str, min_revision: int, time_left_s: float, decisions: int = 1
    ) -> PinnedDecider:
        """Choose the revision that decides, once the node has the one the caller wants."""
        await self._reporter.room_for(decisions)
        if min_revision > self._active.revision:
            await self._active.wait_for(Revision(min_revision), time_left_s)
        return self._decider.pin(tenant)


def _side(sides: Sides, role: Role) -> ItemSet:
    """Return the items that a role's program was compiled from."""
    if role.variant is Variant.CANDIDATE and sides.candidate is not None:
        return sides.candidate
    return sides.stable


class _Turns:
    """Lets others on the event loop when work has taken long enough."""

    def __init__(self) -> None:
        self._time = asyncio.get_running_loop().time
        self._since_s = self._time()

    async def take(self) -> None:
        """Wait for the others, if it is their turn."""
        if self._time() - self._since_s > _TURN_S:
            await asyncio.sleep(0)
            self._since_s = self._time()


def _filled(
    pinned: PinnedDecider,
    known: Sequence[Decided | None],
    exact: Sequence[tuple[bytes, bytes]],
    read: Mapping[int, Request | Unread],
    start: int,
) -> list[Decided | Undecidable]:
    """Decide what is not known yet of a few items in a row, the first of which is ``start``."""
    open_ = [place for place, decided in enumerate(known) if decided is None]
    found = iter(
        pinned.decide([read[start + place] for place in open_], [exact[place] for place in open_])
    )
    return [next(found) if decided is None else decided for decided in known]


def _result(decided: Decided | Undecidable, decision_id: str, stamp: Stamp) -> bytes:
    if isinstance(decided, Undecidable):
        return batch_error(undecidable_to_decision_error(decided))
    return stamp.batch_result(decided, decision_id)


def _revision_field(revision: Revision) -> bytes:
    return evaluate_service_pb2.EvaluateBatchResponse(revision=revision).SerializeToString()


def _stopping_rule(semantics: int) -> Callable[[Decided | Undecidable], bool]:
    def allowed(decided: Decided | Undecidable) -> bool:
        return isinstance(decided, Decided) and decided.verdict.outcome is Outcome.ALLOW

    rules: dict[int, Callable[[Decided | Undecidable], bool]] = {
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
