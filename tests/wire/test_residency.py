"""Every rule, every region, every rpc: a tenant is served where it may be, and nowhere else.

And what a node holds that may not hold it: nothing, whether it never did or had to let go of it.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from google.protobuf.message import Message

from placet.v1 import (
    evaluate_service_pb2,
    policy_pb2,
    rollout_pb2,
    rollout_service_pb2,
    subscribe_service_pb2,
    topology_pb2,
)
from placet_engine.placement.regions import DEFAULT_REGIONS, LOCAL
from placet_engine.placement.residency import ResidencyRule, allows
from placet_server.api.rpcs import RPCS
from placet_server.api.server import PLACET_SERVICES
from tests.waiting import until
from tests.wire.details import details, info
from tests.wire.service import (
    TENANT,
    TIMEOUT_S,
    Connection,
    Service,
    connected,
    policy,
    request,
    running_service,
)
from tests.wire.test_subscribe import Follower

_ALLOW = "permit(principal, action, resource);"
_EU = topology_pb2.RESIDENCY_RULE_EU_ONLY
_US = topology_pb2.RESIDENCY_RULE_US_ONLY
_ANY = topology_pb2.RESIDENCY_RULE_ANY
_NO_US = topology_pb2.RESIDENCY_RULE_NO_US

_JURISDICTIONS = {region.name: region.jurisdiction for region in DEFAULT_REGIONS} | {LOCAL: ""}
_ALLOWED_AT = {
    ResidencyRule.ANY: "eu-west",
    ResidencyRule.EU_ONLY: "eu-west",
    ResidencyRule.US_ONLY: "us-east",
    ResidencyRule.APAC_ONLY: "apac-northeast",
    ResidencyRule.NO_US: "eu-west",
}


def _tenant(rule: ResidencyRule) -> str:
    return rule.name.lower()


@pytest.fixture(scope="module", name="store")
def store_fixture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with a tenant under each rule, each published where it may be."""
    path = tmp_path_factory.mktemp("residency") / "placet.db"

    async def fill() -> None:
        for rule, region in _ALLOWED_AT.items():
            async with running_service(path=path, region=region) as service:
                tenant = _tenant(rule)
                await service.publish(policy("p", _ALLOW), tenant=tenant)
                await service.place(_wire(rule), tenant=tenant, home_region=region)

    asyncio.run(fill())
    return path


def _wire(rule: ResidencyRule) -> topology_pb2.ResidencyRule.ValueType:
    return topology_pb2.ResidencyRule.ValueType(rule.value)


# ------------------------------------------------------------------------ every rpc there is

# What names placements, and what leads callers to where they may go, is served everywhere.
_EVERYWHERE = "/placet.v1.TopologyService/"


def _about_tenants() -> Iterator[str]:
    """Yield every method that is served and can be about a tenant."""
    for method, rpc in RPCS.items():
        served = method.split("/")[1] in PLACET_SERVICES
        if served and not method.startswith(_EVERYWHERE) and (rpc.tenant_field or rpc.passed_over):
            yield method


METHODS = tuple(_about_tenants())


def _requests(method: str, tenant: str) -> list[Message]:
    """Return calls of a method that name a tenant: one for each way to do so."""
    asked = request(tenant=tenant)
    match method.rpartition("/")[2]:
        # These take bytes, and look at the tenant when they have read the rest.
        case "Evaluate":
            return [asked]
        case "EvaluateBatch":
            item = evaluate_service_pb2.BatchItem(subject=asked.subject)
            return [
                evaluate_service_pb2.EvaluateBatchRequest(
                    tenant=tenant, action=asked.action, resource=asked.resource, items=[item]
                )
            ]
        case "EvaluateStream":
            return [evaluate_service_pb2.EvaluateStreamRequest(request=asked)]
    rpc = RPCS[method]
    paths = {rpc.tenant_field, *rpc.passed_over} - {""}
    return [_naming(method, path, tenant) for path in sorted(paths)]


