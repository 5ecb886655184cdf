"""RolloutService as its callers see it: over the wire, on a real store, with a clock to turn."""

from __future__ import annotations

import asyncio
import datetime
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import decision_pb2, policy_pb2, policy_service_pb2, rollout_pb2
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import rollout_service_pb2 as pb
from placet_engine.changes import ItemSet
from placet_engine.compiled_items import CompiledItems
from placet_engine.compiling import Compilation, Compiler
from placet_engine.model import Problem, Severity
from placet_server.config import RolloutsConfig
from placet_server.rollouts import controller
from placet_server.rollouts.driver import RolloutDriver
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.standings import NODES, REPORTS, SAMPLES, Standing
from placet_server.store.contract import Notice
from placet_server.store.memory import MemoryStore
from placet_server.store.sqlite import SqliteStore
from placet_server.testing import ManualClock
from tests.wire.details import info, violated_fields
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

ALLOW = policy("all", "permit(principal, action, resource);")
DENY = policy("stop", "forbid(principal, action, resource);")
HARMLESS = policy("more", 'permit(principal, action == Action::"edit", resource);')
# Of so few samples the slowest is the percentile, and a collection of garbage may be in it.
AT_ONCE = RolloutsConfig(
    tick_s=0.01,
    min_samples=20,
    latency_s=1.0,
    shadow_percent=100,
    shadow_per_second=10_000,
)

S = rollout_pb2
RUNNING, PAUSED = S.ROLLOUT_STATE_RUNNING, S.ROLLOUT_STATE_PAUSED
COMPLETED, ROLLED_BACK = S.ROLLOUT_STATE_COMPLETED, S.ROLLOUT_STATE_ROLLED_BACK


@dataclass(frozen=True, slots=True)
class Rolling:
    """A running service with one tenant that has a policy, and short words for rollouts."""

    service: Service
    clock: ManualClock
    stable: int

    async def start(
        self,
        *policies: policy_pb2.Policy,
        plan: rollout_pb2.RolloutPlan | None = None,
        actor: str = "ann",
        **fields: Any,
    ) -> rollout_pb2.Rollout:
        """Start a rollout of some more policies; a canary unless told otherwise."""
        started = await self.service.rollouts.StartRollout(
            pb.StartRolloutRequest(
                tenant=TENANT,
                change_set=policy_pb2.ChangeSet(policies=policies),
                plan=plan or canary(),
                **fields,
            ),
            timeout=TIMEOUT_S,
            metadata=(("placet-actor", actor),),
        )
        return started.rollout

    async def get(self, id_: str = "") -> rollout_pb2.Rollout:
        """Read a rollout."""
        got = await self.service.rollouts.GetRollout(
            pb.GetRolloutRequest(tenant=TENANT, rollout_id=id_), timeout=TIMEOUT_S
        )
        return got.rollout

    async def until(
        self, holds: Callable[[rollout_pb2.Rollout], bool], id_: str = ""
    ) -> rollout_pb2.Rollout:
        """Watch the rollout until something holds."""
        watching = self.service.rollouts.WatchRollout(
            pb.WatchRolloutRequest(tenant=TENANT, rollout_id=id_), timeout=TIMEOUT_S
        )
        async for seen in watching:
            if holds(seen.rollout):
                watching.cancel()
                return seen.rollout
        raise AssertionError("the rollout ended before it held")

    async def decide(self, subject: str = "User::alice") -> decision_pb2.Decision:
        """Ask one request."""
        answer = await self.service.evaluate.Evaluate(request(subject), timeout=TIMEOUT_S)
        return answer.decision

    async def traffic(self, count: int = 100) -> list[decision_pb2.Decision]:
        """Ask as many subjects."""
        return [await self.decide(f"User::u{number}") for number in range(count)]


def canary(*shares: int, bake_s: int = 60, **fields: Any) -> rollout_pb2.RolloutPlan:
    """Plan a canary."""
    steps = [rollout_pb2.CanaryStep(share_percent=share) for share in shares]
    for step in steps:
        step.bake_time.FromTimedelta(datetime.timedelta(seconds=bake_s))
    return rollout_pb2.RolloutPlan(canary=rollout_pb2.CanaryStrategy(steps=steps, **fields))


def unguarded(*shares: int) -> rollout_pb2.RolloutPlan:
    """Plan a canary that denials do not end."""
    plan = canary(*shares)
    plan.guards.guards.add(kind=S.GUARD_KIND_DENY_RATE_CHANGE, disabled=True)
    return plan


def scheduled(time: datetime.datetime) -> rollout_pb2.RolloutPlan:
    """Plan to begin at a time."""
    plan = rollout_pb2.RolloutPlan()
    plan.scheduled.start_time.FromDatetime(time)
    return plan


