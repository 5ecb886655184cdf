"""Both clients with several endpoints: real servers that do as a test tells them."""

from __future__ import annotations

import asyncio
import inspect
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import grpc
import pytest

import placet
from placet import Balancing, EndpointState, Request
from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    subscribe_service_pb2,
    subscribe_service_pb2_grpc,
)
from tests.sdk.fleet import (
    NOT_SERVING,
    SERVING,
    FleetNode,
    addresses,
    elsewhere,
    fleet,
    hang,
    in_regions,
    overloaded,
    refuses,
    route,
)
from tests.sdk.scripted import Context, end, fail, say
from tests.sdk.source import Source, policy

TENANT = "acme"
ASKED = (("User", "alice"), "view", ("Document", "one"))
TIMEOUT_S = 10.0


class Asker:
    """One client or the other, asked in the same words."""

    def __init__(self, client: placet.Client | placet.aio.Client) -> None:
        self.client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        function: Callable[..., Any] = getattr(self.client, method)
        if isinstance(self.client, placet.Client):
            return await asyncio.to_thread(lambda: _read(function(*args, **kwargs)))
        result = function(*args, **kwargs)
        if inspect.isasyncgen(result):
            return [entry async for entry in result]
        return await result

    async def node(self, **kwargs: Any) -> str:
        """Return who answers."""
        decision = await self("evaluate", *ASKED, **kwargs)
        return str(decision.node)

    async def nodes(self, count: int = 30) -> Counter[str]:
        """Return who answers how often."""
        return Counter([await self.node() for _ in range(count)])

    def state(self, node: FleetNode) -> EndpointState:
        """Return what an endpoint is taken for."""
        return self.endpoint(node).state

    def endpoint(self, node: FleetNode) -> placet.EndpointStatistics:
        """Return what can be seen of an endpoint."""
        (found,) = [each for each in self.client.endpoints() if each.address == node.address]
        return found

    async def until(self, holds: Callable[[], bool]) -> None:
        """Wait until something holds that nobody tells of."""
        async with asyncio.timeout(TIMEOUT_S):
            while not holds():  # noqa: ASYNC110  # no event tells
                await asyncio.sleep(0.01)


def _read(result: Any) -> Any:
    return list(result) if inspect.isgenerator(result) else result


