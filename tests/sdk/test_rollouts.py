"""Rollouts by both clients, against a real server."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, aclosing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import placet
from bench.wires import wire_to
from placet import (
    Canary,
    CanaryUnit,
    ChangeSet,
    Guard,
    GuardKind,
    GuardStatus,
    Immediate,
    Manual,
    Outcome,
    Policy,
    RollbackCause,
    Rollout,
    RolloutState,
    Scheduled,
)
from placet_server.app import Node
from placet_server.config import RolloutsConfig
from placet_server.testing import running_server
from tests.sdk.test_client import Asking

TENANT = "acme"
ALLOW = Policy(id="all", cedar="permit(principal, action, resource);")
STOP = Policy(id="stop", cedar="forbid(principal, action, resource);")
EDIT = Policy(id="edit", cedar='permit(principal, action == Action::"edit", resource);')
HOUR = timedelta(hours=1)
AT_ONCE = RolloutsConfig(tick_s=0.01, min_samples=20, shadow_percent=100, shadow_per_second=10_000)
_SOON_S = 30.0

As = Callable[..., Awaitable[Asking]]


@pytest.fixture(name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server(rollouts=AT_ONCE) as node:
        yield node


@pytest.fixture(name="as_", params=["threads", "tasks"])
async def as_fixture(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[As]:
    """Give clients by who they say they are, all by threads or all by tasks."""
    async with AsyncExitStack() as stack:

        async def as_(
            actor: str = "", groups: tuple[str, ...] = (), *, address: str = node.address
        ) -> Asking:
            options: dict[str, Any] = {"tenant": TENANT, "actor": actor, "groups": groups}
            if request.param == "threads":
                client = placet.Client(address, timeout_s=10, **options)
                return Asking(stack.enter_context(client))
            aio_client = placet.aio.Client(address, timeout_s=10, **options)
            return Asking(await stack.enter_async_context(aio_client))

        yield as_


@pytest.fixture(name="ask")
async def ask_fixture(as_: As) -> Asking:
    """Ann, for a tenant that has a policy."""
    ask = await as_("ann")
    await ask("publish", ChangeSet(policies=[ALLOW]))
    return ask


async def traffic(ask: Asking, count: int = 100) -> list[placet.Decision]:
    return [
        await ask("evaluate", ("User", f"u{number}"), "view", ("Document", "one"))
        for number in range(count)
    ]


def canary(*shares: int, bake_time: timedelta = timedelta(), **more: Any) -> Canary:
    return Canary(steps=[(share, bake_time) for share in shares], **more)


# ------------------------------------------------------------------------------ the canary


async def test_a_good_candidate_is_watched_all_the_way(node: Node, ask: Asking) -> None:
    started = await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=canary(10, 100))
    rollout = started.rollout
    watching = asyncio.create_task(ask("watch_rollout", rollout.id))
    while (await ask("get_rollout")).state is RolloutState.RUNNING:
        await traffic(ask, 40)

    seen: list[Rollout] = await asyncio.wait_for(watching, _SOON_S)

    assert (RolloutState.RUNNING, 0, 10) == (rollout.state, rollout.step, rollout.share_percent)
    assert ["PERMIT_REDUNDANT"] == [warning.reason for warning in started.warnings]
    assert ("ann", TENANT, 1) == (rollout.author, rollout.tenant, rollout.stable_revision)
    assert rollout.candidate_revision > rollout.stable_revision
    assert canary(10, 100).steps == list(rollout.plan.steps)
    assert {10, 100} >= {one.share_percent for one in seen} >= {100}
    assert RolloutState.COMPLETED is seen[-1].state
    assert [RolloutState.COMPLETED] == [one.state for one in seen if one.state.is_final]
    assert all(one.server_time for one in seen)
    running = next((one for one in seen if one.nodes.acknowledged), None)
    assert running is None or {kind for kind in GuardKind if kind.value} == {
        reading.guard.kind for reading in running.readings
    }


async def test_a_candidate_that_denies_is_rolled_back_with_a_report(ask: Asking) -> None:
    await ask("start_rollout", ChangeSet(policies=[STOP]), plan=canary(10, 100, bake_time=HOUR))
    watching = asyncio.create_task(ask("watch_rollout"))
    await traffic(ask)

    ended = (await asyncio.wait_for(watching, _SOON_S))[-1]

    assert RolloutState.ROLLED_BACK is ended.state
    report = ended.rollback
    assert (RollbackCause.GUARD, 0, 10) == (report.cause, report.step, report.share_percent)
    breach = report.breach
    assert (GuardKind.DENY_RATE_CHANGE, 0.05) == (breach.guard.kind, breach.guard.threshold)
    assert GuardStatus.BREACHED is breach.status
    assert (0.0, 1.0, 1.0) == (breach.stable_rate, breach.candidate_rate, breach.measured)
    assert 20 <= breach.samples <= report.changed_answers <= 100
    example = report.examples[0]
    assert (TENANT, "User", "view") == (
        example.tenant,
        example.request.subject.type,
        example.request.action.name,
    )
    assert (Outcome.ALLOW, Outcome.DENY) == (example.stable.outcome, example.candidate.outcome)
    assert ["stop"] == [reason.policy_id for reason in example.candidate.reasons]
    assert ended == await ask("get_rollout", ended.id)
    assert {1} == {decision.revision for decision in await traffic(ask, 5)}


async def test_publishing_with_a_plan_starts_a_rollout(ask: Asking) -> None:
    plan = canary(
        50,
        100,
        bake_time=HOUR,
        unit=CanaryUnit.NODE,
        guards=[Guard(GuardKind.ERROR_RATE, 0.5, 7), Guard(GuardKind.LATENCY, disabled=True)],
        shadow_percent=12.5,
    )

    published = await ask("publish", ChangeSet(policies=[EDIT]), rollout=plan, message="why")
    rollout = await ask("get_rollout")
    at_once = await ask("publish", ChangeSet(policies=[ALLOW]), tenant="other", rollout=Immediate())

    assert (published.rollout_id, published.revision) == (rollout.id, rollout.candidate_revision)
    assert (plan.unit, plan.shadow_percent, 2, "why") == (
        rollout.plan.unit,
        rollout.plan.shadow_percent,
        rollout.plan.step_count,
        rollout.message,
    )
    guards = {guard.kind: guard for guard in rollout.plan.guards}
    assert plan.guards[0] == guards[GuardKind.ERROR_RATE]
    assert guards[GuardKind.LATENCY].disabled
    assert 0.05 == guards[GuardKind.DENY_RATE_CHANGE].threshold
    assert "" == at_once.rollout_id


# --------------------------------------------------------------------- scheduled and manual


async def test_a_scheduled_rollout_waits_and_can_be_promoted(ask: Asking) -> None:
    start = (datetime.now(UTC) + HOUR).replace(microsecond=0)

    started = await ask("start_rollout", ChangeSet(policies=[STOP]), plan=Scheduled(start))
    ended = await ask("promote_rollout", started.rollout, message="cannot wait")

    rollout = started.rollout
    assert (RolloutState.SCHEDULED, 0) == (rollout.state, rollout.share_percent)
    assert start == rollout.next_step_time
    assert isinstance(rollout.plan, Scheduled)
    assert start == rollout.plan.start_time
    assert (RolloutState.COMPLETED, 100) == (ended.state, ended.share_percent)


async def test_another_person_approves(as_: As, ask: Asking) -> None:
    plan = Manual(["leads"], datetime.now(UTC) + HOUR)
    rollout = (await ask("start_rollout", ChangeSet(policies=[STOP]), plan=plan)).rollout
    assert (RolloutState.AWAITING_APPROVAL, ("leads",)) == (
        rollout.state,
        rollout.plan.approver_groups,
    )

    for actor, groups in (("", ()), ("ann", ("leads",)), ("bob", ("ops",))):
        with pytest.raises(placet.PermissionDenied) as refused:
            await (await as_(actor, groups))("approve_rollout", rollout)
        assert "APPROVAL_REFUSED" == refused.value.reason
    approved = await (await as_("bob", ("ops", "leads")))("approve_rollout", rollout)

    assert (RolloutState.COMPLETED, "bob", "ann") == (
        approved.state,
        approved.approver,
        approved.author,
    )


async def test_who_publishes_is_in_the_history(ask: Asking) -> None:
    assert ["ann"] == [revision.author for revision in await ask("history")]


# ---------------------------------------------------------------------------------- people


async def test_a_person_pauses_resumes_promotes_and_rolls_back(as_: As, ask: Asking) -> None:
    rollout = (
        await ask(
            "start_rollout", ChangeSet(policies=[EDIT]), plan=canary(10, 50, 100, bake_time=HOUR)
        )
    ).rollout

    paused = await ask("pause_rollout", rollout)
    resumed = await ask("resume_rollout", paused)
    promoted = await ask("promote_rollout", resumed)
    with pytest.raises(placet.Conflict) as conflict:
        await ask("promote_rollout", resumed)
    with pytest.raises(placet.Conflict):
        await ask("roll_back", resumed)
    # By its id alone: whatever has become of it.
    back = await (await as_("bob"))("roll_back", rollout.id, message="not today")
    with pytest.raises(placet.FailedPrecondition) as ended:
        await ask("pause_rollout", rollout.id)

    assert [RolloutState.PAUSED, RolloutState.RUNNING, RolloutState.RUNNING] == [
        paused.state,
        resumed.state,
        promoted.state,
    ]
    assert [10, 10, 50] == [one.share_percent for one in (paused, resumed, promoted)]
    assert (None, 1) == (paused.next_step_time, promoted.step)
    assert resumed.step_time + HOUR == resumed.next_step_time
    assert "ROLLOUT_CHANGED" == conflict.value.reason
    assert (RollbackCause.PERSON, "bob", "not today") == (
        back.rollback.cause,
        back.rollback.actor,
        back.rollback.message,
    )
    assert "ROLLOUT_STATE" == ended.value.reason


async def test_all_steps_at_once(ask: Asking) -> None:
    started = await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=Canary())

    ended = await ask("promote_rollout", started.rollout, all_steps=True)

    assert 3 == started.rollout.plan.step_count
    assert RolloutState.COMPLETED is ended.state


async def test_repeats_with_one_request_id_do_nothing_more(ask: Asking) -> None:
    plan = canary(10, 50, 100, bake_time=HOUR)

    first, second = [
        await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=plan, request_id="once")
        for _ in range(2)
    ]
    promoted, again = [
        await ask("promote_rollout", first.rollout, request_id="twice") for _ in range(2)
    ]

    assert first.rollout.id == second.rollout.id
    assert (50, 50) == (promoted.share_percent, again.share_percent)


async def test_an_earlier_revision_is_brought_back(ask: Asking) -> None:
    done = await ask("start_rollout", ChangeSet(policies=[STOP]))
    assert RolloutState.COMPLETED is done.rollout.state
    assert not (await traffic(ask, 1))[0].allowed

    restored = await ask("start_rollout", restore_revision=done.rollout.stable_revision)

    assert RolloutState.COMPLETED is restored.rollout.state
    assert (await traffic(ask, 1))[0].allowed
    with pytest.raises(placet.OutOfRange):
        await ask("start_rollout", restore_revision=99)


async def test_a_platforms_rollout_is_steered_as_it_was_read(ask: Asking) -> None:
    """The tenant is that of the rollout, and not that of the client."""
    started = await ask(
        "start_rollout", ChangeSet(policies=[STOP]), plan=Canary(), tenant=placet.PLATFORM
    )

    ended = await ask("roll_back", started.rollout)

    assert ("", RolloutState.ROLLED_BACK) == (ended.tenant, ended.state)
    with pytest.raises(placet.NotFound):
        await ask("roll_back", started.rollout.id)


async def test_rollouts_are_listed_newest_first(ask: Asking) -> None:
    with pytest.raises(placet.NotFound):
        await ask("get_rollout")
    ids = [
        (await ask("start_rollout", ChangeSet(policies=[policy]), plan=plan)).rollout.id
        for policy, plan in ((STOP, None), (EDIT, Immediate()), (ALLOW_MORE, Canary()))
    ]

    everything = await ask("list_rollouts", page_size=1)
    ended = await ask("list_rollouts", states=[RolloutState.COMPLETED])

    assert ids[::-1] == [rollout.id for rollout in everything]
    assert ids[1::-1] == [rollout.id for rollout in ended]
    assert ids[2] == (await ask("get_rollout")).id
    assert everything[2] == await ask("get_rollout", ids[0])


ALLOW_MORE = Policy(id="more", cedar='permit(principal, action == Action::"x", resource);')


# ---------------------------------------------------------------------------- who runs what


async def test_who_runs_what(ask: Asking) -> None:
    started = await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=Canary())

    async with asyncio.timeout(_SOON_S):
        while not (await ask("get_rollout")).nodes.acknowledged:
            await ask("list_items")
    listed = await ask("node_revisions")

    (node,) = listed.nodes
    assert ("test-node", "local") == (node.node, node.region)
    assert int(started.rollout.etag) == node.revision == listed.revision
    assert (started.rollout.candidate_revision, 10) == (node.candidate_revision, node.share_percent)
    assert (timedelta(), None) == (node.lag, node.rejection)
    assert node.propagation is not None
    assert node.propagation < timedelta(seconds=10)
    assert node.acknowledge_time is not None
    assert () == (await ask("node_revisions", region="elsewhere")).nodes
    with pytest.raises(placet.NotFound):
        await ask("node_revisions", tenant="nobody")


# --------------------------------------------------------------------------------- watching


async def test_a_watcher_comes_through_a_cut_connection(node: Node, ask: Asking, as_: As) -> None:
    plan = canary(10, 100, bake_time=HOUR)
    rollout = (await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=plan)).rollout
    async with wire_to(node.address) as wire:
        watcher = await as_(address=wire.address)
        watching = asyncio.create_task(watcher("watch_rollout"))
        await wire.wait_connected(timeout_s=_SOON_S)
        wire.drop()
        await wire.wait_connected(timeout_s=_SOON_S)
        await ask("roll_back", rollout)
        seen = await asyncio.wait_for(watching, _SOON_S)

    assert {rollout.id} == {one.id for one in seen}
    assert RolloutState.ROLLED_BACK is seen[-1].state
    assert 2 <= wire.connections


async def test_a_watcher_may_leave(node: Node, ask: Asking) -> None:
    await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=Canary())
    async with (
        placet.aio.Client(node.address, tenant=TENANT) as client,
        aclosing(client.watch_rollout()) as watching,
    ):
        first = await anext(watching)

    assert RolloutState.RUNNING is first.state


async def test_a_watcher_that_hears_nothing_gives_up(as_: As) -> None:
    # Connections to the second are taken by the kernel, and nobody ever says a word on them.
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        for address in ("127.0.0.1:1", f"127.0.0.1:{deaf.getsockname()[1]}"):
            watcher = await as_(address=address)
            with pytest.raises((placet.Unavailable, placet.DeadlineExceeded)):
                await asyncio.wait_for(watcher("watch_rollout", patience_s=0.3), _SOON_S)


async def test_a_watcher_without_patience_is_refused(ask: Asking) -> None:
    with pytest.raises(placet.InvalidRequest, match="patience_s"):
        await ask("watch_rollout", patience_s=0)


async def test_what_is_not_there_is_not_watched(ask: Asking) -> None:
    with pytest.raises(placet.NotFound):
        await ask("watch_rollout", "nothing")


# ------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({}, "change_set"),
        ({"change_set": ChangeSet(), "restore_revision": 1}, "change_set"),
        ({"restore_revision": 0}, "restore_revision"),
        ({"restore_revision": 1, "plan": placet.RolloutPlan()}, "plan"),
        ({"restore_revision": 1, "plan": canary(50, 10)}, "plan.canary.steps"),
        ({"restore_revision": 1, "plan": Scheduled(datetime(2030, 1, 1))}, "plan.start_time"),  # noqa: DTZ001
        ({"restore_revision": 1, "plan": Manual((), datetime(2030, 1, 1))}, "plan.deadline"),  # noqa: DTZ001
        (
            {"restore_revision": 1, "plan": Immediate(guards=[Guard(GuardKind.UNKNOWN)])},
            "plan.guards.guards[0].kind",
        ),
    ],
)
async def test_what_cannot_be_started_is_refused(
    ask: Asking, arguments: dict[str, Any], field: str
) -> None:
    with pytest.raises(placet.InvalidRequest) as refused:
        await ask("start_rollout", **arguments)

    assert field == refused.value.violations[0].field
    assert [] == await ask("list_rollouts")


async def test_only_one_rollout_at_a_time(ask: Asking) -> None:
    started = await ask("start_rollout", ChangeSet(policies=[EDIT]), plan=Canary())

    with pytest.raises(placet.FailedPrecondition) as refused:
        await ask("publish", ChangeSet(policies=[STOP]))

    assert ("ROLLOUT_UNDER_WAY", started.rollout.id) == (
        refused.value.reason,
        refused.value.metadata["rollout_id"],
    )


@pytest.mark.parametrize("kind", [placet.Client, placet.aio.Client])
@pytest.mark.parametrize(
    "options",
    [
        {"actor": "jürgen"},
        {"actor": "a\nb"},
        {"actor": " ann"},
        {"actor": "a" * 257},
        {"groups": ["a,b"]},
        {"groups": [""]},
        {"groups": "leads"},
    ],
)
def test_a_caller_that_cannot_be_told_is_refused(kind: Any, options: dict[str, Any]) -> None:
    with pytest.raises(placet.InvalidRequest):
        kind("127.0.0.1:1", **options)
