"""Deciding in-process: as the server does, by policies that follow it, and how old they may be."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import Any

import grpc
import pytest

import placet
from placet import ChangeSet, Outcome, Policy, Request, State, StateChange
from placet._channel import Destination
from placet.local import LocalEvaluator
from placet.local._options import LocalOptions
from placet.local._programs import Programs, following_programs
from placet.local.aio import LocalEvaluator as AsyncLocalEvaluator
from placet.v1 import subscribe_service_pb2 as pb
from placet_engine.items import ItemKey, ItemKind, Settings
from placet_server.app import Node
from placet_server.testing import running_server
from tests.sdk.scripted import Context, fail, say, scripted_server
from tests.sdk.source import TENANT, Source, platform_policy, policy

_SOON_S = 10.0
ASK: Any = (("User", "alice"), "view", ("Document", "one"))
OPEN = "permit(principal, action, resource);"
CLOSED = "forbid(principal, action, resource);"


@pytest.fixture(name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server() as node:
        yield node


@pytest.fixture(name="client")
async def client_fixture(node: Node) -> AsyncIterator[placet.aio.Client]:
    async with placet.aio.Client(node.address, tenant=TENANT, timeout_s=_SOON_S) as client:
        await client.publish(ChangeSet(policies=[Policy(id="p", cedar=OPEN)]))
        yield client


# -------------------------------------------------------------------- as the server decides


async def test_it_decides_and_says_by_what(node: Node, client: placet.aio.Client) -> None:
    remote = await client.evaluate(*ASK)
    async with AsyncLocalEvaluator(node.address, tenant=TENANT, region="eu-west") as evaluator:
        first, second = await evaluator.evaluate(*ASK), await evaluator.evaluate(*ASK)

    assert (remote.outcome, remote.reasons) == (first.outcome, first.reasons)
    assert remote.revision == first.revision
    assert ("local", "eu-west") == (first.node, first.region)
    assert first.decision_id.startswith("local-")
    assert first.decision_id != second.decision_id
    assert (False, True) == (first.cached, second.cached)
    assert timedelta() <= first.staleness < timedelta(seconds=_SOON_S)
    assert not first.is_stale


async def test_it_follows_and_waits_for_a_revision(node: Node, client: placet.aio.Client) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT, timeout_s=_SOON_S) as evaluator:
        for number in range(20):
            cedar = CLOSED if number % 2 == 0 else OPEN
            written = await client.publish(
                ChangeSet(policies=[Policy(id=f"p{number % 3}", cedar=cedar)])
            )

            decision = await evaluator.evaluate(*ASK, min_revision=written.revision)

            remote = await client.evaluate(*ASK)
            assert remote.revision == decision.revision == written.revision
            assert (remote.outcome, remote.reasons) == (decision.outcome, decision.reasons)


async def test_a_revision_that_does_not_come_in_time_is_no_decision(
    node: Node, client: placet.aio.Client
) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT) as evaluator:
        await evaluator.wait_ready()
        with pytest.raises(placet.DeadlineExceeded):
            await evaluator.evaluate(*ASK, min_revision=99, timeout_s=0.1)


async def test_the_platforms_policies_hold_here_too(node: Node, client: placet.aio.Client) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT, timeout_s=_SOON_S) as evaluator:
        closed = await client.publish(
            ChangeSet(policies=[Policy(id="closed", cedar=CLOSED)]), tenant=placet.PLATFORM
        )

        decision = await evaluator.evaluate(*ASK, min_revision=closed.revision)

    assert (placet.Reason("closed", placet.Layer.PLATFORM),) == decision.reasons


@pytest.mark.parametrize(
    "request_",
    [
        Request(subject=("no type", "a"), action="view", resource=("Document", "one")),
        Request(subject=("User", ""), action="view", resource=("Document", "one")),
        Request(
            subject=("User", "a"),
            action="view",
            resource=("Document", "one"),
            context={"__entity": 1},
        ),
        Request(subject=("User", "a"), action="view", resource=("Document", "one"), permit="x"),
        Request(subject=("User", "a" * 2000), action="view", resource=("Document", "one")),
        Request(
            subject=("User", "a"),
            action="view",
            resource=("Document", "one"),
            context={"x": placet.Extension("ip", "nowhere")},
        ),
    ],
)
async def test_it_refuses_what_the_server_refuses_in_the_same_words(
    node: Node, client: placet.aio.Client, request_: Request
) -> None:
    errors = []
    async with AsyncLocalEvaluator(node.address, tenant=TENANT) as evaluator:
        for asked in (client, evaluator):
            with pytest.raises(placet.InvalidRequest) as caught:
                await asked.evaluate(
                    request_.subject,  # type: ignore[arg-type]  # all are given
                    request_.action,  # type: ignore[arg-type]
                    request_.resource,  # type: ignore[arg-type]
                    request_.context,
                    permit=request_.permit,
                )
            errors.append(caught.value)
        batches = [await _batch_error(asked, request_) for asked in (client, evaluator)]

    remote, local = errors
    assert remote.violations == local.violations
    assert remote.reason == local.reason
    assert batches[0] == batches[1]


async def _batch_error(asked: Any, request: Request) -> Any:
    try:
        (result,) = await asked.evaluate_batch([request])
    except placet.InvalidRequest as error:
        return error.violations
    return (result.code, result.reason, result.field, result.message)


@pytest.mark.parametrize("semantics", placet.BatchSemantics)
async def test_a_batch_comes_to_the_same(
    node: Node, client: placet.aio.Client, semantics: placet.BatchSemantics
) -> None:
    await client.publish(
        ChangeSet(
            policies=[Policy(id="p", cedar='permit(principal == User::"a", action, resource);')]
        )
    )
    items = [Request(subject=("User", id_)) for id_ in ("a", "b", "", "a")]
    defaults: Any = {"action": "view", "resource": ("Document", "one"), "semantics": semantics}

    remote = await client.evaluate_batch(items, **defaults)
    async with AsyncLocalEvaluator(node.address, tenant=TENANT) as evaluator:
        await evaluator.wait_ready()
        local = await evaluator.evaluate_batch(items, **defaults)

    def told(results: list[placet.Decision | placet.DecisionError]) -> list[Any]:
        return [
            (result.outcome, result.reasons)
            if isinstance(result, placet.Decision)
            else (result.code, result.reason, result.field)
            for result in results
        ]

    assert told(remote) == told(local)


async def test_it_enforces(node: Node, client: placet.aio.Client) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT, timeout_s=_SOON_S) as evaluator:
        async with evaluator.enforce(*ASK) as decision:
            assert decision.allowed
        closed = await client.publish(ChangeSet(policies=[Policy(id="p", cedar=CLOSED)]))
        with pytest.raises(placet.Denied):
            async with evaluator.enforce(*ASK, min_revision=closed.revision):
                pytest.fail("it ran")


async def test_one_evaluator_one_tenant(node: Node, client: placet.aio.Client) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT) as evaluator:
        assert (await evaluator.evaluate(*ASK, tenant=TENANT)).allowed
        with pytest.raises(placet.InvalidRequest, match="follows `acme`"):
            await evaluator.evaluate(*ASK, tenant="other")


# ----------------------------------------------------------------------------- for threads


async def test_threads_decide_too(node: Node, client: placet.aio.Client) -> None:
    def decide() -> list[placet.Decision]:
        with LocalEvaluator(node.address, tenant=TENANT, timeout_s=_SOON_S) as evaluator:
            evaluator.wait_ready()
            assert (State.READY, 1) == (evaluator.state, evaluator.revision)
            assert evaluator.staleness() is not None
            assert evaluator.last_error is None
            (batched,) = evaluator.evaluate_batch(
                [Request(subject=ASK[0], action=ASK[1], resource=ASK[2])]
            )
            assert batched.allowed
            with evaluator.enforce(*ASK) as enforced:
                assert enforced.allowed

            @evaluator.enforced(subject=ASK[0], action=ASK[1], resource=ASK[2])
            def view() -> str:
                return "seen"

            assert "seen" == view()
            decisions: list[placet.Decision] = []
            threads = [
                threading.Thread(target=lambda: decisions.append(evaluator.evaluate(*ASK)))
                for _ in range(8)
            ]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(_SOON_S)
            return decisions

    decisions = await asyncio.to_thread(decide)

    assert 8 == len(decisions) == len({decision.decision_id for decision in decisions})
    assert all(decision.allowed for decision in decisions)


def test_it_has_to_be_opened_first() -> None:
    evaluator = LocalEvaluator("127.0.0.1:1", tenant=TENANT)

    assert (State.CONNECTING, None) == (evaluator.state, evaluator.staleness())
    with pytest.raises(placet.Unavailable, match="`with`"):
        evaluator.evaluate(*ASK)
    evaluator.close()


# ----------------------------------------------------------------- before the first policies


async def test_a_tenant_that_is_not_there_is_said_at_once(node: Node) -> None:
    async with AsyncLocalEvaluator(node.address, tenant="nobody") as evaluator:
        with pytest.raises(placet.NotFound):
            await evaluator.evaluate(*ASK)
        with pytest.raises(placet.NotFound):
            await evaluator.wait_ready()
        assert State.ERROR is evaluator.state


async def test_the_first_policies_are_waited_for(node: Node, client: placet.aio.Client) -> None:
    async with AsyncLocalEvaluator(node.address, tenant=TENANT) as evaluator:
        assert (await evaluator.evaluate(*ASK)).allowed


async def test_first_policies_that_do_not_come_are_no_decision() -> None:
    async with (
        scripted_server() as server,
        AsyncLocalEvaluator(server.address, tenant=TENANT, start_timeout_s=0.1) as evaluator,
    ):
        with pytest.raises(placet.Unavailable, match="no policies have come yet") as caught:
            await evaluator.evaluate(*ASK)

    assert isinstance(caught.value, placet.CouldNotDecide)


async def test_first_policies_that_do_not_compile_are_no_decision() -> None:
    source = Source(policy("bad", "permit("))

    async with (
        scripted_server(say(*source.snapshot())) as server,
        AsyncLocalEvaluator(server.address, tenant=TENANT) as evaluator,
    ):
        with pytest.raises(placet.Internal, match="`bad` does not compile"):
            await evaluator.evaluate(*ASK)
        assert State.ERROR is evaluator.state


async def test_items_of_another_tenant_are_never_decided_by() -> None:
    source = Source(policy("a", OPEN))
    source.commit(policy("b", OPEN), owner="other")

    async with (
        scripted_server(say(*source.snapshot())) as server,
        AsyncLocalEvaluator(server.address, tenant=TENANT) as evaluator,
    ):
        with pytest.raises(placet.Internal, match="another tenant, `other`"):
            await evaluator.evaluate(*ASK)


# ------------------------------------------------------------------- past maximum staleness


def _aged(server: Any, **options: Any) -> AsyncLocalEvaluator:
    """Make an evaluator for which everything it knows is too old."""
    return AsyncLocalEvaluator(server.address, tenant=TENANT, max_staleness_s=0.0, **options)


async def test_past_the_maximum_it_raises_if_told_to() -> None:
    async with (
        scripted_server(say(*Source(policy("a", OPEN)).snapshot())) as server,
        _aged(server) as evaluator,
    ):
        with pytest.raises(placet.StaleNode) as caught:
            await evaluator.evaluate(*ASK)
        with pytest.raises(placet.StaleNode):
            await evaluator.evaluate_batch([Request(subject=ASK[0], action="a", resource=ASK[2])])

    assert "NODE_STALE" == caught.value.reason
    assert isinstance(caught.value, placet.CouldNotDecide)


async def test_past_the_maximum_it_serves_and_says_so_if_told_to() -> None:
    async with (
        scripted_server(say(*Source(policy("a", OPEN)).snapshot())) as server,
        _aged(server, when_stale="serve") as evaluator,
    ):
        decision = await evaluator.evaluate(*ASK)
        (batched,) = await evaluator.evaluate_batch(
            [Request(subject=ASK[0], action="a", resource=ASK[2])]
        )

    assert decision.allowed
    assert decision.is_stale
    assert decision.staleness > timedelta()
    assert isinstance(batched, placet.Decision)
    assert batched.is_stale


async def test_past_the_maximum_it_asks_the_server_if_told_to(
    node: Node, client: placet.aio.Client
) -> None:
    async with _aged(node, when_stale="remote") as evaluator:
        await evaluator.wait_ready()
        decision = await evaluator.evaluate(*ASK)
        (batched,) = await evaluator.evaluate_batch(
            [Request(subject=ASK[0], action="view", resource=ASK[2])]
        )

    assert "test-node" == decision.node
    assert isinstance(batched, placet.Decision)
    assert "test-node" == batched.node
    assert not decision.is_stale


async def test_threads_ask_the_server_as_well(node: Node, client: placet.aio.Client) -> None:
    def decide() -> tuple[placet.Decision, Any]:
        evaluator = LocalEvaluator(
            node.address, tenant=TENANT, max_staleness_s=0, when_stale="remote", timeout_s=_SOON_S
        )
        with evaluator:
            (batched,) = evaluator.evaluate_batch(
                [Request(subject=ASK[0], action="view", resource=ASK[2])]
            )
            return evaluator.evaluate(*ASK), batched

    decision, batched = await asyncio.to_thread(decide)

    assert "test-node" == decision.node == batched.node


async def test_before_the_first_policies_the_server_is_asked_at_once() -> None:
    async with scripted_server() as server, _aged(server, when_stale="remote") as evaluator:
        assert "scripted" == (await evaluator.evaluate(*ASK)).decision_id


async def test_the_tenants_own_maximum_binds_whoever_decides() -> None:
    source, never = Source(policy("a", OPEN), Settings(max_staleness_s=0.0001)), timedelta()

    async with (
        scripted_server(say(*source.snapshot(), source.heartbeat(staleness_s=5.0))) as server,
        AsyncLocalEvaluator(
            server.address, tenant=TENANT, max_staleness_s=3600, when_stale="serve"
        ) as evaluator,
    ):
        await _until(evaluator, lambda: (evaluator.staleness() or never) >= timedelta(seconds=5))
        with pytest.raises(placet.StaleNode, match=r"limit is 0\.0001 s"):
            await evaluator.evaluate(*ASK)


async def _until(evaluator: AsyncLocalEvaluator, holds: Callable[[], bool]) -> None:
    assert evaluator._programs is not None
    await evaluator._programs._subscription.wait_until(holds, timeout_s=_SOON_S)


def test_what_happens_past_the_maximum_has_to_be_known() -> None:
    with pytest.raises(placet.InvalidRequest, match="use one of `raise`, `serve`, `remote`"):
        LocalEvaluator("127.0.0.1:1", tenant=TENANT, when_stale="allow")  # type: ignore[arg-type]


# ------------------------------------------------------- what does not compile; age of knowledge


class _Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class _Stream:
    """A stream that says what it is told, when it is told."""

    def __init__(self, source: Source) -> None:
        self._messages: asyncio.Queue[pb.SubscribeResponse] = asyncio.Queue()
        for message in source.snapshot():
            self.say(message)

    def say(self, message: pb.SubscribeResponse) -> None:
        self._messages.put_nowait(message)

    async def script(self, request: pb.SubscribeRequest, context: Context) -> AsyncIterator[Any]:
        while True:
            yield await self._messages.get()


@asynccontextmanager
async def _programs(
    stream: _Stream, clock: _Clock, changes: list[StateChange]
) -> AsyncIterator[Programs]:
    options = LocalOptions(
        tenant=TENANT,
        max_staleness_s=30,
        when_stale="raise",
        start_timeout_s=_SOON_S,
        timeout_s=_SOON_S,
        cache_entries=10,
        stale_after_s=15,
        subscriber="",
        region="",
        on_state_change=changes.append,
    )
    async with (
        scripted_server(stream.script) as server,
        following_programs(Destination(server.address), options, clock=clock) as programs,
    ):
        await programs.wait_ready(timeout_s=_SOON_S)
        yield programs


async def _state(programs: Programs, state: State) -> None:
    await programs._subscription.wait_until(
        lambda: programs.status.state is state, timeout_s=_SOON_S
    )


async def _confirmed_at(programs: Programs, now_s: float) -> None:
    followed = programs._subscription
    await followed.wait_until(lambda: followed.status.confirmed_at_s == now_s, timeout_s=_SOON_S)


async def test_policies_that_do_not_compile_leave_the_former_at_work_and_ageing() -> None:
    source, clock, changes = Source(policy("a", OPEN)), _Clock(), list[StateChange]()
    stream = _Stream(source)

    async with _programs(stream, clock, changes) as programs:
        former = programs.judge
        clock.now_s += 5
        stream.say(source.commit(policy("b", "permit(")))
        await _state(programs, State.ERROR)

        assert former is programs.judge
        assert (1, "POLICIES_DO_NOT_COMPILE") == (
            programs.status.revision,
            programs.status.last_error and programs.status.last_error.reason,
        )
        clock.now_s += 20
        stream.say(source.heartbeat())
        await _confirmed_at(programs, clock.now_s)
        assert 20.0 == programs.staleness_s(), "a heartbeat does not make old policies young"
        assert not programs.covers(2), "a heartbeat does not say what was sent before it"

        stream.say(source.commit(remove=[ItemKey(ItemKind.POLICY, "b")]))
        await _state(programs, State.READY)
        assert 3 == programs.status.revision
        assert 0.0 == programs.staleness_s()
        assert programs.covers(3)

    assert [State.READY, State.ERROR, State.READY] == [change.after for change in changes[:3]]
    assert "`b` does not compile" in str(changes[1].error)


async def test_the_age_of_the_node_adds_to_ones_own() -> None:
    source, clock = Source(policy("a", OPEN)), _Clock()
    stream = _Stream(source)

    async with _programs(stream, clock, []) as programs:
        stream.say(source.heartbeat(staleness_s=40.0))
        await _state(programs, State.STALE)
        clock.now_s += 2

        assert 42.0 == programs.staleness_s()


async def test_platform_and_tenant_are_kept_apart() -> None:
    """They may use the same id."""
    source, clock = Source(policy("same", OPEN)), _Clock()
    source.commit_to_platform(platform_policy("same", CLOSED))

    async with _programs(_Stream(source), clock, []) as programs:
        assert programs.judge is not None
        assert 2 == len(programs.judge.edition.stable.program.policies)
        assert 2 == programs.judge.edition.stable.program.revision


async def test_an_error_of_the_stream_is_an_error_here() -> None:
    source = Source(policy("a", OPEN))
    changes: list[StateChange] = []

    async with (
        scripted_server(
            say(*source.snapshot(), then=fail(grpc.StatusCode.PERMISSION_DENIED, "no"))
        ) as server,
        AsyncLocalEvaluator(
            server.address, tenant=TENANT, on_state_change=changes.append
        ) as evaluator,
    ):
        assert Outcome.ALLOW is (await evaluator.evaluate(*ASK)).outcome
        await _until(evaluator, lambda: evaluator.state is State.ERROR)
        assert isinstance(evaluator.last_error, placet.PermissionDenied)
        assert Outcome.ALLOW is (await evaluator.evaluate(*ASK)).outcome

    assert State.ERROR in [change.after for change in changes]