@pytest.fixture(name="kind", params=["threads", "tasks"])
def kind_fixture(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@asynccontextmanager
async def asking(
    kind: str,
    target: Any,
    balancing: Balancing | None = None,
    *,
    ready: bool = True,
    **options: Any,
) -> AsyncIterator[Asker]:
    options |= {"tenant": TENANT, "timeout_s": options.get("timeout_s", 5.0)}
    options["balancing"] = balancing
    if kind == "threads":
        client = placet.Client(target, **options)
        try:
            asker = Asker(client)
            if ready:
                await asker("wait_ready", timeout_s=TIMEOUT_S)
            yield asker
        finally:
            await asyncio.to_thread(client.close)
    else:
        async with placet.aio.Client(target, **options) as aio_client:
            if ready:
                await aio_client.wait_ready(timeout_s=TIMEOUT_S)
            yield Asker(aio_client)


# --------------------------------------------------------------------------------- targets


@pytest.mark.parametrize("form", ["text", "sequence", "endpoints"])
async def test_calls_go_to_all_endpoints_that_are_named(kind: str, form: str) -> None:
    async with fleet(3) as nodes:
        target: Any = addresses(nodes)
        if form == "sequence":
            target = [node.address for node in nodes]
        elif form == "endpoints":
            target = tuple(placet.Endpoint(node.address) for node in nodes)
        async with asking(kind, target, Balancing(strategy="round_robin")) as ask:
            found = await ask.nodes(30)

    assert {"node-0": 10, "node-1": 10, "node-2": 10} == found


async def test_weights_are_kept_to(kind: str) -> None:
    async with fleet(2) as nodes:
        target = [
            placet.Endpoint(nodes[0].address, weight=100),
            placet.Endpoint(nodes[1].address, weight=300),
        ]
        async with asking(kind, target, Balancing(strategy="weighted")) as ask:
            found = await ask.nodes(40)

    assert 9 <= found["node-0"] <= 11


async def test_one_plain_target_is_as_it_was(kind: str) -> None:
    threads = {thread.name for thread in threading.enumerate()}
    async with fleet(1) as nodes, asking(kind, nodes[0].address) as ask:
        assert "node-0" == await ask.node()
        started = {thread.name for thread in threading.enumerate()} - threads
        assert () == ask.client.endpoints()
        nodes[0].act = hang
        with pytest.raises(placet.DeadlineExceeded):
            await ask.node(timeout_s=0.2)

    assert not {name for name in started if name.startswith("placet")}


async def test_a_name_is_all_of_its_addresses(kind: str) -> None:
    async with fleet(1) as nodes:
        port = nodes[0].address.rpartition(":")[2]
        target = placet.Dns(f"localhost:{port}")
        async with asking(kind, target) as ask:
            assert "node-0" == await ask.node()
            assert nodes[0].address in {found.address for found in ask.client.endpoints()}


async def test_a_name_that_is_none_says_so(kind: str) -> None:
    async with asking(kind, placet.Dns("no-such-name.invalid:1"), ready=False) as ask:
        with pytest.raises(placet.CouldNotDecide, match=r"no-such-name\.invalid"):
            await ask.node(timeout_s=0.5)


@pytest.mark.parametrize(
    ("target", "balancing", "message"),
    [
        ([], None, "name where a server is"),
        ("a:1,,b:1", None, "write `host:port`"),
        (["a:1", "a:1"], None, "twice"),
        ("a:1,b:1", Balancing(regions=["eu-west"]), "no endpoint in any of the regions"),
        (placet.Topology(bootstrap="a:1"), Balancing(regions=["eu"]), "the route orders them"),
    ],
)
def test_targets_that_cannot_be_are_refused_at_once(
    target: Any, balancing: Balancing | None, message: str
) -> None:
    for made in (placet.Client, placet.aio.Client):
        with pytest.raises(placet.InvalidRequest, match=message):
            made(target, tenant=TENANT, balancing=balancing)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"strategy": "best"}, "use one of `round_robin`"),
        ({"regions": "eu-west"}, "pass several"),
        ({"attempts": 0}, "attempts"),
        ({"hedge_after_s": -1.0}, "hedge_after_s"),
        ({"hedge_after_s": "p99"}, "hedge_after_s"),
        ({"max_ejected_share": 2.0}, "max_ejected_share"),
    ],
)
def test_options_that_cannot_be_are_refused(options: dict[str, Any], message: str) -> None:
    with pytest.raises(placet.InvalidRequest, match=message):
        Balancing(**options)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: placet.Endpoint("a:1", weight=0), "weight"),
        (lambda: placet.Endpoint(" "), "address"),
        (lambda: placet.Dns("a"), "name:port"),
        (lambda: placet.Topology(bootstrap=""), "host:port"),
    ],
)
def test_endpoints_that_cannot_be_are_refused(made: Callable[[], Any], message: str) -> None:
    with pytest.raises(placet.InvalidRequest, match=message):
        made()


# ---------------------------------------------------------------------------------- health


async def test_a_node_that_says_it_does_not_serve_gets_nothing(kind: str) -> None:
    async with fleet(3) as nodes, asking(kind, addresses(nodes)) as ask:
        await nodes[0].set_health(NOT_SERVING)
        await ask.until(lambda: ask.state(nodes[0]) is EndpointState.UNHEALTHY)
        sick = await ask.nodes()
        await nodes[0].set_health(SERVING)
        await ask.until(lambda: ask.state(nodes[0]) is EndpointState.READY)

        assert {"node-1", "node-2"} == set(sick)
        assert ask.endpoint(nodes[0]).ramp < 0.5


