"""Nodes without a store, below a control node and below each other: the same answers."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf import duration_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placet.v1 import (
    decision_pb2,
    policy_pb2,
    policy_service_pb2,
    rollout_pb2,
    rollout_service_pb2,
    subscribe_service_pb2,
    topology_pb2,
    topology_service_pb2,
)
from placet_engine.changes import ChangeSet
from placet_engine.compiling import Compilation
from placet_engine.items import Policy
from placet_engine.model import Problem, Severity
from placet_server.api.edge import NEED_A_STORE
from placet_server.app import Node
from placet_server.config import RolloutsConfig, SubscribeConfig, UpstreamConfig
from placet_server.testing import ManualClock, running_edge, running_server
from tests.faults.ports import free_port
from tests.golden import loader
from tests.waiting import until, until_it
from tests.ways import WAYS, follow_ways
from tests.wire.details import info
from tests.wire.service import (
    TENANT,
    TIMEOUT_S,
    Connection,
    Service,
    policy,
    request,
    running_edge_service,
    running_service,
)
from tests.wire.test_subscribe import Follower

_ALLOW = policy("p", "permit(principal, action, resource);")
_STOP = policy("stop", "forbid(principal, action, resource);")
_AWAY = "127.0.0.1:1"
_SOON = UpstreamConfig(state_every_s=0.05, stale_after_s=0.5, prefer_after_s=0.2)


@dataclass(frozen=True, slots=True)
class Chain:
    """A control node, a relay that follows it, and an edge that follows that."""

    control: Service
    relay: Service
    leaf: Service

    async def reach(self, revision: int) -> None:
        """Wait until the last of them is at a revision."""
        for service in (self.relay, self.leaf):
            await service.node.active.wait_for(revision, TIMEOUT_S)  # type: ignore[arg-type]


@asynccontextmanager
async def chained(**options: Any) -> AsyncIterator[Chain]:
    async with (
        running_service(node="control", **options) as control,
        running_edge_service(control.node.address, node="relay", **options) as relay,
        running_edge_service(relay.node.address, node="leaf", **options) as leaf,
    ):
        await chain_ready(control, relay, leaf)
        yield Chain(control, relay, leaf)


async def chain_ready(*services: Service) -> None:
    for service in services:
        await until(lambda service=service: service.node.active.is_loaded)  # type: ignore[misc]


@pytest.fixture
async def chain() -> AsyncIterator[Chain]:
    async with chained() as running:
        yield running


async def decide(service: Connection, **fields: Any) -> decision_pb2.Decision:
    answer = await service.evaluate.Evaluate(request(**fields), timeout=TIMEOUT_S)
    return answer.decision


async def reason_of(call: Any) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value.code(), info(failed.value).reason


# ------------------------------------------------------------------------------ same answers


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="nodes")
async def nodes_fixture() -> AsyncIterator[tuple[Node, Node]]:
    async with (
        running_server(node="control") as control,
        running_edge(control.address, node="relay") as relay,
        running_edge(relay.address, node="leaf") as leaf,
    ):
        await until(lambda: leaf.active.is_loaded)
        yield control, leaf


_FILES = [file for file in loader.files() if not file.platform]


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("file", _FILES, ids=lambda file: file.name)
async def test_two_hops_down_each_way_gives_the_control_nodes_answer(
    nodes: tuple[Node, Node], file: loader.GoldenFile
) -> None:
    control, leaf = nodes
    requests = [case.asked for case in file.cases]
    async with follow_ways(control, file.name, file.tenant, at=leaf) as below:
        given = {name: await ask(below, requests) for name, ask in WAYS.items()}
    async with follow_ways(control, file.name, ()) as above:
        expected = await above.unary(requests)

    for name, answers in given.items():
        assert answers == expected, name


async def test_what_is_published_decides_at_the_bottom(chain: Chain) -> None:
    first = await chain.control.publish(_ALLOW)
    decision = await decide(chain.leaf, min_revision=first.revision)
    assert (decision.outcome, decision.revision) == (decision_pb2.OUTCOME_ALLOW, first.revision)
    assert decision.node == "leaf"

    second = await chain.control.publish(_STOP)
    decision = await decide(chain.leaf, min_revision=second.revision)
    assert (decision.outcome, decision.revision) == (decision_pb2.OUTCOME_DENY, second.revision)


async def test_a_tenant_that_has_nothing_any_more_is_still_known(chain: Chain) -> None:
    await chain.control.publish(_ALLOW)
    key = policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_POLICY, id="p")
    removed = await chain.control.publish(deletes=[key])
    await chain.reach(removed.revision)

    async with running_edge_service(chain.relay.node.address, node="late") as late:
        await chain_ready(late)
        for service in (chain.control, chain.leaf, late):
            decision = await decide(service)
            assert decision.outcome == decision_pb2.OUTCOME_DENY
            assert decision.revision == removed.revision


async def test_a_revision_that_never_comes_is_not_waited_for_for_ever(chain: Chain) -> None:
    await chain.control.publish(_ALLOW)
    await chain.reach(1)
    asked = request(min_revision=99)
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await chain.leaf.evaluate.Evaluate(asked, timeout=0.3)
    assert failed.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED


# ---------------------------------------------------------------------------------- cursors


async def test_a_subscriber_moves_between_all_of_them_without_starting_over(chain: Chain) -> None:
    follower = Follower()
    services = [chain.control, chain.relay, chain.leaf, chain.relay, chain.control, chain.leaf]
    for tenant in (TENANT, ""):
        follower = Follower()
        for number, service in enumerate(services):
            published = await chain.control.publish(policy(f"p{tenant}{number}", _ALLOW.cedar))
            await chain.control.publish(_ALLOW, tenant="bystander")
            await follow(service, follower, published.revision, tenant)
        assert follower.resets == []
        assert len(follower.revisions) >= len(services)
        stored = await chain.control.node.store.read(TENANT)
        held = {key[2] for key in follower.items if key[0] == TENANT}
        assert held == {key.id for key in stored.items}


async def follow(service: Connection, follower: Follower, revision: int, tenant: str) -> None:
    """Follow until everything up to a revision is there."""
    call = service.subscribe.Subscribe(
        subscribe_service_pb2.SubscribeRequest(tenant=tenant, cursor=follower.cursor),
        timeout=TIMEOUT_S,
    )
    try:
        async for response in call:
            event = follower.take(response)
            if event == "heartbeat" and response.heartbeat.revision >= revision:
                return
    finally:
        call.cancel()


async def test_a_stream_says_over_which_nodes_it_comes(chain: Chain) -> None:
    store_id = chain.control.node.store.store_id
    for service, expected in (
        (chain.control, "control"),
        (chain.relay, "relay,control"),
        (chain.leaf, "leaf,relay,control"),
    ):
        call = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(), timeout=TIMEOUT_S
        )
        said = dict(await call.initial_metadata())
        assert (said["placet-store"], said["placet-upstreams"]) == (store_id, expected)
        async for response in call:
            if response.HasField("heartbeat"):
                assert ",".join(response.heartbeat.upstreams) == expected
                break
        call.cancel()


async def test_two_that_may_follow_each_other_never_both_do(
    caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    """Both lose the control node at once, and have each other as the second choice."""
    store, (at_control, at_one, at_two) = tmp_path / "placet.db", addresses(3)
    async with AsyncExitStack() as stack:
        control = await stack.enter_async_context(
            running_server(path=store, node="control", listen=at_control)
        )
        one = await stack.enter_async_context(
            running_edge(at_control, at_two, node="one", upstream=_SOON, listen=at_one)
        )
        two = await stack.enter_async_context(
            running_edge(at_control, at_one, node="two", upstream=_SOON, listen=at_two)
        )
        lineages = [one.following.lineage, two.following.lineage]
        await until(lambda: all(it().nodes[1:] == ("control",) for it in lineages))
        await control.drain()
        await until(lambda: "it follows this node" in reasons(caplog))
        for _ in range(100):
            followed = [it().nodes for it in lineages]
            assert followed != [("one", "two"), ("two", "one")] or await is_left(lineages)
            await asyncio.sleep(0.01)

        back = await stack.enter_async_context(
            running_server(path=store, node="control", listen=at_control)
        )
        await back.publisher.publish(
            TENANT, ChangeSet(upserts=(Policy(id="p", cedar=_ALLOW.cedar),)), timeout_s=TIMEOUT_S
        )
        for node in (one, two):
            await node.active.wait_for(back.active.revision, TIMEOUT_S)
            # What came over the other may come before who it now follows.
            await until(lambda it=node: it.following.lineage().nodes[-1] == "control")  # type: ignore[misc]


async def is_left(lineages: list[Any]) -> bool:
    """Whether two that follow each other stop doing so, as each hears of it."""
    await until(lambda: [len(it().nodes) for it in lineages] != [2, 2], timeout_s=2.0)
    return True


def addresses(count: int) -> list[str]:
    """Return addresses that nobody listens on now, to be known before somebody does."""
    return [f"127.0.0.1:{free_port()}" for _ in range(count)]


def reasons(caplog: pytest.LogCaptureFixture) -> str:
    return "\n".join(str(vars(record).get("reason")) for record in caplog.records)


# -------------------------------------------------------------------------- what it cannot do


@pytest.mark.parametrize(
    "method",
    [
        (service.name, method.name)
        for service in NEED_A_STORE
        for method in service.methods
        if method.name not in ("AcknowledgeRevision", "ReportRolloutSamples")
    ],
    ids=".".join,
)
async def test_what_needs_a_store_is_refused_with_where_to_go(
    chain: Chain, method: tuple[str, str]
) -> None:
    await until(lambda: bool(chain.leaf.node.role.membership.registrar))
    await until_it(lambda: lists_control(chain.leaf))
    service, name = method
    stub = chain.leaf.policy if service == "PolicyService" else chain.leaf.rollouts
    module = policy_service_pb2 if service == "PolicyService" else rollout_service_pb2
    message = getattr(module, f"{name}Request")()
    call = getattr(stub, name)(message, timeout=TIMEOUT_S)
    answer = anext(aiter(call)) if hasattr(call, "__aiter__") else call
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await answer

    assert failed.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    refusal = info(failed.value)
    assert refusal.reason == "NOT_A_CONTROL_NODE"
    assert refusal.metadata["control_nodes"] == chain.control.node.address
    assert chain.control.node.address in str(failed.value.details())


async def lists_control(service: Connection) -> bool:
    listed = await service.topology.ListNodes(
        topology_service_pb2.ListNodesRequest(), timeout=TIMEOUT_S
    )
    return any(
        node.role == topology_pb2.NODE_ROLE_CONTROL
        and node.health == topology_pb2.NODE_HEALTH_SERVING
        for node in listed.nodes
    )


async def test_tenants_are_placed_and_nodes_are_set_at_a_control_node(chain: Chain) -> None:
    await until_it(lambda: lists_control(chain.leaf))
    placed = topology_pb2.Tenant(name=TENANT, residency=topology_pb2.RESIDENCY_RULE_EU_ONLY)
    put = topology_service_pb2.PutTenantRequest(tenant=placed)
    update = topology_service_pb2.UpdateNodeRequest(node="control", weight=5)
    for call in (
        chain.leaf.topology.PutTenant(put, timeout=TIMEOUT_S),
        chain.leaf.topology.UpdateNode(update, timeout=TIMEOUT_S),
    ):
        assert await reason_of(call) == (
            grpc.StatusCode.FAILED_PRECONDITION,
            "NOT_A_CONTROL_NODE",
        )


async def test_each_service_says_whether_it_serves(chain: Chain) -> None:
    await until_it(lambda: serves(chain.leaf, ""))
    for service, expected in (
        ("EvaluateService", True),
        ("SubscribeService", True),
        ("TopologyService", True),
        ("NodeService", True),
        ("PolicyService", False),
        ("RolloutService", False),
    ):
        assert await serves(chain.leaf, f"placet.v1.{service}") is expected, service


async def serves(service: Connection, name: str) -> bool:
    check: Any = getattr(health_pb2_grpc.HealthStub(service.channel), "Check")  # noqa: B009
    answer = await check(health_pb2.HealthCheckRequest(service=name), timeout=TIMEOUT_S)
    return bool(answer.status == health_pb2.HealthCheckResponse.SERVING)


async def test_without_upstream_and_state_it_serves_nobody_until_it_can() -> None:
    async with running_service(node="control") as control:
        address = control.node.address
        await control.publish(_ALLOW)
        async with running_edge_service(_AWAY, node="edge") as edge:
            assert not await serves(edge, "")
            unavailable = (grpc.StatusCode.UNAVAILABLE, "NODE_NOT_READY")
            route = topology_service_pb2.GetRouteRequest(tenant=TENANT)
            for call in (
                edge.evaluate.Evaluate(request(), timeout=TIMEOUT_S),
                edge.topology.GetRoute(route, timeout=TIMEOUT_S),
                anext(aiter(edge.subscribe.Subscribe(_EVERYTHING, timeout=TIMEOUT_S))),
            ):
                assert await reason_of(call) == unavailable
        async with running_edge_service(_AWAY, address, node="edge") as edge:
            await until_it(lambda: serves(edge, ""))
            assert (await decide(edge)).outcome == decision_pb2.OUTCOME_ALLOW


_EVERYTHING = subscribe_service_pb2.SubscribeRequest()


# ------------------------------------------------------------------------------------ stale


async def test_how_stale_each_node_is_adds_up_and_bounds_are_kept(tmp_path: Path) -> None:
    clock = ManualClock()
    async with running_service(node="control", clock=clock) as control:
        await control.publish(_ALLOW, settings=bounded(30.0))
        await control.publish(_ALLOW, tenant="patient")
        async with (
            running_edge_service(control.node.address, node="relay", clock=clock) as relay,
            running_edge_service(relay.node.address, node="leaf", clock=clock) as leaf,
        ):
            await chain_ready(relay, leaf)
            for service in (relay, leaf):
                await until_it(lambda service=service: fresh(service))  # type: ignore[misc]
            await control.node.drain()
            clock.advance(20.0)
            assert 20 <= (await decide(relay)).staleness.ToTimedelta().total_seconds() < 21
            assert 20 <= (await decide(leaf)).staleness.ToTimedelta().total_seconds() < 21
            clock.advance(15.0)
            for service in (relay, leaf):
                code, reason = await reason_of(
                    service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
                )
                assert (code, reason) == (grpc.StatusCode.FAILED_PRECONDITION, "NODE_STALE")
                assert (await decide(service, tenant="patient")).outcome
            # Who begins with a stale node knows how stale it is.
            async with running_edge_service(leaf.node.address, node="late", clock=clock) as late:
                await chain_ready(late)
                stale_s = late.node.active.node_staleness_s()
                assert 35 <= stale_s < 36


async def test_how_current_it_is_is_passed_down_at_once() -> None:
    """Nodes do not wait for their own heartbeats: staleness would grow with each hop."""
    seldom = SubscribeConfig(heartbeat_s=5.0)
    async with (
        running_service(node="control", subscribe=SubscribeConfig(heartbeat_s=0.1)) as control,
        running_edge_service(control.node.address, node="relay", subscribe=seldom) as relay,
        running_edge_service(relay.node.address, node="leaf", subscribe=seldom) as leaf,
    ):
        await chain_ready(relay, leaf)
        began_s, worst_s = time.monotonic(), 0.0
        while time.monotonic() - began_s < 2.5:
            await asyncio.sleep(0.05)
            if time.monotonic() - began_s > 1.0:
                worst_s = max(worst_s, leaf.node.active.node_staleness_s())
    # A heartbeat each 5 s would have it be 2.5 s by now.
    assert worst_s < 2.0


def bounded(max_staleness_s: float) -> policy_pb2.TenantSettings:
    bound = duration_pb2.Duration(seconds=int(max_staleness_s))
    return policy_pb2.TenantSettings(max_staleness=bound)


async def fresh(service: Connection) -> bool:
    decision = await decide(service)
    return decision.staleness.ToTimedelta().total_seconds() < 0.001


async def test_it_starts_from_its_file_and_says_how_old_that_is(tmp_path: Path) -> None:
    clock, state = ManualClock(), tmp_path / "edge.state"
    async with running_service(node="control", clock=clock) as control:
        await control.publish(_ALLOW, settings=bounded(30.0))
        async with running_edge_service(
            control.node.address, node="edge", clock=clock, state_path=state
        ) as edge:
            await chain_ready(edge)
            await until_it(lambda: fresh(edge))
    clock.advance(20.0)
    async with running_edge_service(_AWAY, node="edge", clock=clock, state_path=state) as edge:
        assert await serves(edge, "")
        decision = await decide(edge)
        assert decision.outcome == decision_pb2.OUTCOME_ALLOW
        assert 20 <= decision.staleness.ToTimedelta().total_seconds() < 21
        clock.advance(11.0)
        refused = await reason_of(edge.evaluate.Evaluate(request(), timeout=TIMEOUT_S))
        assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "NODE_STALE")
    # It was not written to since as if it had been current.
    async with running_edge_service(_AWAY, node="edge", clock=clock, state_path=state) as edge:
        assert 31 <= edge.node.active.node_staleness_s() < 32


async def test_it_goes_on_from_its_file_by_what_it_missed(tmp_path: Path) -> None:
    state = tmp_path / "edge.state"
    async with running_service(node="control") as control:
        first = await control.publish(_ALLOW)
        address = control.node.address
        async with running_edge_service(address, node="edge", state_path=state) as edge:
            await chain_ready(edge)
            await edge.node.active.wait_for(first.revision, TIMEOUT_S)  # type: ignore[arg-type]
        second = await control.publish(_STOP)
        async with running_edge_service(address, node="edge", state_path=state) as edge:
            assert edge.node.active.revision == first.revision
            decision = await decide(edge, min_revision=second.revision)
            assert decision.outcome == decision_pb2.OUTCOME_DENY
            # One delta, and nothing anew.
            assert edge.node.following.source.changes == 2


async def test_a_tenant_with_a_bound_is_refused_while_nobody_can_tell_how_old_it_all_is(
    tmp_path: Path,
) -> None:
    later, state = ManualClock(), tmp_path / "edge.state"
    later.advance(3600.0)
    async with running_service(node="control", clock=later) as control:
        await control.publish(_ALLOW, settings=bounded(10.0))
        await control.publish(_ALLOW, tenant="patient")
        async with running_edge_service(
            control.node.address, node="edge", clock=later, state_path=state
        ) as edge:
            await chain_ready(edge)
            await edge.node.active.wait_for(2, TIMEOUT_S)  # type: ignore[arg-type]
    async with running_edge_service(
        _AWAY, node="edge", clock=ManualClock(), state_path=state
    ) as edge:
        refused = await reason_of(edge.evaluate.Evaluate(request(), timeout=TIMEOUT_S))
        assert refused == (grpc.StatusCode.FAILED_PRECONDITION, "NODE_STALE")
        decision = await decide(edge, tenant="patient")
        assert decision.outcome == decision_pb2.OUTCOME_ALLOW
        assert decision.staleness.seconds > 10**9


# --------------------------------------------------------------------------------- rollouts

_AT_ONCE = RolloutsConfig(tick_s=0.02, min_samples=20, shadow_percent=100.0)


@asynccontextmanager
async def rolling(**options: Any) -> AsyncIterator[Chain]:
    clock = ManualClock()
    async with chained(clock=clock, rollouts=_AT_ONCE, **options) as chain:
        published = await chain.control.publish(_ALLOW)
        await chain.reach(published.revision)
        yield chain


def canary(*shares: int) -> rollout_pb2.RolloutPlan:
    steps = [rollout_pb2.CanaryStep(share_percent=share) for share in shares]
    return rollout_pb2.RolloutPlan(canary=rollout_pb2.CanaryStrategy(steps=steps))


async def start(chain: Chain, *policies: policy_pb2.Policy) -> rollout_pb2.Rollout:
    started = await chain.control.rollouts.StartRollout(
        rollout_service_pb2.StartRolloutRequest(
            tenant=TENANT,
            change_set=policy_pb2.ChangeSet(policies=policies),
            plan=canary(10, 100),
        ),
        timeout=TIMEOUT_S,
    )
    return started.rollout


async def current(chain: Chain) -> rollout_pb2.Rollout:
    got = await chain.control.rollouts.GetRollout(
        rollout_service_pb2.GetRolloutRequest(tenant=TENANT), timeout=TIMEOUT_S
    )
    return got.rollout


async def test_a_breach_that_only_an_edge_sees_rolls_back() -> None:
    async with rolling() as chain:
        rollout = await start(chain, _STOP)
        await chain.reach(rollout.candidate_revision)

        variants = {
            (await decide(chain.leaf, subject=f"User::u{number}")).rollout_variant
            for number in range(60)
        }
        # It may be over before all were asked.
        assert variants >= {"stable", "candidate"}
        ended = rollout_pb2.ROLLOUT_STATE_ROLLED_BACK
        await until_it(lambda: is_in(chain, ended))

        report = (await current(chain)).rollback
        assert report.cause == rollout_pb2.ROLLBACK_CAUSE_GUARD
        assert report.breach.guard.kind == rollout_pb2.GUARD_KIND_DENY_RATE_CHANGE
        assert report.breach.samples >= 20
        # With the requests that changed their answers there.
        example = report.examples[0]
        assert example.request.tenant == TENANT
        assert example.request.subject.id.startswith("u")
        assert example.stable.decision.outcome == decision_pb2.OUTCOME_ALLOW
        assert example.candidate.decision.outcome == decision_pb2.OUTCOME_DENY
        await until_it(lambda: allows_again(chain.leaf))


async def is_in(chain: Chain, state: int) -> bool:
    return (await current(chain)).state == state


async def allows_again(service: Connection) -> bool:
    decision = await decide(service)
    return decision.outcome == decision_pb2.OUTCOME_ALLOW and not decision.rollout_variant


async def test_a_candidate_that_does_not_compile_on_an_edge_is_rolled_back(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    async with rolling() as chain:
        leaf = chain.leaf.node.active
        refuse_candidates(monkeypatch, leaf)
        await start(chain, policy("more", 'permit(principal, action == Action::"x", resource);'))
        await until_it(lambda: is_in(chain, rollout_pb2.ROLLOUT_STATE_ROLLED_BACK))

        report = (await current(chain)).rollback
        assert report.breach.guard.kind == rollout_pb2.GUARD_KIND_REJECTIONS
        (rejection,) = report.rejections
        assert (rejection.node, rejection.reason) == ("leaf", "POLICY_SYNTAX")


def refuse_candidates(monkeypatch: pytest.MonkeyPatch, active: Any) -> None:
    """Have one node's programs not be what they are elsewhere, as with another version of it."""
    swap = active.swap
    problem = Problem(severity=Severity.ERROR, reason="POLICY_SYNTAX", message="not here")

    def refusing(revision: Any, sides: Any, compiled: Any, gone: Any = ()) -> None:
        broken = {
            tenant: (
                own,
                replace(edition, candidate=Compilation(None, (problem,), None))
                if edition.candidate is not None
                else edition,
            )
            for tenant, (own, edition) in compiled.items()
        }
        swap(revision, sides, broken, gone)

    monkeypatch.setattr(active, "swap", refusing)