def _naming(method: str, path: str, tenant: str) -> Message:
    """Return an otherwise empty call that names a tenant at a path."""
    pool = descriptor_pool.Default()
    service, name = method.removeprefix("/").split("/")
    described = pool.FindServiceByName(service).methods_by_name[name]
    message: Any = message_factory.GetMessageClass(described.input_type)()
    found = message
    *outer, last = path.split(".")
    for part in outer:
        inner = getattr(found, part)
        found = inner if isinstance(inner, Message) else inner.add()
    setattr(found, last, tenant)
    assert isinstance(message, Message)
    return message


async def _refusal(
    service: Connection, method: str, message: Message
) -> topology_pb2.ResidencyRefusal | None:
    """Make a call; return what it was refused by, if it was for where the tenant may be."""
    pool = descriptor_pool.Default()
    service_name, name = method.removeprefix("/").split("/")
    described = pool.FindServiceByName(service_name).methods_by_name[name]
    read = message_factory.GetMessageClass(described.output_type).FromString
    write = type(message).SerializeToString
    channel = service.channel
    try:
        if described.client_streaming:
            stream = channel.stream_stream(method, write, read)(timeout=TIMEOUT_S)
            await stream.write(message)
            await stream.done_writing()
            response: Any = await stream.read()
        elif described.server_streaming:
            following = channel.unary_stream(method, write, read)(message, timeout=TIMEOUT_S)
            response = await following.read()
            following.cancel()
        else:
            response = await channel.unary_unary(method, write, read)(message, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        if info(error).reason != "WRONG_REGION":
            return None
        return _detailed(error)
    return _refusal_among(response)


def _detailed(error: grpc.aio.AioRpcError) -> topology_pb2.ResidencyRefusal:
    assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
    (refusal,) = details(error, topology_pb2.ResidencyRefusal)
    assert isinstance(refusal, topology_pb2.ResidencyRefusal)
    return refusal


def _refusal_among(response: Any) -> topology_pb2.ResidencyRefusal | None:
    """Return an empty refusal for one in the place of a decision, which has no details."""
    results = [*getattr(response, "results", ()), response]
    for result in results:
        error = getattr(result, "error", None)
        if error is not None and error.reason == "WRONG_REGION":
            assert error.code == grpc.StatusCode.FAILED_PRECONDITION.value[0]
            assert "go to `" in error.message
            return topology_pb2.ResidencyRefusal()
    return None


def test_no_rpc_about_tenants_was_forgotten() -> None:
    """Those of services to come are added by serving them."""
    names = {method.rpartition("/")[2] for method in METHODS}
    assert {"Evaluate", "EvaluateBatch", "EvaluateStream", "Explain", "Search"} <= names
    assert {"Publish", "Get", "List", "History", "Diff", "Validate", "Test"} <= names
    assert {"StartRollout", "WatchRollout", "Subscribe", "GetCacheStatistics"} <= names
    assert len(METHODS) >= 25


@pytest.mark.parametrize("region", _JURISDICTIONS)
async def test_every_rule_in_every_region_for_every_rpc(region: str, store: Path) -> None:
    async with running_service(path=store, region=region) as service:
        held = set(service.node.active.tenants)
        for rule, method in product(ResidencyRule, METHODS):
            tenant = _tenant(rule)
            for message in _requests(method, tenant):
                refusal = await _refusal(service, method, message)
                allowed = allows(rule, _JURISDICTIONS[region])
                assert (refusal is None) is allowed, (rule, region, method)
                if refusal is not None and refusal.region:
                    _check_refusal(refusal, rule, region)

    assert held == {_tenant(rule) for rule in ResidencyRule if allows(rule, _JURISDICTIONS[region])}


def _check_refusal(
    refusal: topology_pb2.ResidencyRefusal, rule: ResidencyRule, region: str
) -> None:
    assert refusal.region == region
    assert refusal.route.tenant == _tenant(rule)
    assert refusal.route.residency == rule.value
    offered = [one.region for one in refusal.route.regions]
    assert set(offered) == {
        name for name, law in _JURISDICTIONS.items() if name != LOCAL and allows(rule, law)
    }


async def test_a_decision_among_others_is_refused_and_the_others_are_made(store: Path) -> None:
    async with running_service(path=store, region="us-east") as service:
        stream = service.evaluate.EvaluateStream(timeout=TIMEOUT_S)
        for number, tenant in enumerate(["us_only", "eu_only", "any"]):
            await stream.write(
                evaluate_service_pb2.EvaluateStreamRequest(
                    correlation_id=str(number), request=request(tenant=tenant)
                )
            )
        await stream.done_writing()
        answers = {answer.correlation_id: answer async for answer in stream}

    assert answers["0"].WhichOneof("result") == "decision"
    assert answers["1"].error.reason == "WRONG_REGION"
    assert "go to `eu-west`, `eu-central`" in answers["1"].error.message
    assert answers["2"].WhichOneof("result") == "decision"


# ---------------------------------------------------------------------- on one store, moving


@dataclass(frozen=True, slots=True)
class _Pair:
    """Two nodes on one store, in two jurisdictions."""

    eu: Service
    us: Service

    async def settle(self) -> None:
        """Wait until both are at the store's head."""
        head = await self.eu.node.store.head()
        for service in (self.eu, self.us):
            await service.node.active.wait_for(head, TIMEOUT_S)


@pytest.fixture(name="pair")
async def pair_fixture(tmp_path: Path) -> AsyncIterator[_Pair]:
    path = tmp_path / "placet.db"
    async with (
        running_service(path=path, region="eu-west", node="eu1") as eu,
        running_service(path=path, region="us-east", node="us1") as us,
    ):
        yield _Pair(eu, us)


async def _reason(service: Service, tenant: str = TENANT) -> str:
    """Ask for a decision; return why there is none."""
    try:
        await service.evaluate.Evaluate(request(tenant=tenant), timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        reason: str = info(error).reason
        return reason
    return ""


async def test_a_placement_takes_a_tenant_from_the_nodes_it_forbids_and_gives_it_back(
    pair: _Pair,
) -> None:
    await pair.eu.publish(policy("p", _ALLOW))
    await pair.settle()
    assert await _reason(pair.us) == ""

    await pair.eu.place(_EU)
    await pair.settle()
    forbidden = await _reason(pair.us)
    # What is published meanwhile is passed over, and there when the tenant comes back.
    await pair.eu.publish(policy("q", _ALLOW))
    await pair.settle()
    window = pair.us.node.active.revision
    still_forbidden = await _reason(pair.us)
    await pair.eu.place(_ANY)
    await pair.settle()
    decision = (await pair.us.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

    assert (forbidden, still_forbidden) == ("WRONG_REGION", "WRONG_REGION")
    assert window == 3
    assert decision.outcome
    assert decision.revision == 3
    assert {"p", "q"} == {reason.policy_id for reason in decision.reasons}


async def test_a_tenant_that_has_nothing_is_refused_before_anything_is_stored(pair: _Pair) -> None:
    await pair.eu.place(_EU)
    await pair.settle()
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await pair.us.publish(policy("p", _ALLOW))

    assert info(refused.value).reason == "WRONG_REGION"
    assert await _reason(pair.us) == "WRONG_REGION"
    assert await _reason(pair.eu) == "TENANT_UNKNOWN", "a placement alone decides nothing"
    assert set(await pair.eu.node.store.owners()) == {".topology"}


async def test_a_platform_change_compiles_nothing_of_who_may_not_be_here(pair: _Pair) -> None:
    await pair.eu.publish(policy("p", _ALLOW))
    await pair.eu.place(_EU)
    await pair.settle()
    stop = policy("stop", "forbid(principal, action, resource);")
    await pair.us.publish(stop, tenant="")
    await pair.settle()

    assert pair.us.node.active.tenants == {}
    assert await _reason(pair.us) == "WRONG_REGION"
    decision = (await pair.eu.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision
    assert [reason.policy_id for reason in decision.reasons] == ["stop"]


async def test_a_node_starts_without_who_may_not_be_there(tmp_path: Path) -> None:
    path = tmp_path / "placet.db"
    async with running_service(path=path, region="eu-west") as eu:
        await eu.publish(policy("p", _ALLOW))
        await eu.place(_EU)
        await eu.publish(policy("q", _ALLOW))
    async with running_service(path=path, region="us-east") as us:
        active = us.node.active
        assert (active.revision, dict(active.tenants)) == (3, {})
        assert await _reason(us) == "WRONG_REGION"


# --------------------------------------------------------------------------------- subscribers


@asynccontextmanager
async def _following(
    service: Service, follower: Follower, **asked: Any
) -> AsyncIterator[asyncio.Task[None]]:
    """Follow until the stream ends, or the block."""
    message = subscribe_service_pb2.SubscribeRequest(cursor=follower.cursor, **asked)
    stream = service.subscribe.Subscribe(message)

    async def follow() -> None:
        async for response in stream:
            follower.take(response)

    task = asyncio.create_task(follow())
    try:
        yield task
    finally:
        stream.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _until(holds: Any) -> None:
    async with asyncio.timeout(TIMEOUT_S):
        while not holds():  # noqa: ASYNC110  # no event tells
            await asyncio.sleep(0.002)


def _owners(follower: Follower) -> set[str]:
    return {owner for owner, *_ in follower.items}


async def _many(service: Service, tenant: str) -> None:
    """Publish something of every kind that has a name of its own."""
    await service.publish(
        policy("p", _ALLOW),
        policy("t", "permit(principal == ?principal, action, resource);"),
        tenant=tenant,
        template_links=[
            {"id": "l", "template_id": "t", "principal": {"type": "User", "id": "ann"}}
        ],
        entities=[{"uid": {"type": "User", "id": "ann"}}, {"uid": {"type": "Group", "id": "g"}}],
    )


async def test_a_relay_gets_only_whom_its_region_may_have(pair: _Pair) -> None:
    await pair.eu.publish(policy("p", _ALLOW), tenant="mine")
    await pair.eu.publish(policy("p", _ALLOW), tenant="other")
    await pair.eu.place(_EU, tenant="mine")
    await pair.settle()
    seen = {}
    for region in ("eu-central", "us-west", "", "no such region"):
        follower = Follower()
        async with _following(pair.eu, follower, region=region):
            await _until(lambda follower=follower: follower.revisions)
        seen[region] = _owners(follower)
    beyond = Follower()
    async with _following(pair.us, beyond, region="eu-central"):
        await _until(lambda: beyond.revisions)

    assert seen["eu-central"] == {"mine", "other", ".topology"}
    for region in ("us-west", "", "no such region"):
        assert seen[region] == {"other", ".topology"}
    assert _owners(beyond) == {"other", ".topology"}, "what comes through the US has been there"


async def test_a_placement_takes_a_tenant_from_relays_with_its_delta(pair: _Pair) -> None:
    """`Follower` checks every checksum against what it holds."""
    await _many(pair.eu, TENANT)
    await pair.eu.publish(policy("p", _ALLOW), tenant="other")
    inside, outside, policies = Follower(), Follower(), Follower()
    only = {"kinds": [policy_pb2.ITEM_KIND_POLICY, policy_pb2.ITEM_KIND_PLACEMENT]}
    async with (
        _following(pair.eu, inside, region="eu-central"),
        _following(pair.eu, outside, region="us-west"),
        _following(pair.eu, policies, region="us-west", filter=only),
    ):
        await _until(lambda: inside.revisions and outside.revisions and policies.revisions)
        assert {TENANT, "other"} <= _owners(outside)
        await pair.eu.place(_EU)
        await pair.eu.publish(policy("q", _ALLOW))
        last = (await pair.eu.publish(policy("r", _ALLOW), tenant="other")).revision
        for follower in (inside, outside, policies):
            await _until(lambda follower=follower: follower.revisions[-1] == last)

    assert _owners(inside) == {TENANT, "other", ".topology"}
    assert _owners(outside) == _owners(policies) == {"other", ".topology"}
    assert not outside.resets


async def test_a_placement_that_allows_a_tenant_again_has_relays_start_over(pair: _Pair) -> None:
    await _many(pair.eu, TENANT)
    await pair.eu.place(_EU)
    follower = Follower()
    async with _following(pair.eu, follower, region="us-west") as following:
        await _until(lambda: follower.revisions)
        assert _owners(follower) == {".topology"}
        await pair.eu.place(_NO_US)
        await pair.eu.place(_ANY)
        await asyncio.wait_for(following, TIMEOUT_S)
    assert follower.resets == [subscribe_service_pb2.ResetRequired.REASON_COMPACTED]
    async with _following(pair.eu, follower, region="us-west"):
        await _until(lambda: TENANT in _owners(follower))


async def test_a_tenant_placed_before_it_has_anything_disturbs_nobody(pair: _Pair) -> None:
    follower = Follower()
    await pair.eu.publish(policy("p", _ALLOW), tenant="other")
    async with _following(pair.eu, follower, region="us-west"):
        await _until(lambda: follower.revisions)
        await pair.eu.place(_EU)
        await pair.eu.place(_ANY)
        last = (await pair.eu.publish(policy("p", _ALLOW))).revision
        await _until(lambda: follower.revisions[-1] == last)

    assert _owners(follower) == {TENANT, "other", ".topology"}
    assert not follower.resets


@pytest.mark.parametrize("rules", [(_EU,), (_EU, _ANY)])
async def test_a_cursor_is_no_good_across_a_move(
    pair: _Pair, rules: tuple[topology_pb2.ResidencyRule.ValueType, ...]
) -> None:
    """What was missed has no removals in it, and may have been forgotten meanwhile."""
    await pair.eu.publish(policy("p", _ALLOW))
    relay, elsewhere = Follower(), Follower()
    for follower, region in ((relay, "us-west"), (elsewhere, "eu-central")):
        async with _following(pair.eu, follower, region=region):
            await _until(lambda follower=follower: follower.revisions)
    for number, rule in enumerate(rules):
        await pair.eu.place(rule)
        await pair.eu.publish(policy(f"q{number}", _ALLOW))

    async with _following(pair.eu, relay, region="us-west") as following:
        await asyncio.wait_for(following, TIMEOUT_S)
    async with _following(pair.eu, elsewhere, region="eu-central"):
        await _until(lambda: len(elsewhere.revisions) == 1 + 2 * len(rules))

    assert len(relay.resets) == 1
    assert not elsewhere.resets, "nothing moved for it"


async def test_a_cursor_of_a_node_that_shows_less_is_no_good_at_one_that_shows_more(
    pair: _Pair,
) -> None:
    await pair.eu.publish(policy("p", _ALLOW))
    await pair.eu.place(_EU)
    await pair.settle()
    follower = Follower()
    async with _following(pair.us, follower, region="eu-central"):
        await _until(lambda: follower.revisions)
    assert TENANT not in _owners(follower)
    async with _following(pair.eu, follower, region="eu-central") as following:
        await asyncio.wait_for(following, TIMEOUT_S)

    assert follower.resets == [subscribe_service_pb2.ResetRequired.REASON_UNKNOWN_CURSOR]


@pytest.mark.parametrize(
    ("region", "said"),
    [
        ("us-west", "may not go to region `us-west`"),
        ("mars", "may not go to region `mars`"),
        ("", "say your region"),
    ],
)
async def test_a_tenant_is_not_followed_from_where_it_may_not_be(
    pair: _Pair, region: str, said: str
) -> None:
    await pair.eu.publish(policy("p", _ALLOW))
    open_, allowed = Follower(), Follower()
    async with (
        _following(pair.eu, open_, tenant=TENANT, region=region) as following,
        _following(pair.eu, allowed, tenant=TENANT, region="eu-central"),
    ):
        await _until(lambda: open_.revisions and allowed.revisions)
        await pair.eu.place(_EU)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(following, TIMEOUT_S)
        last = (await pair.eu.publish(policy("q", _ALLOW))).revision
        await _until(lambda: allowed.revisions[-1] == last)
    again = Follower()
    async with _following(pair.eu, again, tenant=TENANT, region=region) as following:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await asyncio.wait_for(following, TIMEOUT_S)

    for error in (ended.value, refused.value):
        assert error.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert info(error).reason == "REGION_FORBIDDEN"
        assert said in (error.details() or "")
    assert not again.items


async def test_who_follows_a_tenant_is_told_where_to_go_when_the_node_may_not_have_it(
    pair: _Pair,
) -> None:
    await pair.eu.publish(policy("p", _ALLOW))
    await pair.settle()
    follower = Follower()
    async with _following(pair.us, follower, tenant=TENANT, region="eu-central") as following:
        await _until(lambda: follower.revisions)
        await pair.eu.place(_EU)
        with pytest.raises(grpc.aio.AioRpcError) as ended:
            await asyncio.wait_for(following, TIMEOUT_S)

    (refusal,) = details(ended.value, topology_pb2.ResidencyRefusal)
    assert [one.region for one in refusal.route.regions] == ["eu-west", "eu-central"]


# ------------------------------------------------------------------------- what a node holds


@dataclass(frozen=True, slots=True)
class _Held:
    """A node in another process."""

    process: subprocess.Popen[str]
    address: str

    def ask(self, command: str) -> str:
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(f"{command}\n")
        self.process.stdin.flush()
        return self.process.stdout.readline()

    async def reach(self, revision: int) -> None:
        """Wait until the node is at a revision. What it follows may be served by this process."""
        assert (await asyncio.to_thread(self.ask, f"reach {revision}")).strip() == "there"

    def look(self, word: str) -> tuple[int, str]:
        """Return how many objects in the process have a word in them, and some of them."""
        number, _, some = self.ask(f"look {word[::-1]}").partition(" ")
        return int(number), some

    async def until_gone(self, word: str) -> str:
        """Wait until no object has a word in it, as what is under way ends; say what still has."""
        some = "never looked"
        try:
            async with asyncio.timeout(TIMEOUT_S):
                while some:
                    found, some = await asyncio.to_thread(self.look, word)
                    some = some if found else ""
        except TimeoutError:
            return some
        return ""


@contextmanager
def _held(region: str, store: Path, *upstream: str) -> Iterator[_Held]:
    with subprocess.Popen(
        [sys.executable, "-m", "tests.wire.held", region, str(store), *upstream],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            yield _Held(process, process.stdout.readline().strip())
        finally:
            process.kill()


_MARK = "zaqxswcde"
_CANARY = rollout_pb2.CanaryStrategy(
    steps=[rollout_pb2.CanaryStep(share_percent=share) for share in (50, 100)]
)
_STOP = policy(f"{_MARK}-stop", "forbid(principal, action, resource);")


async def _everything_marked(service: Service) -> None:
    """Publish, decide and roll out so that all that is kept of a tenant has the mark in it."""
    uid = {"type": "User", "id": f"{_MARK}-user"}
    await service.publish(
        policy(
            f"{_MARK}-policy",
            f'@reason("{_MARK}") permit(principal, action, resource) '
            f'when {{ context.{_MARK} == "{_MARK}" }};',
            description=_MARK,
        ),
        policy("t", "permit(principal == ?principal, action, resource);"),
        template_links=[{"id": f"{_MARK}-link", "template_id": "t", "principal": uid}],
        entities=[{"uid": uid}],
    )


async def _ask(service: Connection) -> str:
    """Ask twice, so that the answer is remembered; return what there is to say of it."""
    asked = request(f"User::{_MARK}-user", resource=f"Document::{_MARK}", context={_MARK: _MARK})
    answer = ""
    for _ in range(3):
        try:
            response = await service.evaluate.Evaluate(asked, timeout=TIMEOUT_S)
            answer = str(response.decision.outcome)
        except grpc.aio.AioRpcError as error:
            answer = info(error).reason
    return answer


@pytest.mark.parametrize("follows", ["the store", "the node"])
async def test_a_node_that_had_to_let_go_of_a_tenant_holds_nothing_of_it(
    tmp_path: Path, follows: str
) -> None:
    """Nothing in any object of its process: policies, entities, programs, answers, examples.

    And nothing in the file that a node without a store keeps.
    """
    path, state = tmp_path / "placet.db", tmp_path / "edge" / "placet.state"
    state.parent.mkdir()
    async with running_service(path=path, region="eu-west") as eu:
        await _everything_marked(eu)
        await eu.publish(policy("p", _ALLOW), tenant="other")
        own = (path,) if follows == "the store" else (state, eu.node.address)
        with _held("us-east", *own) as held:
            async with connected(held.address) as us:
                head = await eu.node.store.head()
                await held.reach(head)
                assert await _ask(us) == "1"
                if follows == "the node":
                    await until(lambda: bool(_files_with(_MARK, state.parent)))
                await eu.rollouts.StartRollout(
                    rollout_service_pb2.StartRolloutRequest(
                        tenant=TENANT,
                        change_set=policy_pb2.ChangeSet(policies=[_STOP]),
                        plan=rollout_pb2.RolloutPlan(canary=_CANARY),
                    ),
                    timeout=TIMEOUT_S,
                )
                await _ask(us)
                before, _ = held.look(_MARK)

                await eu.place(_EU)
                head = await eu.node.store.head()
                await held.reach(head)
                left = await held.until_gone(_MARK)
                reason = await _ask(us)
                await until(lambda: not _files_with(_MARK, state.parent), timeout_s=3)

    assert before > 10, "this test sees what there is"
    assert (left, reason) == ("", "WRONG_REGION")


@pytest.mark.parametrize("follows", ["the store", "the node"])
async def test_a_node_that_never_may_hold_a_tenant_never_does(tmp_path: Path, follows: str) -> None:
    path, state = tmp_path / "placet.db", tmp_path / "placet.state"
    async with running_service(path=path, region="eu-west") as eu:
        await eu.place(_EU)
        await _everything_marked(eu)
        own = (path,) if follows == "the store" else (state, eu.node.address)
        with _held("us-east", *own) as held:
            await _everything_marked(eu)
            await eu.publish(policy(f"{_MARK}-more", _ALLOW))
            head = await eu.node.store.head()
            await held.reach(head)
            left = await held.until_gone(_MARK)

    assert left == ""


def _files_with(word: str, folder: Path) -> list[Path]:
    return [file for file in folder.iterdir() if word.encode() in file.read_bytes()]


async def test_a_store_that_may_not_hold_a_tenant_has_nothing_of_it_on_disk(
    tmp_path: Path,
) -> None:
    async with running_service(path=tmp_path / "placet.db", region="us-east") as us:
        await us.place(_EU)
        for publish in (_everything_marked(us), us.publish(policy(f"{_MARK}", _ALLOW))):
            with pytest.raises(grpc.aio.AioRpcError):
                await publish
        assert await _ask(us) == "WRONG_REGION"
    assert _files_with(_MARK, tmp_path) == []
