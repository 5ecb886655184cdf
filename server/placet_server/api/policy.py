"""PolicyService: change sets in, revisions out."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from concurrent.futures import Executor
from typing import Any

import grpc

from placet.v1 import (
    evaluate_service_pb2,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
)
from placet.wire import (
    LIMITS,
    Reader,
    item_to_wire,
    problem_to_wire,
    read_change_set,
    read_key,
    read_kind,
    read_request,
    verdict_to_wire,
)
from placet_engine.changes import ItemSet, diff
from placet_engine.items import PLATFORM, Item, ItemKey, ItemKind, Revision
from placet_engine.model import Request, Undecidable
from placet_engine.program import Program
from placet_engine.rollouts.plan import Strategy
from placet_server.api.callers import caller_of
from placet_server.api.commits import check_texts, read_expected
from placet_server.api.deadlines import time_left_s
from placet_server.api.failures import undecidable_to_decision_error
from placet_server.api.paging import next_page_token, read_page
from placet_server.api.rollout import RolloutService
from placet_server.errors import ChangeSetRefused, ItemUnknown, TenantUnknown
from placet_server.policies.publisher import Candidate, Publisher
from placet_server.store.contract import CommitSummary, Store

_Context = grpc.aio.ServicerContext[Any, Any]


class PolicyService(policy_service_pb2_grpc.PolicyServiceServicer):
    """Publishes to the store and reads from it."""

    def __init__(
        self, *, publisher: Publisher, store: Store, executor: Executor, rollouts: RolloutService
    ) -> None:
        self._publisher = publisher
        self._rollouts = rollouts
        self._store = store
        self._executor = executor

    async def Publish(
        self, request: policy_service_pb2.PublishRequest, context: _Context
    ) -> policy_service_pb2.PublishResponse:
        """Check a change set and commit it."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        change_set = read_change_set(request.change_set, reader, owner=owner)
        check_texts(request, reader)
        expected = read_expected(request, reader)
        plan = None
        if request.HasField("rollout"):
            plan = self._rollouts.read_plan(request.rollout, reader, "rollout")
        reader.finish()
        if plan is not None and plan.strategy is not Strategy.IMMEDIATE:
            started = await self._rollouts.start(
                request, context, owner=owner, candidate=change_set, plan=plan, expected=expected
            )
            return policy_service_pb2.PublishResponse(
                revision=started.revision,
                warnings=map(problem_to_wire, started.warnings),
                upserts=started.upserts,
                deletes=started.deletes,
                rollout_id=started.rollout.id,
            )
        published = await self._publisher.publish(
            owner,
            change_set,
            expected=expected,
            author=caller_of(context).name,
            message=request.message,
            request_id=request.request_id,
            timeout_s=time_left_s(context),
        )
        return policy_service_pb2.PublishResponse(
            revision=published.revision,
            warnings=map(problem_to_wire, published.warnings),
            upserts=published.upserts,
            deletes=published.deletes,
        )

    async def Validate(
        self, request: policy_service_pb2.ValidateRequest, context: _Context
    ) -> policy_service_pb2.ValidateResponse:
        """Do all that Publish does but the commit."""
        candidate = await self._candidate(request.tenant, request.change_set)
        return policy_service_pb2.ValidateResponse(
            valid=candidate.valid, problems=map(problem_to_wire, candidate.problems)
        )

    async def Get(
        self, request: policy_service_pb2.GetRequest, context: _Context
    ) -> policy_service_pb2.GetResponse:
        """Return items by key."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        if not 1 <= len(request.keys) <= LIMITS.max_batch_items:
            reader.refuse("keys", f"has {len(request.keys)} entries; name 1 to 1,000 items")
        keys = [read_key(key, reader, f"keys[{index}]") for index, key in enumerate(request.keys)]
        reader.finish()
        items = await self._read(owner, request.revision)
        response = policy_service_pb2.GetResponse(revision=items.revision)
        for key in keys:
            item = items.items.get(key)
            if item is None:
                raise ItemUnknown(key, owner, items.revision)
            response.items.append(item_to_wire(item))
        return response

    async def List(
        self, request: policy_service_pb2.ListRequest, context: _Context
    ) -> policy_service_pb2.ListResponse:
        """Return a tenant's items in order of kind and id."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        page = read_page(request, reader)
        kinds = {
            read_kind(kind, reader, f"kinds[{index}]") for index, kind in enumerate(request.kinds)
        } or {kind for kind in ItemKind if kind.is_content}
        reader.finish()
        items = await self._read(owner, page.revision or request.revision)
        listed = [
            items.items[key] for key in sorted(items.items) if _is_listed(key, kinds, request)
        ]
        stop = page.start + page.size
        return policy_service_pb2.ListResponse(
            items=map(item_to_wire, listed[page.start : stop]),
            next_page_token=next_page_token(request, stop, items.revision)
            if stop < len(listed)
            else "",
            revision=items.revision,
        )

    async def History(
        self, request: policy_service_pb2.HistoryRequest, context: _Context
    ) -> policy_service_pb2.HistoryResponse:
        """Return what happened to a tenant, newest first."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        page = read_page(request, reader)
        key = read_key(request.key, reader, "key") if request.HasField("key") else None
        reader.finish()
        await self._check_known(owner)
        # One more than the page has, to know whether there is another page.
        summaries = await self._store.history(
            owner,
            key=key,
            before=Revision(page.revision) if page.revision else None,
            limit=page.size + 1,
        )
        shown = summaries[: page.size]
        return policy_service_pb2.HistoryResponse(
            revisions=map(_summary_to_wire, shown),
            next_page_token=next_page_token(request, 0, shown[-1].revision)
            if len(summaries) > page.size
            else "",
        )

    async def Diff(
        self, request: policy_service_pb2.DiffRequest, context: _Context
    ) -> policy_service_pb2.DiffResponse:
        """Return the changes that lead from one revision to another."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        for field in ("from_revision", "to_revision"):
            if getattr(request, field) < 0:
                reader.refuse(field, "is negative")
        reader.finish()
        after = await self._read(owner, request.to_revision)
        if after.revision == request.to_revision:
            after = after.proposed()
        before = await self._store.read(owner, at=Revision(request.from_revision))
        return policy_service_pb2.DiffResponse(
            diffs=(
                policy_service_pb2.ItemDiff(
                    before=_optional(change.before), after=_optional(change.after)
                )
                for change in diff(before, after)
            ),
            from_revision=request.from_revision,
            to_revision=request.to_revision or after.revision,
        )

    async def Test(
        self, request: policy_service_pb2.TestRequest, context: _Context
    ) -> policy_service_pb2.TestResponse:
        """Decide requests against a candidate."""
        reader = Reader()
        owner = reader.tenant(request.tenant)
        if not 1 <= len(request.requests) <= LIMITS.max_batch_items:
            reader.refuse("requests", f"has {len(request.requests)} entries; send 1 to 1,000")
        asked = [
            read_request(message, reader, f"requests[{index}].")
            for index, message in enumerate(request.requests)
        ]
        change_set = read_change_set(request.change_set, reader, owner=owner)
        reader.finish()
        candidate = await self._publisher.check(owner, change_set)
        program = _program_of(candidate)
        if not candidate.items.items:
            raise TenantUnknown(owner)
        loop = asyncio.get_running_loop()
        results, unmatched = await loop.run_in_executor(self._executor, _tested, program, asked)
        return policy_service_pb2.TestResponse(
            results=results,
            warnings=map(problem_to_wire, candidate.warnings),
            revision=candidate.base.revision,
            unmatched_policy_ids=unmatched,
        )

    async def _candidate(self, tenant: str, message: policy_pb2.ChangeSet) -> Candidate:
        reader = Reader()
        owner = reader.tenant(tenant, platform=True)
        change_set = read_change_set(message, reader, owner=owner)
        reader.finish()
        return await self._publisher.check(owner, change_set)

    async def _read(self, owner: str, revision: int) -> ItemSet:
        """Read a known owner's items at a revision, 0 for the newest."""
        await self._check_known(owner)
        return await self._store.read(owner, at=Revision(revision) if revision else None)

    async def _check_known(self, owner: str) -> None:
        if owner != PLATFORM and owner not in await self._store.owners():
            raise TenantUnknown(owner)