async def test_who_runs_what_has_the_edges_too() -> None:
    async with chained(rollouts=_AT_ONCE) as chain:
        published = await chain.control.publish(_STOP)

        async def all_there() -> bool:
            listed = await chain.control.rollouts.ListNodeRevisions(
                rollout_service_pb2.ListNodeRevisionsRequest(tenant=TENANT), timeout=TIMEOUT_S
            )
            there = {node.node: node.revision for node in listed.nodes}
            return there == dict.fromkeys(("control", "leaf", "relay"), published.revision)

        await until_it(all_there)


# --------------------------------------------------------------------------------- topology


async def test_every_node_knows_every_node(chain: Chain) -> None:
    async def known(service: Connection) -> dict[str, tuple[int, tuple[str, ...]]]:
        listed = await service.topology.ListNodes(
            topology_service_pb2.ListNodesRequest(), timeout=TIMEOUT_S
        )
        return {
            node.id: (node.role, tuple(node.upstreams))
            for node in listed.nodes
            if node.health == topology_pb2.NODE_HEALTH_SERVING
        }

    control, edge = topology_pb2.NODE_ROLE_CONTROL, topology_pb2.NODE_ROLE_EDGE
    expected = {
        "control": (control, ()),
        "relay": (edge, ("control",)),
        "leaf": (edge, ("relay",)),
    }
    for service in (chain.control, chain.relay, chain.leaf):

        async def is_known(service: Service = service) -> bool:
            return await known(service) == expected

        await until_it(is_known)