def manual(*groups: str, deadline: datetime.datetime | None = None) -> rollout_pb2.RolloutPlan:
    """Plan to wait for a yes."""
    plan = rollout_pb2.RolloutPlan(manual=rollout_pb2.ManualStrategy(approver_groups=groups))
    if deadline is not None:
        plan.manual.deadline.FromDatetime(deadline)
    return plan


@pytest.fixture(name="rolling", params=["memory", "sqlite"])
async def rolling_fixture(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Rolling]:
    clock = ManualClock()
    path = tmp_path / "placet.db" if request.param == "sqlite" else None
    async with running_service(path=path, clock=clock, rollouts=AT_ONCE) as service:
        published = await service.publish(ALLOW)
        yield Rolling(service, clock, published.revision)


def has_share(share: int, rollout: rollout_pb2.Rollout) -> bool:
    return rollout.share_percent == share


async def refused(call: Awaitable[Any]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as raised:
        await call
    return raised.value


async def newest_message(rolling: Rolling) -> str:
    """Return what the tenant's history says of the newest commit."""
    history = await rolling.service.policy.History(
        policy_service_pb2.HistoryRequest(tenant=TENANT, page_size=1), timeout=TIMEOUT_S
    )
    return history.revisions[0].message


# ------------------------------------------------------------------------------ the canary


async def test_a_good_candidate_goes_all_the_way(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS, plan=canary(10, 50, 100))
    assert (rollout.state, rollout.share_percent, rollout.step) == (RUNNING, 10, 0)
    assert rollout.stable_revision == rolling.stable
    assert rollout.candidate_revision > rolling.stable

    reached: list[set[str]] = []
    for share in (10, 50, 100):
        await rolling.until(partial(has_share, share))
        decisions = await rolling.traffic()
        assert {decision.outcome for decision in decisions} == {decision_pb2.OUTCOME_ALLOW}
        for decision in decisions:
            of_candidate = decision.rollout_variant == "candidate"
            assert of_candidate or decision.rollout_variant == "stable"
            expected = rollout.candidate_revision if of_candidate else rollout.stable_revision
            assert decision.revision == expected
        reached.append(
            {
                f"u{number}"
                for number, decision in enumerate(decisions)
                if decision.rollout_variant == "candidate"
            }
        )
        await rolling.until(
            lambda it: all(reading.status == S.GUARD_STATUS_HOLDS for reading in it.readings)
        )
        rolling.clock.advance(61)
    ended = await rolling.until(lambda it: it.state == COMPLETED)

    first, second, third = reached
    assert first < second < third
    assert len(third) == 100
    assert ended.share_percent == 100
    decision = await rolling.decide()
    assert decision.rollout_variant == ""
    assert decision.revision == int(ended.etag)


async def test_a_step_waits_for_its_time_and_its_samples(rolling: Rolling) -> None:
    await rolling.start(HARMLESS, plan=canary(10, 100))

    rolling.clock.advance(61)
    waiting = await rolling.get()
    assert [reading.status for reading in waiting.readings] == [
        S.GUARD_STATUS_WAITING,
        S.GUARD_STATUS_WAITING,
        S.GUARD_STATUS_WAITING,
        S.GUARD_STATUS_HOLDS,
    ]
    assert waiting.share_percent == 10

    await rolling.traffic(40)
    assert (await rolling.until(lambda it: it.share_percent == 100)).step == 1


async def test_a_candidate_that_denies_is_rolled_back_with_a_report(rolling: Rolling) -> None:
    rollout = await rolling.start(DENY, plan=canary(10, 100))

    await rolling.traffic()
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    report = ended.rollback
    assert report.cause == S.ROLLBACK_CAUSE_GUARD
    assert (report.step, report.share_percent) == (0, 10)
    assert report.breach.guard.kind == S.GUARD_KIND_DENY_RATE_CHANGE
    assert report.breach.guard.threshold == pytest.approx(0.05)
    assert (report.breach.stable_rate, report.breach.candidate_rate) == (0, 1)
    assert report.breach.samples >= 20
    assert report.changed_answers >= 20
    example = report.examples[0]
    assert example.request.tenant == TENANT
    assert example.request.subject.type == "User"
    assert example.stable.decision.outcome == decision_pb2.OUTCOME_ALLOW
    assert example.candidate.decision.outcome == decision_pb2.OUTCOME_DENY
    assert [reason.policy_id for reason in example.candidate.decision.reasons] == ["stop"]
    assert 1 <= len(report.examples) <= 20
    for decision in await rolling.traffic():
        assert decision.outcome == decision_pb2.OUTCOME_ALLOW
        assert (decision.revision, decision.rollout_variant) == (rolling.stable, "")
    assert (await rolling.get(rollout.id)).rollback == report


async def test_a_candidate_whose_policies_fail_is_rolled_back(rolling: Rolling) -> None:
    failing = policy("typo", "permit(principal, action, resource) when { resource.ownr == 1 };")
    await rolling.start(failing)

    await rolling.traffic()
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    assert ended.rollback.breach.guard.kind == S.GUARD_KIND_ERROR_RATE
    assert ended.rollback.breach.measured == 1


async def test_a_disabled_guard_measures_and_lets_it_go_on(rolling: Rolling) -> None:
    await rolling.start(DENY, plan=unguarded(10, 100))

    await rolling.traffic()
    rolling.clock.advance(61)
    seen = await rolling.until(lambda it: it.share_percent == 100)

    assert seen.state == RUNNING


async def test_a_canary_by_node_gives_each_node_one_variant(rolling: Rolling) -> None:
    await rolling.start(HARMLESS, plan=canary(50, 100, unit=S.CANARY_UNIT_NODE))

    assert len({decision.rollout_variant for decision in await rolling.traffic(30)}) == 1


async def test_a_batch_splits_its_subjects_as_single_requests_do(rolling: Rolling) -> None:
    await rolling.start(HARMLESS, plan=canary(50, 100))
    single = [decision.revision for decision in await rolling.traffic(30)]
    batch = evaluate_pb2.EvaluateBatchRequest(tenant=TENANT)
    for number in range(30):
        asked = request(f"User::u{number}")
        batch.items.add(subject=asked.subject, action=asked.action, resource=asked.resource)

    for _ in range(2):  # the second time from the cache
        answer = await rolling.service.evaluate.EvaluateBatch(batch, timeout=TIMEOUT_S)
        assert [result.decision.revision for result in answer.results] == single
    assert len(set(single)) == 2


async def test_the_requests_of_a_batch_are_measured_too(rolling: Rolling) -> None:
    """They have no tenant of their own, for want of which the first one ended all measuring.

    And with it every rollout on that node: no step was taken any more, and none taken back.
    """
    await rolling.start(DENY, plan=canary(10, 100))
    await rolling.until(lambda it: it.nodes.acknowledged == 1)
    batch = evaluate_pb2.EvaluateBatchRequest(tenant=TENANT)
    for number in range(40):
        asked = request(f"User::u{number}")
        batch.items.add(subject=asked.subject, action=asked.action, resource=asked.resource)

    await rolling.service.evaluate.EvaluateBatch(batch, timeout=TIMEOUT_S)
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    assert ended.rollback.breach.guard.kind == S.GUARD_KIND_DENY_RATE_CHANGE
    assert ended.rollback.examples[0].request.tenant == TENANT


# --------------------------------------------------------------------- scheduled and manual


async def test_a_scheduled_rollout_begins_at_its_time(rolling: Rolling) -> None:
    start = rolling.clock.now() + datetime.timedelta(hours=1)
    rollout = await rolling.start(DENY, plan=scheduled(start))
    assert rollout.state == S.ROLLOUT_STATE_SCHEDULED
    assert rollout.next_step_time.ToDatetime(datetime.UTC) == start
    assert (await rolling.decide()).outcome == decision_pb2.OUTCOME_ALLOW

    rolling.clock.advance(3600)
    await rolling.until(lambda it: it.state == COMPLETED)

    assert (await rolling.decide()).outcome == decision_pb2.OUTCOME_DENY


async def test_the_author_cannot_approve_and_another_can(rolling: Rolling) -> None:
    rollout = await rolling.start(DENY, plan=manual("leads"))
    assert rollout.state == S.ROLLOUT_STATE_AWAITING_APPROVAL
    asked = pb.ApproveRolloutRequest(tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag)

    def approve(*metadata: tuple[str, str]) -> Awaitable[pb.ApproveRolloutResponse]:
        return rolling.service.rollouts.ApproveRollout(asked, timeout=TIMEOUT_S, metadata=metadata)

    for who in (
        (),
        (("placet-actor", "ann"), ("placet-groups", "leads")),
        (("placet-actor", "bob"),),
        (("placet-actor", "bob"), ("placet-groups", "interns,ops")),
    ):
        error = await refused(approve(*who))
        assert error.code() is grpc.StatusCode.PERMISSION_DENIED, who
        assert info(error).reason == "APPROVAL_REFUSED"
    approved = await approve(("placet-actor", "bob"), ("placet-groups", "ops, leads"))

    assert (approved.rollout.state, approved.rollout.approver) == (COMPLETED, "bob")
    assert (await rolling.until(lambda it: it.state == COMPLETED)).author == "ann"


async def test_what_nobody_approves_in_time_is_undone(rolling: Rolling) -> None:
    deadline = rolling.clock.now() + datetime.timedelta(hours=1)
    await rolling.start(DENY, plan=manual(deadline=deadline))

    rolling.clock.advance(3601)
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    assert ended.rollback.cause == S.ROLLBACK_CAUSE_NOT_APPROVED
    assert (await newest_message(rolling)).endswith("rolled back: nobody approved it in time")


@pytest.mark.parametrize(("actor", "who"), [("bob", "by bob"), ("", "by somebody")])
async def test_the_history_says_that_a_person_took_it_back(
    rolling: Rolling, actor: str, who: str
) -> None:
    """Of somebody who gave neither name nor message it said that nobody had approved in time."""
    rollout = await rolling.start(HARMLESS)

    await rolling.service.rollouts.RollBack(
        pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id),
        timeout=TIMEOUT_S,
        metadata=(("placet-actor", actor),) if actor else (),
    )

    assert await newest_message(rolling) == f"rollout {rollout.id}: rolled back: {who}"