def _is_listed(key: ItemKey, kinds: set[ItemKind], request: policy_service_pb2.ListRequest) -> bool:
    if key.kind not in kinds:
        return False
    if not request.id_prefix:
        return True
    named = key.kind in (ItemKind.POLICY, ItemKind.TEMPLATE_LINK)
    return named and key.id.startswith(request.id_prefix)


def _optional(item: Item | None) -> policy_pb2.Item | None:
    return item_to_wire(item) if item is not None else None


def _summary_to_wire(summary: CommitSummary) -> policy_pb2.Revision:
    message = policy_pb2.Revision(
        revision=summary.revision,
        owner=summary.owner,
        author=summary.author,
        message=summary.message,
        upserts=summary.upserts,
        deletes=summary.deletes,
    )
    message.time.FromDatetime(summary.time)
    return message


def _program_of(candidate: Candidate) -> Program:
    if candidate.compilation is None or candidate.compilation.program is None:
        raise ChangeSetRefused(candidate.problems)
    return candidate.compilation.program


def _tested(
    program: Program, requests: Sequence[Request]
) -> tuple[list[evaluate_service_pb2.BatchResult], list[str]]:
    """Decide requests; return also which policies none of them had anything to do with."""
    results = []
    met: set[str] = set()
    for request in requests:
        explanation = program.explain(request)
        if isinstance(explanation, Undecidable):
            error = undecidable_to_decision_error(explanation)
            results.append(evaluate_service_pb2.BatchResult(error=error))
            continue
        for layer in explanation.layers:
            met.update(policy.id for policy in layer.matched)
            met.update(failure.policy.id for failure in layer.failed)
        decision = verdict_to_wire(explanation.verdict)
        results.append(evaluate_service_pb2.BatchResult(decision=decision))
    return results, sorted({policy.id for policy in program.policies} - met)