async def test_a_node_that_is_gone_is_noticed_without_a_call_and_found_again(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        await nodes[0].kill()
        await ask.until(lambda: ask.state(nodes[0]) is EndpointState.UNHEALTHY)
        while_gone = await ask.nodes()
        await nodes[0].start()
        await ask.until(lambda: ask.state(nodes[0]) is EndpointState.READY)

        assert {"node-1": 30} == while_gone
        assert 0 == ask.endpoint(nodes[0]).failures


async def test_servers_without_a_health_service_are_judged_by_their_calls(kind: str) -> None:
    in_turn = Balancing(strategy="round_robin")
    async with (
        fleet(3, has_health=False) as nodes,
        asking(kind, addresses(nodes), in_turn) as ask,
    ):
        before = await ask.nodes()
        await nodes[0].kill()
        after = await ask.nodes()

    assert {"node-0": 10, "node-1": 10, "node-2": 10} == before
    assert {"node-1", "node-2"} == set(after)


async def test_without_watching_no_health_is_asked_for(kind: str) -> None:
    async with fleet(2) as nodes:
        balancing = Balancing(strategy="round_robin", watch_health=False)
        async with asking(kind, addresses(nodes), balancing) as ask:
            await nodes[0].set_health(NOT_SERVING)
            found = await ask.nodes(10)

    assert {"node-0": 5, "node-1": 5} == found


async def test_nobody_to_be_reached_is_said_with_each_endpoint() -> None:
    async with fleet(2) as nodes:
        target = addresses(nodes)
    with (
        placet.Client(target, tenant=TENANT) as client,
        pytest.raises(placet.DeadlineExceeded, match=f"`{nodes[0].address}` is unhealthy"),
    ):
        await asyncio.to_thread(client.wait_ready, timeout_s=1.0)


# --------------------------------------------------------------------------------- retries


async def test_a_call_that_breaks_is_made_at_another_endpoint(kind: str) -> None:
    async with fleet(3) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes[:2]:
            node.act = fail(grpc.StatusCode.UNAVAILABLE)
        found = await ask.nodes(20)

        assert {"node-2": 20} == found
        assert 1 <= ask.endpoint(nodes[0]).failures <= 3


async def test_a_node_that_hangs_costs_a_part_of_the_deadline(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes), timeout_s=2.0) as ask:
        nodes[0].act = hang
        found = await ask.nodes(20)

        assert {"node-1": 20} == found
        assert EndpointState.SUSPECT is ask.state(nodes[0])


async def test_the_only_endpoint_gets_the_whole_deadline(kind: str) -> None:
    async def slow(context: Context) -> None:
        await asyncio.sleep(0.6)

    async with fleet(1) as nodes, asking(kind, nodes[0].address, Balancing()) as ask:
        nodes[0].act = slow
        assert "node-0" == await ask.node(timeout_s=5.0)
        assert 1 == ask.endpoint(nodes[0]).calls


async def test_the_last_attempt_gets_all_the_time_that_is_left(kind: str) -> None:
    async def slow(context: Context) -> None:
        await asyncio.sleep(0.7)

    async with fleet(3) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes:
            node.act = slow
        assert (await ask.node(timeout_s=5.0)).startswith("node-")


