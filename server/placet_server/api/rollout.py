"""RolloutService: candidates on their way."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Sequence
from typing import Any, Protocol

import grpc

from placet.v1 import (
    rollout_pb2,
    rollout_service_pb2,
    rollout_service_pb2_grpc,
)
from placet.wire import (
    Reader,
    duration,
    problem_to_wire,
    read_change_set,
    read_plan,
    reading_to_wire,
    rollout_to_wire,
    timestamp,
)
from placet_engine.changes import ChangeSet
from placet_engine.items import Revision
from placet_engine.rollouts.plan import GuardKind, Plan, PlanDefaults, Strategy
from placet_engine.rollouts.record import Rollout, RolloutState
from placet_server.api.callers import caller_of
from placet_server.api.changed_answers import changed_answer_to_wire
from placet_server.api.commits import Explained, check_texts, read_expected
from placet_server.api.deadlines import time_left_s
from placet_server.api.node_reports import NodeReports, ReportRpcs, rejection_to_wire
from placet_server.api.paging import next_page_token, read_page
from placet_server.clock import Clock
from placet_server.policies.active import ActivePolicies
from placet_server.rollouts.controller import Kept, RolloutController, Started, Wish
from placet_server.rollouts.overview import NodeRevision, Overview, Progress
from placet_server.rollouts.shadow import MAX_EXAMPLES
from placet_server.rollouts.standings import Findings
from placet_server.store.contract import Store

_Context = grpc.aio.ServicerContext[Any, Any]
_pb = rollout_service_pb2

_MAX_AHEAD_S = 366 * 24 * 3600
_MAX_ACKNOWLEDGEMENTS = 1000
_MAX_SAMPLES = 100
_WATCH_EVERY_S = 1.0
_WATCH_AT_LEAST_S = 5.0


class _Steering(Protocol):
    """What the requests that change a rollout have in common."""

    tenant: str
    rollout_id: str
    etag: str
    message: str
    request_id: str


class RolloutService(ReportRpcs, rollout_service_pb2_grpc.RolloutServiceServicer):
    """Starts, steers and shows rollouts."""

    def __init__(
        self,
        *,
        controller: RolloutController,
        overview: Overview,
        active: ActivePolicies,
        store: Store,
        clock: Clock,
        defaults: PlanDefaults,
        reports: NodeReports,
    ) -> None:
        self._controller = controller
        self._overview = overview
        self._active = active
        self._store = store
        self._clock = clock
        self._defaults = defaults
        super().__init__(reports)

    # ------------------------------------------------------------------------------ start

    async def StartRollout(
        self, request: _pb.StartRolloutRequest, context: _Context
    ) -> _pb.StartRolloutResponse:
        """Check a candidate and put it on its way."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        candidate: ChangeSet | Revision = Revision(request.restore_revision)
        if request.WhichOneof("candidate") == "change_set":
            candidate = read_change_set(request.change_set, reader, owner=owner)
        elif request.WhichOneof("candidate") is None:
            reader.refuse("change_set", "is missing; say what the candidate is")
        elif request.restore_revision < 1:
            reader.refuse("restore_revision", "is not positive; name a revision of the tenant's")
        check_texts(request, reader)
        expected = read_expected(request, reader)
        plan = self.read_plan(request.plan, reader, "plan")
        reader.finish()
        started = await self.start(
            request, context, owner=owner, candidate=candidate, plan=plan, expected=expected
        )
        return _pb.StartRolloutResponse(
            rollout=await self._shown(owner, Kept(started.rollout, started.revision)),
            warnings=map(problem_to_wire, started.warnings),
        )

    async def start(
        self,
        request: Explained,
        context: _Context,
        *,
        owner: str,
        candidate: ChangeSet | Revision,
        plan: Plan,
        expected: Revision | None,
    ) -> Started:
        """Start the rollout that a request asks for which was read and found good."""
        return await self._controller.start(
            owner,
            candidate,
            plan,
            caller=caller_of(context),
            expected=expected,
            message=request.message,
            request_id=request.request_id,
            timeout_s=time_left_s(context),
        )

    def read_plan(self, message: rollout_pb2.RolloutPlan, reader: Reader, field: str) -> Plan:
        """Read a plan, with the server's defaults, that begins now."""
        plan = read_plan(message, reader, field, self._defaults)
        now = self._clock.now()
        if plan.strategy is Strategy.SCHEDULED and plan.start_time is not None:
            ahead_s = (plan.start_time - now).total_seconds()
            if not 0 < ahead_s <= _MAX_AHEAD_S:
                reader.refuse(
                    f"{field}.scheduled.start_time",
                    "is in the past, or more than 366 days ahead; give a time to come",
                )
        if plan.deadline is not None and plan.deadline <= now:
            reader.refuse(f"{field}.manual.deadline", "is in the past; give a time to come")
        return plan

    # ------------------------------------------------------------------------------ steer

    async def ApproveRollout(
        self, request: _pb.ApproveRolloutRequest, context: _Context
    ) -> _pb.ApproveRolloutResponse:
        """Let a rollout go ahead that waits for approval."""
        owner, wish = _read_wish(request, context, needs_etag="approve")
        kept = await self._enforced(self._controller.approve(owner, wish), context)
        return _pb.ApproveRolloutResponse(rollout=await self._shown(owner, kept))

    async def PauseRollout(
        self, request: _pb.PauseRolloutRequest, context: _Context
    ) -> _pb.PauseRolloutResponse:
        """Hold a running rollout at its step."""
        owner, wish = _read_wish(request, context)
        kept = await self._enforced(self._controller.pause(owner, wish), context)
        return _pb.PauseRolloutResponse(rollout=await self._shown(owner, kept))

    async def ResumeRollout(
        self, request: _pb.ResumeRolloutRequest, context: _Context
    ) -> _pb.ResumeRolloutResponse:
        """Let a paused rollout go on."""
        owner, wish = _read_wish(request, context)
        kept = await self._enforced(self._controller.resume(owner, wish), context)
        return _pb.ResumeRolloutResponse(rollout=await self._shown(owner, kept))

    async def PromoteRollout(
        self, request: _pb.PromoteRolloutRequest, context: _Context
    ) -> _pb.PromoteRolloutResponse:
        """Take the next step, or all that are left."""
        owner, wish = _read_wish(request, context, needs_etag="promote")
        before = await self._controller.get(owner, wish.rollout_id)
        progress = (await self._overview.look()).progress(owner, before.rollout)
        promoted = self._controller.promote(
            owner, wish, progress.readings, all_steps=request.all_steps
        )
        kept = await self._enforced(promoted, context)
        return _pb.PromoteRolloutResponse(rollout=await self._shown(owner, kept))

    async def RollBack(
        self, request: _pb.RollBackRequest, context: _Context
    ) -> _pb.RollBackResponse:
        """Give everything back to the stable revision."""
        owner, wish = _read_wish(request, context)
        before = await self._controller.get(owner, wish.rollout_id)
        if not before.rollout.state.is_final:
            progress = (await self._overview.look()).progress(owner, before.rollout)
            findings = progress.findings(before.rollout, self._clock.now())
            await self._store.put_up(findings.to_notice())
        kept = await self._enforced(self._controller.roll_back(owner, wish), context)
        return _pb.RollBackResponse(rollout=await self._shown(owner, kept))

    async def _enforced(self, move: Awaitable[Kept], context: _Context) -> Kept:
        """Have something happen, and return when this node decides by it."""
        kept = await move
        await self._active.wait_for(kept.revision, time_left_s(context))
        return kept

    # ------------------------------------------------------------------------------- show

    async def GetRollout(
        self, request: _pb.GetRolloutRequest, context: _Context
    ) -> _pb.GetRolloutResponse:
        """Return one rollout."""
        owner = _owner(request.tenant)
        kept = await self._controller.get(owner, request.rollout_id)
        return _pb.GetRolloutResponse(rollout=await self._shown(owner, kept))

    async def ListRollouts(
        self, request: _pb.ListRolloutsRequest, context: _Context
    ) -> _pb.ListRolloutsResponse:
        """Return a tenant's rollouts, newest first."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        page = read_page(request, reader)
        states = frozenset(
            reader.choice(RolloutState, state, f"states[{index}]", RolloutState.RUNNING)
            for index, state in enumerate(request.states)
        )
        reader.finish()
        listed = await self._controller.list(owner, states=states, limit=page.start + page.size + 1)
        stop = page.start + page.size
        return _pb.ListRolloutsResponse(
            rollouts=await self._all_shown(owner, listed[page.start : stop]),
            next_page_token=next_page_token(request, stop, 0) if stop < len(listed) else "",
        )

    async def WatchRollout(
        self, request: _pb.WatchRolloutRequest, context: _Context
    ) -> AsyncIterator[_pb.WatchRolloutResponse]:
        """Send a rollout as it is, and again whenever it changes, until it has ended."""
        owner = _owner(request.tenant)
        kept = await self._controller.get(owner, request.rollout_id)
        sent: rollout_pb2.Rollout | None = None
        sent_at_s = 0.0
        while True:
            seen = self._active.revision
            kept = await self._controller.get(owner, kept.rollout.id)
            shown = await self._shown(owner, kept)
            now_s = self._clock.monotonic()
            if shown != sent or now_s - sent_at_s >= _WATCH_AT_LEAST_S:
                sent, sent_at_s = shown, now_s
                yield _pb.WatchRolloutResponse(
                    rollout=shown, server_time=timestamp(self._clock.now())
                )
            if kept.rollout.state.is_final:
                return
            # Changes of the rollout are commits and come at once; readings are looked at anew
            # once in a while.
            try:
                async with asyncio.timeout(_WATCH_EVERY_S):
                    await self._active.wait_past(seen)
            except TimeoutError:
                continue

    async def ListNodeRevisions(
        self, request: _pb.ListNodeRevisionsRequest, context: _Context
    ) -> _pb.ListNodeRevisionsResponse:
        """Return who runs what."""
        reader = Reader()
        owner = reader.tenant(request.tenant, platform=True)
        page = read_page(request, reader)
        reader.finish()
        newest, listed = await self._overview.node_revisions(owner, region=request.region)
        rollout = self._active.items(owner).rollout_under_way
        stop = page.start + page.size
        return _pb.ListNodeRevisionsResponse(
            nodes=[_node_revision_to_wire(node, rollout) for node in listed[page.start : stop]],
            next_page_token=next_page_token(request, stop, 0) if stop < len(listed) else "",
            revision=newest,
        )

    async def _shown(self, owner: str, kept: Kept) -> rollout_pb2.Rollout:
        """Return a rollout with all that is known about it."""
        (shown,) = await self._all_shown(owner, [kept])
        return shown

    async def _all_shown(self, owner: str, listed: Sequence[Kept]) -> list[rollout_pb2.Rollout]:
        """Return rollouts with all that is known about them, looked up once for all."""
        rollouts = [kept.rollout for kept in listed]
        seen = None
        if not all(rollout.state.is_final for rollout in rollouts):
            seen = await self._overview.look()
        found = await self._overview.findings(
            {rollout.id for rollout in rollouts if rollout.rollback is not None}
        )
        shown = []
        for kept in listed:
            message = rollout_to_wire(kept.rollout, etag=kept.etag)
            message.tenant = owner
            if seen is not None and not kept.rollout.state.is_final:
                _show_progress(message, kept.rollout, seen.progress(owner, kept.rollout))
            elif kept.rollout.rollback is not None:
                _show_rollback(message.rollback, kept.rollout, found.get(kept.rollout.id))
            shown.append(message)
        return shown


def _owner(tenant: str) -> str:
    reader = Reader()
    owner = reader.tenant(tenant, platform=True)
    reader.finish()
    return owner


def _read_wish(request: _Steering, context: _Context, *, needs_etag: str = "") -> tuple[str, Wish]:
    """Read whose rollout something is to happen to, and what is wished.

    Raises:
        Malformed: something is missing.
    """
    reader = Reader()
    owner = reader.tenant(request.tenant, platform=True)
    if not request.rollout_id:
        reader.refuse("rollout_id", "is missing; say which rollout")
    if needs_etag and not request.etag:
        reader.refuse("etag", f"is missing; read the rollout, then {needs_etag} what was read")
    check_texts(request, reader)
    reader.finish()
    wish = Wish(
        rollout_id=request.rollout_id,
        caller=caller_of(context),
        etag=request.etag,
        message=request.message,
        request_id=request.request_id,
    )
    return owner, wish


# ------------------------------------------------------------------------------- to the wire


def _show_progress(message: rollout_pb2.Rollout, rollout: Rollout, progress: Progress) -> None:
    guards = {guard.kind: guard for guard in rollout.plan.guards}
    message.readings.extend(
        reading_to_wire(reading, guards[reading.kind]) for reading in progress.readings
    )
    message.nodes.acknowledged = progress.acknowledged
    message.nodes.rejected = progress.rejected
    message.nodes.pending = progress.pending


def _show_rollback(
    message: rollout_pb2.RollbackReport, rollout: Rollout, findings: Findings | None
) -> None:
    if message.HasField("breach"):
        kind = GuardKind(message.breach.guard.kind)
        kept = next(guard for guard in rollout.plan.guards if guard.kind is kind)
        message.breach.guard.threshold = kept.threshold
        message.breach.guard.min_samples = kept.min_samples
    if findings is None:
        return
    message.changed_answers = findings.changed_answers
    message.examples.extend(map(changed_answer_to_wire, findings.examples[:MAX_EXAMPLES]))
    message.rejections.extend(
        rejection_to_wire(refusal, node=node, region=region)
        for node, region, refusal in findings.refusals
    )


def _node_revision_to_wire(node: NodeRevision, rollout: Rollout | None) -> rollout_pb2.NodeRevision:
    standing = node.standing
    message = rollout_pb2.NodeRevision(
        node=standing.node,
        region=standing.region,
        revision=node.revision,
        lag=duration(node.lag_s),
        acknowledge_time=timestamp(standing.time),
        propagation=duration(node.propagation_s) if node.propagation_s is not None else None,
        rejection=rejection_to_wire(node.refusal, node=standing.node, region=standing.region)
        if node.refusal is not None
        else None,
    )
    if rollout is not None:
        message.candidate_revision = rollout.candidate_revision
        message.share_percent = rollout.share_percent
    return message