async def test_an_immediate_rollout_is_completed_at_once(rolling: Rolling) -> None:
    rollout = await rolling.start(DENY, plan=rollout_pb2.RolloutPlan())

    assert (rollout.state, rollout.share_percent) == (COMPLETED, 100)
    assert (await rolling.decide()).revision == rollout.candidate_revision


# ---------------------------------------------------------------------------------- people


async def test_a_person_pauses_resumes_promotes_and_rolls_back(rolling: Rolling) -> None:
    rollouts = rolling.service.rollouts
    rollout = await rolling.start(HARMLESS, plan=canary(10, 50, 100))
    named: dict[str, Any] = {"tenant": TENANT, "rollout_id": rollout.id}

    paused = (
        await rollouts.PauseRollout(pb.PauseRolloutRequest(**named), timeout=TIMEOUT_S)
    ).rollout
    assert (paused.state, paused.share_percent) == (PAUSED, 10)
    await rolling.traffic(40)
    rolling.clock.advance(1000)
    assert (await rolling.get()).state == PAUSED

    resumed = (
        await rollouts.ResumeRollout(pb.ResumeRolloutRequest(**named), timeout=TIMEOUT_S)
    ).rollout
    assert resumed.state == RUNNING
    assert resumed.step_time.ToDatetime(datetime.UTC) == rolling.clock.now()

    promoted = (
        await rollouts.PromoteRollout(
            pb.PromoteRolloutRequest(**named, etag=resumed.etag), timeout=TIMEOUT_S
        )
    ).rollout
    assert (promoted.state, promoted.share_percent) == (RUNNING, 50)
    stale = await refused(
        rollouts.PromoteRollout(
            pb.PromoteRolloutRequest(**named, etag=resumed.etag), timeout=TIMEOUT_S
        )
    )
    assert (stale.code(), info(stale).reason) == (grpc.StatusCode.ABORTED, "ROLLOUT_CHANGED")

    back = (
        await rollouts.RollBack(
            pb.RollBackRequest(**named, message="not today"),
            timeout=TIMEOUT_S,
            metadata=(("placet-actor", "bob"),),
        )
    ).rollout
    assert back.state == ROLLED_BACK
    assert back.rollback.cause == S.ROLLBACK_CAUSE_PERSON
    assert (back.rollback.actor, back.rollback.message) == ("bob", "not today")
    again = await refused(rollouts.RollBack(pb.RollBackRequest(**named), timeout=TIMEOUT_S))
    assert again.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(again).reason == "ROLLOUT_STATE"