async def test_too_much_to_do_here_is_asked_elsewhere(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        nodes[0].act = overloaded()
        found = await ask.nodes(20)

        assert {"node-1": 20} == found
        assert (0, EndpointState.READY) == (
            ask.endpoint(nodes[0]).failures,
            ask.state(nodes[0]),
        )


async def test_too_much_to_do_everywhere_is_said(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes:
            node.act = overloaded()
        with pytest.raises(placet.ResourceExhausted) as caught:
            await ask.node()

    assert 2 == sum(len(node.requests) for node in nodes)
    assert caught.value.retry_after is not None


async def test_a_tenant_that_asks_for_too_much_is_not_let_in_elsewhere(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes:
            node.act = refuses(grpc.StatusCode.RESOURCE_EXHAUSTED, "TENANT_LIMIT")
        with pytest.raises(placet.ResourceExhausted):
            await ask.node()

    assert 1 == sum(len(node.requests) for node in nodes)


async def test_a_stale_node_is_passed_over(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        nodes[0].act = refuses(grpc.StatusCode.FAILED_PRECONDITION, "NODE_STALE")

        assert {"node-1": 20} == await ask.nodes(20)


async def test_a_wrong_request_is_wrong_everywhere(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes:
            node.act = fail(grpc.StatusCode.INVALID_ARGUMENT)
        with pytest.raises(placet.InvalidRequest):
            await ask.node()

    assert 1 == sum(len(node.requests) for node in nodes)


async def test_a_write_is_repeated_with_its_request_id(kind: str) -> None:
    in_turn = Balancing(strategy="round_robin")
    async with fleet(2) as nodes, asking(kind, addresses(nodes), in_turn) as ask:
        nodes[0].act = fail(grpc.StatusCode.UNAVAILABLE)
        for _ in range(3):
            publication = await ask("publish", placet.ChangeSet())
            assert 7 == publication.revision

    (retried,) = nodes[0].publishes
    assert retried.request_id in {request.request_id for request in nodes[1].publishes}


async def test_what_one_node_does_not_offer_another_may(kind: str) -> None:
    """Nodes without a store take no changes; those of a control plane do."""
    async with fleet(2) as nodes, asking(kind, addresses(nodes)) as ask:
        nodes[0].act = fail(grpc.StatusCode.UNIMPLEMENTED)
        for _ in range(4):
            assert 7 == (await ask("publish", placet.ChangeSet())).revision
        nodes[1].act = fail(grpc.StatusCode.UNIMPLEMENTED)
        with pytest.raises(placet.Unsupported):
            await ask("publish", placet.ChangeSet())


async def test_attempts_do_not_multiply(kind: str) -> None:
    """gRPC's own retries are off: a call that nobody answers well comes to three in all."""
    async with fleet(5) as nodes, asking(kind, addresses(nodes)) as ask:
        for node in nodes:
            node.act = fail(grpc.StatusCode.UNAVAILABLE)
        with pytest.raises(placet.Unavailable):
            await ask.node()

    assert 3 == sum(len(node.requests) for node in nodes)


async def test_retries_end_with_their_budget(kind: str) -> None:
    async with fleet(2) as nodes:
        balancing = Balancing(retry_ratio=0.0, retries_per_second=0.5, watch_health=False)
        async with asking(kind, addresses(nodes), balancing) as ask:
            for node in nodes:
                node.act = fail(grpc.StatusCode.UNAVAILABLE)
            for _ in range(20):
                with pytest.raises(placet.Unavailable):
                    await ask.node()

    # Ten seconds' worth, and those of a second or two that passed meanwhile.
    assert 25 <= sum(len(node.requests) for node in nodes) <= 28


async def test_an_endpoint_that_fails_again_and_again_is_ejected(kind: str) -> None:
    async with fleet(3) as nodes, asking(kind, addresses(nodes)) as ask:
        nodes[0].act = fail(grpc.StatusCode.INTERNAL)
        failures = 0
        for _ in range(60):
            try:
                await ask.node()
            except placet.Internal:
                failures += 1
        found = ask.endpoint(nodes[0])

    assert (3, 1, EndpointState.EJECTED) == (failures, found.ejections, found.state)
    assert isinstance(found.last_error, placet.Internal)


async def test_pages_come_from_who_gave_the_first(kind: str) -> None:
    in_turn = Balancing(strategy="round_robin")
    async with fleet(3) as nodes, asking(kind, addresses(nodes), in_turn) as ask:
        listings = [
            await ask("search", ("User", "alice"), "view", placet.AnyOf("Node")) for _ in range(3)
        ]

    assert [6, 6, 6] == [len(hits) for hits in listings]
    assert [1, 1, 1] == [len({hit.entity.id for hit in hits}) for hits in listings]
    assert 3 == len({hits[0].entity.id for hits in listings})


# --------------------------------------------------------------------------------- hedging


async def test_a_slow_call_is_asked_at_another_too(kind: str) -> None:
    async with fleet(2) as nodes:
        balancing = Balancing(strategy="round_robin", hedge_after_s=0.05)
        async with asking(kind, addresses(nodes), balancing) as ask:
            nodes[0].act = hang
            found = await ask.nodes(3)
            await ask.until(lambda: 0 == ask.endpoint(nodes[0]).in_flight)

            assert {"node-1": 3} == found
            assert ask.endpoint(nodes[0]).calls >= 1


async def test_a_hedge_by_what_is_usual_needs_to_know_what_is(kind: str) -> None:
    async with fleet(2) as nodes:
        balancing = Balancing(strategy="round_robin", hedge_after_s="p95")
        async with asking(kind, addresses(nodes), balancing) as ask:
            await ask.nodes(30)
            nodes[0].act = hang
            found = await ask.nodes(4)

    assert {"node-1": 4} == found


async def test_when_all_that_were_asked_fail_it_is_said(kind: str) -> None:
    async with fleet(2) as nodes:
        balancing = Balancing(hedge_after_s=0.02)
        async with asking(kind, addresses(nodes), balancing) as ask:
            for node in nodes:
                node.act = fail(grpc.StatusCode.INTERNAL)
            with pytest.raises(placet.Internal):
                await ask.node()
            for node in nodes:
                node.act = fail(grpc.StatusCode.UNAVAILABLE)
            with pytest.raises(placet.Unavailable):
                await ask.node()


# --------------------------------------------------------------------------------- regions


async def test_a_region_that_is_lost_hands_over_to_an_allowed_one_only(kind: str) -> None:
    async with fleet(4) as nodes:
        target = in_regions(eu_west=nodes[:2], eu_central=nodes[2:3], us_east=nodes[3:])
        balancing = Balancing(regions=["eu-west", "eu-central"])
        async with asking(kind, target, balancing) as ask:
            near = await ask.nodes()
            for node in nodes[:2]:
                await node.kill()
            lost = await ask.nodes()
            await nodes[2].kill()
            with pytest.raises(placet.Unavailable):
                await ask.node(timeout_s=1.0)

    assert {"node-0", "node-1"} == set(near)
    assert {"node-2": 30} == lost
    assert [] == nodes[3].requests


async def test_a_refusal_leads_to_where_the_tenant_may_be(kind: str) -> None:
    async with fleet(3) as nodes, asking(kind, addresses(nodes[:1]), Balancing()) as ask:
        nodes[0].act = elsewhere(route(eu_west=nodes[1:2], eu_central=nodes[2:]))
        found = await ask.nodes(10)
        await nodes[1].kill()
        fallback = await ask.nodes(10)

    assert {"node-1": 10} == found
    assert {"node-2": 10} == fallback
    assert 1 == len(nodes[0].requests)


@pytest.mark.parametrize("balancing", [None, Balancing()], ids=["plain", "balanced"])
async def test_a_refusal_is_of_one_tenant(kind: str, balancing: Balancing | None) -> None:
    """A client of one target, which has nothing to choose from, goes there, too."""
    async with fleet(2) as nodes, asking(kind, nodes[0].address, balancing) as ask:
        nodes[0].act = elsewhere(route(eu_west=nodes[1:]))
        assert "node-1" == await ask.node()
        nodes[0].act = None

        assert "node-0" == await ask.node(tenant="globex")
        assert "node-1" == await ask.node()


async def test_where_a_target_is_grpcs_own_a_refusal_is_said(kind: str) -> None:
    """It cannot be read as endpoints to choose from."""
    async with fleet(2) as nodes:
        target = "ipv4:" + ",".join([nodes[0].address] * 3)
        async with asking(kind, target, None) as ask:
            nodes[0].act = elsewhere(route(eu_west=nodes[1:]))
            with pytest.raises(placet.WrongRegion) as refused:
                await ask.node()

    assert refused.value.route is not None
    assert [] == nodes[1].requests


async def test_a_refusal_that_leads_to_another_refusal_is_said(kind: str) -> None:
    async with fleet(2) as nodes, asking(kind, nodes[0].address, Balancing()) as ask:
        for node in nodes:
            node.act = elsewhere(route(eu_west=nodes[1:]))
        with pytest.raises(placet.WrongRegion):
            await ask.node()

    assert [1, 1] == [len(node.requests) for node in nodes]


async def test_a_refusal_does_not_lead_out_of_the_clients_own_regions(kind: str) -> None:
    async with fleet(2) as nodes:
        target = in_regions(eu_west=nodes[:1])
        async with asking(kind, target, Balancing(regions=["eu-west"])) as ask:
            nodes[0].act = elsewhere(route(us_east=nodes[1:]))
            with pytest.raises(placet.WrongRegion):
                await ask.node()

    assert [] == nodes[1].requests


# -------------------------------------------------------------------------------- topology


async def test_a_route_is_followed_as_it_changes(kind: str) -> None:
    async with fleet(4) as nodes:
        knows, *others = nodes
        await knows.set_route(route(eu_west=others[:1]))
        target = placet.Topology(bootstrap=knows.address, place=placet.Country("IE"))
        async with asking(kind, target) as ask:
            first = await ask.nodes(10)
            await knows.set_route(route(eu_west=others[1:2], eu_central=others[2:]))
            await ask.until(lambda: len(ask.client.endpoints()) == 2)
            second = await ask.nodes(10)

    assert {"node-1": 10} == first
    assert {"node-2": 10} == second
    (watched,) = knows.watched_routes
    assert (TENANT, "IE") == (watched.tenant, watched.location.country)
    assert [] == knows.requests


async def test_the_last_route_holds_while_nobody_knows_a_newer_one(kind: str) -> None:
    async with fleet(3) as nodes:
        knows, *others = nodes
        await knows.set_route(route(eu_west=others))
        async with asking(kind, placet.Topology(bootstrap=knows.address)) as ask:
            await knows.kill()
            found = await ask.nodes(20)
            # Nodes of the route are asked for it as well.
            await ask.until(lambda: bool(others[0].watched_routes or others[1].watched_routes))

    assert {"node-1", "node-2"} == set(found)


async def test_a_server_that_knows_of_no_node_is_not_believed_about_those_that_are_known(
    kind: str,
) -> None:
    """One that has just started knows of no leases. That must not take every client's endpoints."""
    async with fleet(3) as nodes:
        knows, *others = nodes
        await knows.set_route(route(eu_west=others[:1], us_east=others[1:]))
        async with asking(kind, placet.Topology(bootstrap=knows.address)) as ask:
            before = await ask.nodes(5)
            await knows.set_route(route(us_east=[], eu_central=[]))
            await ask.until(lambda: len(ask.client.endpoints()) == 1)
            held = await ask.nodes(5)
            await knows.set_route(route(eu_central=[]))
            await ask.until(lambda: not ask.client.endpoints())
            with pytest.raises(placet.Unavailable, match="no node takes calls"):
                await ask.node()

    assert ({"node-1": 5}, {"node-2": 5}) == (before, held)


async def test_another_server_is_asked_when_one_does_not_know(kind: str) -> None:
    async with fleet(3) as nodes:
        silent, knows, other = nodes
        silent.act = fail(grpc.StatusCode.UNAVAILABLE)
        await knows.set_route(route(eu_west=[other]))
        target = placet.Topology(bootstrap=[silent.address, knows.address])
        async with asking(kind, target) as ask:
            assert "node-2" == await ask.node()


async def test_a_tenant_that_may_be_nowhere_is_told_so(kind: str) -> None:
    async with fleet(1) as nodes:
        nodes[0].act = refuses(grpc.StatusCode.FAILED_PRECONDITION, "NO_REGION_ALLOWED")
        target = placet.Topology(bootstrap=nodes[0].address)
        async with asking(kind, target, ready=False) as ask:
            with pytest.raises(placet.FailedPrecondition, match="no_region_allowed"):
                await ask.node()


async def test_without_a_route_calls_wait_and_say_why(kind: str) -> None:
    async with fleet(1) as nodes:
        nodes[0].act = fail(grpc.StatusCode.UNAVAILABLE, "still starting")
        target = placet.Topology(bootstrap=nodes[0].address)
        async with asking(kind, target, ready=False) as ask:
            with pytest.raises(placet.DeadlineExceeded, match="still starting"):
                await ask.node(timeout_s=1.0)


def test_a_route_is_some_tenants() -> None:
    with pytest.raises(placet.InvalidRequest, match="tenant"):
        placet.Client(placet.Topology(bootstrap="a:1"))


# --------------------------------------------------------------------------------- streams


async def _echo(
    requests: AsyncIterator[evaluate_service_pb2.EvaluateStreamRequest], context: Context
) -> AsyncIterator[evaluate_service_pb2.EvaluateStreamResponse]:
    async for request in requests:
        response = evaluate_service_pb2.EvaluateStreamResponse(
            correlation_id=request.correlation_id
        )
        response.decision.outcome = decision_pb2.OUTCOME_ALLOW
        response.decision.decision_id = "x"
        yield response


async def test_a_stream_stays_where_it_begins(kind: str) -> None:
    async with fleet(3) as nodes, asking(kind, addresses(nodes)) as ask:
        served = []
        for node in nodes:

            async def answer(
                requests: Any, context: Context, node: FleetNode = node
            ) -> AsyncIterator[Any]:
                served.append(node.name)
                async for response in _echo(requests, context):
                    yield response

            node.answer_stream = answer
        requests = [
            (str(number), Request(subject=ASKED[0], action="view", resource=ASKED[2]))
            for number in range(20)
        ]
        answers = await ask("evaluate_stream", requests)

        assert (20, 1) == (len(answers), len(served))
        assert [0, 0, 0] == [found.in_flight for found in ask.client.endpoints()]


async def test_a_stream_that_breaks_is_told_to_its_reader(kind: str) -> None:
    async with fleet(1) as nodes, asking(kind, nodes[0].address, Balancing()) as ask:

        async def broken(requests: Any, context: Context) -> AsyncIterator[Any]:
            async for _ in requests:
                await context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
            yield evaluate_service_pb2.EvaluateStreamResponse()

        nodes[0].answer_stream = broken
        requests = [("1", Request(subject=ASKED[0], action="view", resource=ASKED[2]))]
        with pytest.raises(placet.Unavailable):
            await ask("evaluate_stream", requests)
        assert (0, 1) == (ask.endpoint(nodes[0]).in_flight, ask.endpoint(nodes[0]).failures)


async def test_a_stream_that_fails_before_it_says_anything_begins_elsewhere(kind: str) -> None:
    source = Source(policy("a"))
    asked = subscribe_service_pb2.SubscribeRequest(tenant=TENANT)
    in_turn = Balancing(strategy="round_robin")
    async with fleet(2) as nodes, asking(kind, addresses(nodes), in_turn) as ask:
        nodes[0].scripts += [say(then=fail(grpc.StatusCode.UNAVAILABLE))] * 2
        nodes[1].scripts += [say(*source.snapshot(), then=end)] * 2
        stub: Any = subscribe_service_pb2_grpc.SubscribeServiceStub(ask.client._channel)
        for _ in range(2):
            if kind == "threads":
                messages = await asyncio.to_thread(lambda: list(stub.Subscribe(asked)))
            else:
                messages = [message async for message in stub.Subscribe(asked)]
            assert len(source.snapshot()) == len(messages)

        assert [1, 2] == [len(node.streams) for node in nodes]
        assert [0, 0] == [found.in_flight for found in ask.client.endpoints()]


async def test_a_subscription_goes_on_at_another_node_from_its_cursor() -> None:
    source = Source(policy("a"))
    async with (
        fleet(2) as nodes,
        placet.aio.Client(addresses(nodes), tenant=TENANT) as client,
    ):
        for node in nodes:
            node.scripts.append(say(*source.snapshot(), source.heartbeat()))
        async with client.subscribe() as subscription:
            await subscription.wait_ready(timeout_s=TIMEOUT_S)
            first, other = nodes if nodes[0].streams else reversed(nodes)
            delta = source.commit(policy("b"))
            other.scripts[:] = [say(delta, source.heartbeat())]
            await first.kill()
            await subscription.wait_until(
                lambda: subscription.revision == source.revision, timeout_s=TIMEOUT_S
            )

    assert b"" == first.streams[0].cursor
    assert b"1" == other.streams[0].cursor


async def test_a_subscription_that_is_refused_follows_where_it_is_led() -> None:
    source = Source(policy("a"))
    async with fleet(2) as nodes:
        refuse = elsewhere(route(eu_west=nodes[1:]))
        nodes[0].scripts.append(say(then=refuse))
        nodes[1].scripts.append(say(*source.snapshot(), source.heartbeat()))
        async with (
            placet.aio.Client(nodes[0].address, tenant=TENANT, balancing=Balancing()) as client,
            client.subscribe() as subscription,
        ):
            await subscription.wait_ready(timeout_s=TIMEOUT_S)

    assert [1, 1] == [len(node.streams) for node in nodes]


async def test_a_subscription_of_threads_goes_on_at_another_node() -> None:
    source = Source(policy("a"))
    async with fleet(2) as nodes:
        for node in nodes:
            node.scripts.append(say(*source.snapshot(), source.heartbeat(), then=end))
            node.scripts.append(say(*source.since(source.cursor), source.heartbeat()))

        def follow() -> None:
            with (
                placet.Client(addresses(nodes), tenant=TENANT) as client,
                client.subscribe() as subscription,
            ):
                subscription.wait_ready(timeout_s=TIMEOUT_S)
                subscription.wait_for([placet.State.STALE], timeout_s=TIMEOUT_S)
                subscription.wait_ready(timeout_s=TIMEOUT_S)

        await asyncio.to_thread(follow)

    assert 2 <= sum(len(node.streams) for node in nodes)


# ------------------------------------------------------------------------- what can be seen


async def test_what_can_be_seen_of_endpoints(kind: str) -> None:
    async with fleet(2) as nodes:
        target = [
            placet.Endpoint(nodes[0].address, region="eu-west", weight=7),
            placet.Endpoint(nodes[1].address, region="eu-west"),
        ]
        async with asking(kind, target, Balancing(strategy="round_robin")) as ask:
            await ask.nodes(10)
            found = ask.endpoint(nodes[0])

    assert ("eu-west", 7, EndpointState.READY, 1.0) == (
        found.region,
        found.weight,
        found.state,
        found.ramp,
    )
    assert (5, 0, 0, 0, None) == (
        found.calls,
        found.failures,
        found.ejections,
        found.in_flight,
        found.last_error,
    )
    assert 0 < found.p50_latency_s <= found.p99_latency_s
    assert 0 < found.mean_latency_s < TIMEOUT_S


async def test_a_closed_client_says_so_and_leaves_nothing_behind(kind: str) -> None:
    async with fleet(2) as nodes:
        async with asking(kind, addresses(nodes)) as ask:
            await ask.node()
        with pytest.raises(placet.Unavailable, match="the client is closed"):
            await ask.node()
        with pytest.raises(placet.Unavailable, match="the client is closed"):
            await ask("evaluate_stream", [])

    assert not [task for task in asyncio.all_tasks() if task.get_name().startswith("placet")]


async def test_a_client_that_is_dropped_is_watched_for_no_longer() -> None:
    async with fleet(1) as nodes:
        client = placet.Client(nodes[0].address, tenant=TENANT, balancing=Balancing())
        await asyncio.to_thread(client.wait_ready)
        assert 1 == nodes[0].watchers
        del client
        await nodes[0].wait_unwatched(timeout_s=TIMEOUT_S)


@pytest.mark.parametrize("hedge_after_s", [None, 1.0])
async def test_who_calls_is_told_to_whoever_answers(kind: str, hedge_after_s: float | None) -> None:
    told = []

    async def note(context: Context) -> None:
        told.append(dict(context.invocation_metadata() or ())["placet-actor"])

    async with fleet(2) as nodes:
        balancing = Balancing(strategy="round_robin", hedge_after_s=hedge_after_s)
        async with asking(kind, addresses(nodes), balancing, actor="ann") as ask:
            for node in nodes:
                node.act = note
            await ask.nodes(4)

    assert ["ann"] * 4 == told


async def test_without_a_token_nobody_is_called_and_with_one_again_everybody(kind: str) -> None:
    good = threading.Event()

    def token() -> str:
        if not good.is_set():
            raise OSError("the token's file is being written")
        return "good"

    async with fleet(2) as nodes:
        credentials = placet.Credentials(plaintext=True, token=token)
        target = addresses(nodes)
        async with asking(kind, target, ready=False, credentials=credentials) as ask:
            with pytest.raises(placet.Unauthenticated, match="being written"):
                await ask.node()
            good.set()
            await ask.until(
                lambda: all(found.state is EndpointState.READY for found in ask.client.endpoints())
            )
            assert {"node-0", "node-1"} == set(await ask.nodes())


async def test_one_plain_target_can_be_waited_for(kind: str) -> None:
    async with fleet(1) as nodes, asking(kind, nodes[0].address, actor="ann") as ask:
        assert "node-0" == await ask.node()
        await nodes[0].kill()
    async with asking(kind, nodes[0].address, ready=False) as ask:
        with pytest.raises(placet.DeadlineExceeded, match="no server can be reached"):
            await ask("wait_ready", timeout_s=0.3)