async def test_an_edge_that_leaves_is_gone_everywhere(chain: Chain) -> None:
    async with running_edge_service(chain.leaf.node.address, node="brief") as brief:
        await chain_ready(brief)
        await until(lambda: "brief" in chain.control.node.membership.registry.view.nodes)
    await until(lambda: "brief" not in chain.control.node.membership.registry.view.nodes)


async def test_routes_lead_to_edges_and_are_told_by_them(chain: Chain) -> None:
    await chain.control.publish(_ALLOW)

    async def addresses(service: Connection) -> set[str]:
        request_ = topology_service_pb2.GetRouteRequest(
            tenant=TENANT, location=topology_pb2.Location(region="local")
        )
        answer = await service.topology.GetRoute(request_, timeout=TIMEOUT_S)
        return {one.address for region in answer.route.regions for one in region.endpoints}

    await chain.reach(1)
    expected = {it.node.address for it in (chain.control, chain.relay, chain.leaf)}

    async def leads_everywhere() -> bool:
        return await addresses(chain.leaf) == expected

    await until_it(leads_everywhere)


async def test_a_node_drained_by_an_operator_drains_though_others_pass_it_on(chain: Chain) -> None:
    await until(lambda: "leaf" in chain.control.node.membership.registry.view.nodes)
    await chain.control.topology.UpdateNode(
        topology_service_pb2.UpdateNodeRequest(node="leaf", draining=True), timeout=TIMEOUT_S
    )

    async def turned_away() -> bool:
        return not await serves(chain.leaf, "")

    await until_it(turned_away)


async def test_two_edges_of_one_name_are_told_apart(
    chain: Chain, caplog: pytest.LogCaptureFixture
) -> None:
    await until(lambda: "leaf" in chain.control.node.membership.registry.view.nodes)
    async with running_edge_service(chain.relay.node.address, node="leaf"):
        await until(lambda: "another process is node `leaf`" in reasons(caplog))


async def test_an_edge_goes_on_while_its_relay_is_replaced(tmp_path: Path) -> None:
    """Another relay at the same address, with another name: streams go on at the same cursor."""
    async with running_service(node="control") as control:
        await control.publish(_ALLOW)
        async with running_edge(control.node.address, node="one") as one:
            await until(lambda: one.active.is_loaded)
            address = one.address
            async with running_edge(address, node="leaf", upstream=_SOON) as leaf:
                await until(lambda: leaf.active.is_loaded)
                await one.drain()
                async with running_edge(control.node.address, node="two", listen=address):
                    published = await control.publish(_STOP)
                    await leaf.active.wait_for(published.revision, TIMEOUT_S)  # type: ignore[arg-type]
                    assert leaf.following.lineage().nodes == ("leaf", "two", "control")
                    assert leaf.hub.resets == 0
                    await asyncio.sleep(0)