async def test_what_was_rolled_back_decides_nothing_when_the_answer_comes(rolling: Rolling) -> None:
    for number in range(20):
        rollout = await rolling.start(DENY, plan=unguarded(100))
        await rolling.service.rollouts.RollBack(
            pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id), timeout=TIMEOUT_S
        )
        decision = await rolling.decide(f"User::u{number}")
        assert (decision.revision, decision.rollout_variant) == (rolling.stable, "")


async def test_a_step_that_was_due_does_not_undo_what_a_person_did(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The driver looks around before it takes a step, and somebody may be faster."""
    rollout = await rolling.start(HARMLESS, plan=canary(10, 100))
    await rolling.traffic(40)
    await rolling.until(lambda it: it.readings[0].samples >= 20)
    nodes, is_due = Overview.nodes, asyncio.Event()
    done = asyncio.Event()

    async def interrupted(self: Overview) -> list[Standing]:
        found = await nodes(self)
        if is_due.is_set():
            is_due.clear()
            await rolling.service.rollouts.RollBack(
                pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id), timeout=TIMEOUT_S
            )
            done.set()
        return found

    monkeypatch.setattr(Overview, "nodes", interrupted)
    is_due.set()
    rolling.clock.advance(61)
    await asyncio.wait_for(done.wait(), TIMEOUT_S)
    published = await rolling.service.publish(DENY)

    ended = await rolling.get(rollout.id)
    assert ended.state == ROLLED_BACK
    assert published.revision == int(ended.etag) + 1


async def test_what_is_in_memory_is_not_read_from_the_store(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A tenant may have a hundred thousand entities."""
    rollout = await rolling.start(HARMLESS)
    named: dict[str, Any] = {"tenant": TENANT, "rollout_id": rollout.id}

    async def read(*arguments: object, **options: object) -> ItemSet:
        raise AssertionError("a whole set was read from the store")

    for kind in (MemoryStore, SqliteStore):
        monkeypatch.setattr(kind, "read", read)
    rollouts = rolling.service.rollouts
    await rollouts.PauseRollout(pb.PauseRolloutRequest(**named), timeout=TIMEOUT_S)
    await rollouts.ResumeRollout(pb.ResumeRolloutRequest(**named), timeout=TIMEOUT_S)
    listed = await rollouts.ListNodeRevisions(
        pb.ListNodeRevisionsRequest(tenant=TENANT), timeout=TIMEOUT_S
    )

    assert (await rolling.get()).state == RUNNING
    assert [node.share_percent for node in listed.nodes] == [10]


async def test_promoting_all_steps_completes(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)

    promoted = await rolling.service.rollouts.PromoteRollout(
        pb.PromoteRolloutRequest(
            tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag, all_steps=True
        ),
        timeout=TIMEOUT_S,
    )

    assert promoted.rollout.state == COMPLETED


async def test_only_one_rollout_and_nothing_else_meanwhile(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)

    for call in (rolling.start(DENY), rolling.service.publish(DENY)):
        error = await refused(call)
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert info(error).reason == "ROLLOUT_UNDER_WAY"
        assert info(error).metadata["rollout_id"] == rollout.id
    other = await rolling.service.publish(DENY, tenant="other")
    assert other.revision > 0


async def test_repeats_of_a_request_do_nothing_more(rolling: Rolling) -> None:
    first = await rolling.start(HARMLESS, request_id="once")
    second = await rolling.start(HARMLESS, request_id="once")
    assert first.id == second.id
    asked = pb.PromoteRolloutRequest(
        tenant=TENANT, rollout_id=first.id, etag=first.etag, request_id="twice"
    )

    answers = [
        await rolling.service.rollouts.PromoteRollout(asked, timeout=TIMEOUT_S) for _ in range(2)
    ]

    assert [answer.rollout.share_percent for answer in answers] == [50, 50]


async def test_a_completed_rollout_is_undone_by_restoring(rolling: Rolling) -> None:
    await rolling.start(DENY, plan=rollout_pb2.RolloutPlan())

    restored = await rolling.service.rollouts.StartRollout(
        pb.StartRolloutRequest(tenant=TENANT, restore_revision=rolling.stable), timeout=TIMEOUT_S
    )

    assert restored.rollout.state == COMPLETED
    assert (await rolling.decide()).outcome == decision_pb2.OUTCOME_ALLOW


async def test_publishing_with_a_plan_starts_a_rollout(rolling: Rolling) -> None:
    published = await rolling.service.policy.Publish(
        policy_service_pb2.PublishRequest(
            tenant=TENANT, change_set=policy_pb2.ChangeSet(policies=[DENY]), rollout=canary(10, 100)
        ),
        timeout=TIMEOUT_S,
    )

    rollout = await rolling.get()
    assert (published.rollout_id, published.revision) == (rollout.id, rollout.candidate_revision)
    assert (published.upserts, published.deletes) == (1, 0)


async def test_a_diff_to_the_candidate_s_revision_shows_the_candidate(rolling: Rolling) -> None:
    """It showed nothing: the revision that brings a candidate does not change what is stored."""
    rollout = await rolling.start(DENY, plan=unguarded(10, 100))
    paused = await rolling.service.rollouts.PauseRollout(
        pb.PauseRolloutRequest(tenant=TENANT, rollout_id=rollout.id), timeout=TIMEOUT_S
    )

    async def changed(start: int, stop: int) -> list[str]:
        request = policy_service_pb2.DiffRequest(
            tenant=TENANT, from_revision=start, to_revision=stop
        )
        diff = await rolling.service.policy.Diff(request, timeout=TIMEOUT_S)
        return [change.after.policy.id for change in diff.diffs]

    candidate, step = rollout.candidate_revision, int(paused.rollout.etag)
    assert await changed(rolling.stable, candidate) == ["stop"]
    # A step changes nothing, and what is newest is what is stored.
    assert await changed(candidate, step) == []
    assert await changed(rolling.stable, step) == []
    assert await changed(rolling.stable, 0) == []


async def test_rollouts_are_listed_newest_first(rolling: Rolling) -> None:
    first = await rolling.start(DENY, plan=rollout_pb2.RolloutPlan(), message="one")
    second = await rolling.start(HARMLESS, message="two")

    async def listed(**fields: Any) -> list[str]:
        answer = await rolling.service.rollouts.ListRollouts(
            pb.ListRolloutsRequest(tenant=TENANT, **fields), timeout=TIMEOUT_S
        )
        return [rollout.id for rollout in answer.rollouts]

    assert await listed() == [second.id, first.id]
    assert await listed(states=[COMPLETED]) == [first.id]
    assert await listed(page_size=1) == [second.id]


async def test_a_rollout_is_found_however_many_came_after_it(
    rolling: Rolling, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(controller, "_PAGE", 2)
    at_once = rollout_pb2.RolloutPlan()
    texts = [ALLOW.cedar, DENY.cedar] * 3
    ids = [(await rolling.start(policy("x", text), plan=at_once)).id for text in texts]

    listed = await rolling.service.rollouts.ListRollouts(
        pb.ListRolloutsRequest(tenant=TENANT), timeout=TIMEOUT_S
    )
    assert [rollout.id for rollout in listed.rollouts] == ids[::-1]
    for id_ in ids:
        assert (await rolling.get(id_)).id == id_
    assert (await refused(rolling.get("none"))).code() is grpc.StatusCode.NOT_FOUND


async def test_the_rollout_of_the_platform_reaches_every_tenant(rolling: Rolling) -> None:
    started = await rolling.service.rollouts.StartRollout(
        pb.StartRolloutRequest(
            change_set=policy_pb2.ChangeSet(
                policies=[policy("stop", "forbid(principal, action, resource);")]
            ),
            plan=unguarded(50, 100),
        ),
        timeout=TIMEOUT_S,
    )

    seen = {decision.rollout_variant: decision for decision in await rolling.traffic(60)}
    assert seen["stable"].outcome == decision_pb2.OUTCOME_ALLOW
    assert seen["candidate"].outcome == decision_pb2.OUTCOME_DENY
    assert seen["candidate"].revision == started.rollout.candidate_revision


async def test_explain_shows_the_variant_that_decides(rolling: Rolling) -> None:
    await rolling.start(DENY, plan=unguarded(50, 100))
    for number in range(20):
        asked = request(f"User::u{number}")
        decided = await rolling.service.evaluate.Evaluate(asked, timeout=TIMEOUT_S)
        explained = await rolling.service.evaluate.Explain(
            evaluate_pb2.ExplainRequest(request=asked), timeout=TIMEOUT_S
        )
        assert explained.decision.outcome == decided.decision.outcome
        assert explained.decision.rollout_variant == decided.decision.rollout_variant


# ----------------------------------------------------------------------------- how often


class _Readings:
    """Counts how often notices are read, and ticks of the driver."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.topics: Counter[str] = Counter()
        self.ticked: asyncio.Queue[Counter[str]] = asyncio.Queue()
        notices, tick = MemoryStore.notices, RolloutDriver.tick

        async def counted(store: MemoryStore, topic: str) -> list[Notice]:
            self.topics[topic] += 1
            return await notices(store, topic)

        async def ticked(driver: RolloutDriver) -> None:
            before = self.topics.copy()
            await tick(driver)
            self.ticked.put_nowait(self.topics - before)

        monkeypatch.setattr(MemoryStore, "notices", counted)
        monkeypatch.setattr(RolloutDriver, "tick", ticked)


async def test_notices_are_read_once_a_tick(monkeypatch: pytest.MonkeyPatch) -> None:
    """And not once for each rollout, four times a second."""
    async with running_service(rollouts=AT_ONCE) as service:
        for tenant in ("one", "two", "three"):
            await service.publish(ALLOW, tenant=tenant)
            await service.rollouts.StartRollout(
                pb.StartRolloutRequest(
                    tenant=tenant,
                    change_set=policy_pb2.ChangeSet(policies=[HARMLESS]),
                    plan=canary(),
                ),
                timeout=TIMEOUT_S,
            )
        readings = _Readings(monkeypatch)
        async with asyncio.timeout(TIMEOUT_S):
            # The first may have begun before it was counted.
            seen = [await readings.ticked.get() for _ in range(3)][1:]

    assert seen == [Counter({NODES: 1, SAMPLES: 1})] * 2


async def test_a_list_reads_notices_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of a hundred rollouts that were taken back read the reports of all."""
    never = replace(AT_ONCE, tick_s=1000)
    async with running_service(rollouts=never) as service:
        rolling = Rolling(service, ManualClock(), (await service.publish(ALLOW)).revision)
        for _ in range(3):
            rollout = await rolling.start(HARMLESS)
            asked = pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id)
            await service.rollouts.RollBack(asked, timeout=TIMEOUT_S)
        await rolling.start(HARMLESS)
        readings = _Readings(monkeypatch)
        listed = await service.rollouts.ListRollouts(
            pb.ListRolloutsRequest(tenant=TENANT), timeout=TIMEOUT_S
        )

    assert [rollout.state for rollout in listed.rollouts] == [RUNNING, *[ROLLED_BACK] * 3]
    # Control nodes read what the others know of nodes, meanwhile.
    of_rollouts = {topic: readings.topics[topic] for topic in (NODES, SAMPLES, REPORTS)}
    assert of_rollouts == {NODES: 1, SAMPLES: 1, REPORTS: 1}


# -------------------------------------------------------------------------- who runs what


async def test_who_runs_what(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)
    settled = await rolling.until(lambda it: it.nodes.pending == 0 and it.nodes.acknowledged > 0)
    assert settled.nodes.acknowledged == 1

    listed = await rolling.service.rollouts.ListNodeRevisions(
        pb.ListNodeRevisionsRequest(tenant=TENANT), timeout=TIMEOUT_S
    )

    (node,) = listed.nodes
    assert (node.node, node.region) == ("test-node", "local")
    assert node.revision == listed.revision == int(rollout.etag)
    assert (node.candidate_revision, node.share_percent) == (rollout.candidate_revision, 10)
    assert node.lag.ToSeconds() == 0
    assert node.HasField("propagation")


async def test_a_node_that_rejects_the_candidate_stops_the_rollout(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)
    rejection = rollout_pb2.RevisionRejection(
        tenant=TENANT,
        revision=rollout.candidate_revision,
        reason="POLICY_SYNTAX",
        message="this node is older",
    )

    await rolling.service.rollouts.AcknowledgeRevision(
        pb.AcknowledgeRevisionRequest(
            acknowledgements=[
                rollout_pb2.RevisionAcknowledgement(
                    node="edge-1",
                    region="eu-west",
                    revision=rollout.candidate_revision,
                    rejections=[rejection],
                )
            ]
        ),
        timeout=TIMEOUT_S,
    )
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    assert ended.rollback.breach.guard.kind == S.GUARD_KIND_REJECTIONS
    assert [(it.node, it.region, it.reason) for it in ended.rollback.rejections] == [
        ("edge-1", "eu-west", "POLICY_SYNTAX")
    ]


async def test_a_node_that_measures_goes_on_saying_where_it_stands(rolling: Rolling) -> None:
    await rolling.start(HARMLESS)
    for _ in range(6):
        await rolling.traffic(5)
        rolling.clock.advance(4)
        await rolling.until(lambda it: it.nodes.acknowledged == 1)


class _OlderCompiler(Compiler):
    """Does not know how to compile a policy called ``newer``, as an older version might not."""

    def compile(
        self, platform: ItemSet, own: ItemSet, base: CompiledItems | None = None
    ) -> Compilation:
        if any(key.id == "newer" for key in own.items):
            problem = Problem(severity=Severity.ERROR, reason="POLICY_SYNTAX", message="too new")
            return Compilation(None, (problem,))
        return super().compile(platform, own, base)


async def test_a_node_that_cannot_compile_the_candidate_never_decides_by_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "placet.db"
    newer = policy("newer", "forbid(principal, action, resource);")
    # So that what stops it is the node, and not what it denies.
    plan = unguarded(100)
    quick = RolloutsConfig(tick_s=0.01, report_s=0.01, shadow_percent=100)
    async with running_service(path=path, rollouts=quick, node="new") as new:
        monkeypatch.setattr("placet_server.app.Compiler", _OlderCompiler)
        async with running_service(path=path, rollouts=quick, node="old") as old:
            await new.publish(ALLOW)
            started = await new.rollouts.StartRollout(
                pb.StartRolloutRequest(
                    tenant=TENANT,
                    change_set=policy_pb2.ChangeSet(policies=[newer]),
                    plan=plan,
                ),
                timeout=TIMEOUT_S,
            )
            candidate = started.rollout.candidate_revision
            by_old = await old.evaluate.Evaluate(request(min_revision=candidate), timeout=TIMEOUT_S)
            ended = await Rolling(old, ManualClock(), 0).until(lambda it: it.state == ROLLED_BACK)

    assert by_old.decision.outcome == decision_pb2.OUTCOME_ALLOW
    assert by_old.decision.rollout_variant == ""
    assert ended.rollback.breach.guard.kind == S.GUARD_KIND_REJECTIONS
    assert [(it.node, it.reason, it.message) for it in ended.rollback.rejections] == [
        ("old", "POLICY_SYNTAX", "too new")
    ]


async def test_samples_of_other_nodes_count(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)
    samples = rollout_pb2.RolloutSamples(
        rollout_id=rollout.id,
        node="edge-1",
        instance="a",
        decisions=100,
        shadowed=100,
        candidate_denials=90,
    )

    for _ in range(2):  # counts are totals: a repeat changes nothing
        await rolling.service.rollouts.ReportRolloutSamples(
            pb.ReportRolloutSamplesRequest(samples=[samples]), timeout=TIMEOUT_S
        )
    ended = await rolling.until(lambda it: it.state == ROLLED_BACK)

    assert ended.rollback.breach.samples == 100
    assert ended.rollback.breach.measured == pytest.approx(0.9)


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("plan", "fields"),
    [
        (canary(50, 10, 100), {"plan.canary.steps"}),
        (canary(10, 50), {"plan.canary.steps"}),
        (canary(0, 100), {"plan.canary.steps[0].share_percent"}),
        (canary(10, 100, bake_s=10**8), {f"plan.canary.steps[{i}].bake_time" for i in (0, 1)}),
        (scheduled(datetime.datetime(2020, 1, 1)), {"plan.scheduled.start_time"}),  # noqa: DTZ001
        (scheduled(datetime.datetime(2030, 1, 1)), {"plan.scheduled.start_time"}),  # noqa: DTZ001
        (
            rollout_pb2.RolloutPlan(scheduled=rollout_pb2.ScheduledStrategy()),
            {"plan.scheduled.start_time"},
        ),
        (
            manual(deadline=datetime.datetime(2020, 1, 1)),  # noqa: DTZ001
            {"plan.manual.deadline"},
        ),
        (
            rollout_pb2.RolloutPlan(guards=rollout_pb2.RolloutGuards(shadow_percent=0)),
            {"plan.guards.shadow_percent"},
        ),
        (
            rollout_pb2.RolloutPlan(
                guards=rollout_pb2.RolloutGuards(
                    guards=[
                        rollout_pb2.Guard(kind=S.GUARD_KIND_ERROR_RATE, threshold=-1),
                        rollout_pb2.Guard(kind=S.GUARD_KIND_ERROR_RATE, min_samples=-1),
                    ]
                )
            ),
            {
                "plan.guards.guards[0].threshold",
                "plan.guards.guards[1].kind",
                "plan.guards.guards[1].min_samples",
            },
        ),
    ],
)
async def test_a_bad_plan_is_refused(
    rolling: Rolling, plan: rollout_pb2.RolloutPlan, fields: set[str]
) -> None:
    error = await refused(rolling.start(HARMLESS, plan=plan))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated_fields(error) == fields
    assert (await refused(rolling.get())).code() is grpc.StatusCode.NOT_FOUND


async def test_publishing_with_a_plan_reports_all_that_is_bad_together(rolling: Rolling) -> None:
    """The plan was read only when all else was good: whoever mended that got the next errors."""
    error = await refused(
        rolling.service.policy.Publish(
            policy_service_pb2.PublishRequest(
                tenant=TENANT,
                change_set=policy_pb2.ChangeSet(policies=[DENY]),
                rollout=canary(50, 10, 100),
                message="x" * 1025,
                request_id="x" * 129,
                expected_revision=-1,
            ),
            timeout=TIMEOUT_S,
        )
    )

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violated_fields(error) == {
        "rollout.canary.steps",
        "message",
        "request_id",
        "expected_revision",
    }


async def test_a_candidate_that_does_not_compile_is_never_stored(rolling: Rolling) -> None:
    error = await refused(rolling.start(policy("bad", "permit(")))

    assert error.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert (await refused(rolling.get())).code() is grpc.StatusCode.NOT_FOUND


async def test_a_candidate_that_changes_nothing_is_refused(rolling: Rolling) -> None:
    error = await refused(rolling.start(ALLOW))

    assert info(error).reason == "NOTHING_TO_CHANGE"


async def test_watchers_are_many_and_all_see_the_end(rolling: Rolling) -> None:
    rollout = await rolling.start(HARMLESS)
    watchers = [
        asyncio.create_task(rolling.until(lambda it: it.state == ROLLED_BACK)) for _ in range(10)
    ]

    await rolling.service.rollouts.RollBack(
        pb.RollBackRequest(tenant=TENANT, rollout_id=rollout.id), timeout=TIMEOUT_S
    )

    assert {ended.state for ended in await asyncio.gather(*watchers)} == {ROLLED_BACK}
