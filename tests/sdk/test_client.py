"""Both clients against a real server: every method, by threads and by event loop."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

import placet
from placet import ChangeSet, ItemKey, ItemKind, Outcome, Policy, Request
from placet_server.app import Node
from placet_server.testing import running_server

TENANT = "acme"
ALICE, BOB = ("User", "alice"), ("User", "bob")
DOC = ("Document", "one")

POLICIES = (
    Policy(
        id="docs/view",
        cedar="""
            @reason("readers view")
            permit(principal in Group::"readers", action == Action::"view", resource);
        """,
        labels={"team": "docs"},
    ),
    Policy(
        id="docs/delete",
        cedar='@approval("leads") permit(principal, action == Action::"delete", resource);',
    ),
    Policy(
        id="docs/print",
        cedar="""
            @obligation("watermark:name")
            permit(principal, action == Action::"print", resource);
        """,
    ),
)
ENTITIES = (
    placet.Entity(placet.EntityRef(*ALICE), {"level": 3}, (placet.EntityRef("Group", "readers"),)),
    placet.Entity(placet.EntityRef(*BOB)),
    placet.Entity(placet.EntityRef(*DOC)),
)


class Asking:
    """Calls a method of one client or the other and returns what it comes to."""

    def __init__(self, client: placet.Client | placet.aio.Client) -> None:
        self._client = client

    async def __call__(self, method: str, *args: Any, **kwargs: Any) -> Any:
        function: Callable[..., Any] = getattr(self._client, method)
        if isinstance(self._client, placet.Client):
            return await asyncio.to_thread(lambda: _read(function(*args, **kwargs)))
        result = function(*args, **kwargs)
        if inspect.isasyncgen(result):
            return [entry async for entry in result]
        return await result


def _read(result: Any) -> Any:
    return list(result) if inspect.isgenerator(result) else result


@pytest.fixture(name="node")
async def node_fixture() -> AsyncIterator[Node]:
    async with running_server() as node:
        yield node


@pytest.fixture(name="ask", params=["threads", "tasks"])
async def ask_fixture(node: Node, request: pytest.FixtureRequest) -> AsyncIterator[Asking]:
    if request.param == "threads":
        with placet.Client(node.address, tenant=TENANT, timeout_s=10) as client:
            yield Asking(client)
    else:
        async with placet.aio.Client(node.address, tenant=TENANT, timeout_s=10) as aio_client:
            yield Asking(aio_client)


@pytest.fixture(name="published")
async def published_fixture(ask: Asking) -> placet.Publication:
    publication = await ask(
        "publish", ChangeSet(policies=POLICIES, entities=ENTITIES), message="first"
    )
    assert isinstance(publication, placet.Publication)
    return publication


@pytest.mark.usefixtures("published")
async def test_evaluate(ask: Asking) -> None:
    allow = await ask("evaluate", ALICE, "view", DOC)
    deny = await ask("evaluate", BOB, "view", DOC)
    approval = await ask("evaluate", BOB, "delete", DOC)
    obliged = await ask("evaluate", BOB, "print", DOC)

    assert (Outcome.ALLOW, placet.Cause.PERMITTED) == (allow.outcome, allow.cause)
    assert (placet.Reason("docs/view", placet.Layer.TENANT, "readers view"),) == allow.reasons
    assert (Outcome.DENY, placet.Cause.NO_PERMIT) == (deny.outcome, deny.cause)
    assert (Outcome.REQUIRES_APPROVAL, ("leads",)) == (approval.outcome, approval.approval_groups)
    assert ("watermark:name",) == obliged.obligations
    assert 1 == allow.revision
    assert allow.decision_id != deny.decision_id
    assert timedelta() <= allow.staleness < timedelta(seconds=10)
    assert "test-node" == allow.node


@pytest.mark.usefixtures("published")
async def test_a_bad_request_is_not_a_denial(ask: Asking) -> None:
    with pytest.raises(placet.InvalidRequest) as caught:
        await ask("evaluate", ("User", ""), "view", DOC)
    assert "subject.id" == caught.value.violations[0].field

    with pytest.raises(placet.NotFound) as missing:
        await ask("evaluate", ALICE, "view", DOC, tenant="nobody")
    assert "TENANT_UNKNOWN" == missing.value.reason


@pytest.mark.usefixtures("published")
async def test_a_batch_has_defaults_and_may_stop_early(ask: Asking) -> None:
    items = [Request(subject=ALICE), Request(subject=BOB), Request(subject=("User", ""))]

    everything = await ask("evaluate_batch", items, action="view", resource=DOC)
    until_deny = await ask(
        "evaluate_batch",
        items,
        action="view",
        resource=DOC,
        semantics=placet.BatchSemantics.DENY_ON_FIRST_DENY,
    )
    until_permit = await ask(
        "evaluate_batch",
        items,
        action="view",
        resource=DOC,
        semantics=placet.BatchSemantics.PERMIT_ON_FIRST_PERMIT,
    )

    assert [True, False, False] == [result.allowed for result in everything]
    assert isinstance(everything[2], placet.DecisionError)
    assert [True, False] == [result.allowed for result in until_deny]
    assert [True] == [result.allowed for result in until_permit]


@pytest.mark.usefixtures("published")
async def test_a_malformed_item_fails_the_batch(ask: Asking) -> None:
    with pytest.raises(placet.InvalidRequest) as caught:
        await ask("evaluate_batch", [Request(subject=("no type", "x"))], action="a", resource=DOC)

    assert "items[0].subject.type" == caught.value.violations[0].field


@pytest.mark.usefixtures("published")
async def test_a_stream(ask: Asking) -> None:
    requests = [
        ("a", Request(subject=ALICE, action="view", resource=DOC)),
        ("b", Request(subject=BOB, action="view", resource=DOC)),
        ("c", Request(subject=("User", ""), action="view", resource=DOC)),
    ]

    answers = dict(await ask("evaluate_stream", requests))

    assert [True, False, False] == [answers[id_].allowed for id_ in "abc"]
    assert "EMPTY_ID" == answers["c"].reason


@pytest.mark.usefixtures("published")
async def test_explain(ask: Asking) -> None:
    subject = placet.Subject(*ALICE, {"level": 9})

    explanation = await ask("explain", subject, "view", DOC)

    assert explanation.decision.allowed
    (layer,) = explanation.layers
    assert (placet.Layer.TENANT, 3) == (layer.layer, layer.policies)
    assert ["docs/view"] == [matched.policy_id for matched in layer.matched]
    assert placet.Effect.PERMIT is layer.matched[0].effect
    assert "readers view" == layer.matched[0].annotations["reason"]
    assert (placet.Override(placet.EntityRef(*ALICE), "level"),) == explanation.overrides
    assert placet.EntityRef(*ALICE) in {entity.uid for entity in explanation.entities}
    assert explanation.steps


@pytest.mark.usefixtures("published")
async def test_search_goes_through_all_pages(ask: Asking) -> None:
    more = [placet.Entity(placet.EntityRef("Document", f"d{number}")) for number in range(7)]
    await ask("publish", ChangeSet(entities=more))

    hits = await ask("search", ALICE, "view", placet.AnyOf("Document"), page_size=3)
    who = await ask("search", placet.AnyOf("User"), "view", DOC)
    what = await ask("search", BOB, placet.AnyOf("Action"), DOC)

    assert [*(f"d{number}" for number in range(7)), "one"] == [hit.entity.id for hit in hits]
    assert ["alice"] == [hit.entity.id for hit in who]
    assert {
        "delete": (Outcome.REQUIRES_APPROVAL, ()),
        "print": (Outcome.ALLOW, ("watermark:name",)),
    } == {hit.entity.id: (hit.outcome, hit.obligations) for hit in what}


async def test_publish_tells_what_it_did(ask: Asking, published: placet.Publication) -> None:
    assert (1, 6, 0) == (published.revision, published.upserts, published.deletes)

    removed = await ask(
        "publish",
        ChangeSet(deletes=[ItemKey(ItemKind.POLICY, "docs/view")]),
        expected_revision=published.revision,
    )

    assert (2, 0, 1) == (removed.revision, removed.upserts, removed.deletes)
    assert not (await ask("evaluate", ALICE, "view", DOC, min_revision=2)).allowed


async def test_publish_on_another_revision_is_a_conflict(
    ask: Asking, published: placet.Publication
) -> None:
    with pytest.raises(placet.Conflict) as caught:
        await ask("publish", ChangeSet(entities=[ENTITIES[0]]), expected_revision=0)

    assert (0, published.revision) == (caught.value.expected, caught.value.actual)


async def test_publish_with_one_request_id_happens_once(ask: Asking) -> None:
    change_set = ChangeSet(policies=POLICIES)

    first = await ask("publish", change_set, request_id="once")
    again = await ask("publish", change_set, request_id="once")

    assert first.revision == again.revision
    assert 1 == len(await ask("history"))


async def test_what_does_not_compile_is_refused_with_every_problem(ask: Asking) -> None:
    bad = ChangeSet(
        policies=[Policy(id="x", cedar="permit("), Policy(id="y", cedar="forbid everything;")]
    )

    with pytest.raises(placet.InvalidRequest) as caught:
        await ask("publish", bad)
    validation = await ask("validate", bad)

    assert 2 == len(caught.value.violations) == len(validation.problems)
    assert not validation.valid
    assert {"x", "y"} == {problem.subject for problem in validation.problems}
    assert {placet.Severity.ERROR} == {problem.severity for problem in validation.problems}


async def test_validate_of_what_is_good(ask: Asking) -> None:
    validation = await ask("validate", ChangeSet(policies=POLICIES))

    assert validation.valid
    with pytest.raises(placet.NotFound):
        await ask("evaluate", ALICE, "view", DOC)


async def test_get_and_list(ask: Asking, published: placet.Publication) -> None:
    schemas = ChangeSet(settings=placet.TenantSettings(max_staleness=timedelta(seconds=30)))
    await ask("publish", schemas)
    keys = [
        ItemKey(ItemKind.POLICY, "docs/view"),
        ItemKey(ItemKind.ENTITY, entity=placet.EntityRef(*ALICE)),
        ItemKey(ItemKind.SETTINGS),
    ]

    items = await ask("get", keys)
    listed = await ask("list_items", page_size=2)
    some = await ask("list_items", kinds=[ItemKind.POLICY], id_prefix="docs/d")
    before = await ask("list_items", revision=published.revision)

    assert [POLICIES[0].id, ENTITIES[0], schemas.settings] == [
        items[0].body.id,
        items[1].body,
        items[2].body,
    ]
    assert keys == [item.key for item in items]
    assert (TENANT, 1) == (items[0].owner, items[0].revision)
    assert 7 == len(listed)
    assert ["docs/delete"] == [item.body.id for item in some]
    assert 6 == len(before)
    with pytest.raises(placet.NotFound):
        await ask("get", [ItemKey(ItemKind.POLICY, "nothing")])


@pytest.mark.usefixtures("published")
async def test_history_and_diff(ask: Asking) -> None:
    changed = Policy(id="docs/view", cedar="permit(principal, action, resource);")
    await ask(
        "publish",
        ChangeSet(policies=[changed], deletes=[ItemKey(ItemKind.POLICY, "docs/print")]),
        message="open up",
    )

    history = await ask("history", page_size=1)
    of_one = await ask("history", key=ItemKey(ItemKind.POLICY, "docs/delete"))
    diff = await ask("diff", 1)

    assert [(2, "open up"), (1, "first")] == [(line.revision, line.message) for line in history]
    assert (TENANT, 1, 1) == (history[0].owner, history[0].upserts, history[0].deletes)
    assert history[0].time.tzinfo is not None
    assert [1] == [line.revision for line in of_one]
    assert (1, 2) == (diff.from_revision, diff.to_revision)
    by_id = {(item.before or item.after).body.id: item for item in diff.items}
    assert by_id["docs/print"].after is None
    assert "docs/view" == by_id["docs/view"].after.body.id
    with pytest.raises(placet.OutOfRange):
        await ask("diff", 1, 99)


@pytest.mark.usefixtures("published")
async def test_a_candidate_is_tested_without_being_published(ask: Asking) -> None:
    forbid = Policy(id="docs/closed", cedar="forbid(principal, action, resource);")

    report = await ask(
        "test",
        [
            Request(subject=ALICE, action="view", resource=DOC),
            Request(subject=("User", ""), action="view", resource=DOC),
        ],
        ChangeSet(policies=[forbid]),
    )

    denied, undecided = report.results
    assert placet.Cause.FORBIDDEN is denied.cause
    assert isinstance(undecided, placet.DecisionError)
    assert "docs/print" in report.unmatched_policy_ids
    assert 1 == report.revision
    assert (await ask("evaluate", ALICE, "view", DOC)).allowed


async def test_the_platforms_policies_hold_for_every_tenant(
    ask: Asking, published: placet.Publication
) -> None:
    closed = Policy(id="closed", cedar="forbid(principal, action, resource);")
    before = await ask("evaluate", ALICE, "view", DOC)

    publication = await ask("publish", ChangeSet(policies=[closed]), tenant=placet.PLATFORM)
    after = await ask("evaluate", ALICE, "view", DOC, min_revision=publication.revision)

    assert (True, False) == (before.allowed, after.allowed)
    assert (placet.Reason("closed", placet.Layer.PLATFORM),) == after.reasons


@pytest.mark.usefixtures("published")
async def test_cache_statistics(ask: Asking) -> None:
    await ask("publish", ChangeSet(policies=POLICIES), tenant="other")
    for subject in (ALICE, BOB, BOB, BOB):
        await ask("evaluate", subject, "print", DOC)
    await ask("evaluate", ALICE, "print", DOC, tenant="other")

    report = await ask("cache_statistics", tenant="")
    mine = await ask("cache_statistics")
    none = await ask("cache_statistics", tenant="", max_tenants=0)

    # Who prints is nothing that policies ask: one miss. What was a hit is known whole from then on.
    assert (1, 3, 2) == (
        report.tenants[TENANT].misses,
        report.tenants[TENANT].hits,
        report.tenants[TENANT].exact_hits,
    )
    assert (4, 0.75) == (report.tenants[TENANT].requests, report.tenants[TENANT].hit_ratio)
    assert [TENANT, "other"] == list(report.tenants)
    assert (2, 3, 2) == (report.total.misses, report.total.hits, report.tenant_count)
    assert 0 < report.total.bytes <= report.max_bytes
    assert ("test-node", timedelta(minutes=5)) == (report.node, report.ttl)
    assert timedelta() < datetime.now(UTC) - report.start_time < timedelta(minutes=5)
    assert {TENANT: report.tenants[TENANT]} == mine.tenants
    assert ({}, report.total) == (none.tenants, none.total)


async def test_cache_statistics_of_what_is_not_there(ask: Asking) -> None:
    with pytest.raises(placet.NotFound):
        await ask("cache_statistics")
    with pytest.raises(placet.InvalidRequest, match="max_tenants"):
        await ask("cache_statistics", tenant="", max_tenants=1001)
    with pytest.raises(placet.InvalidRequest, match="tenant"):
        await ask("cache_statistics", tenant="a b")


def test_a_hit_ratio_of_no_requests_is_none() -> None:
    assert 0.0 == placet.CacheStatistics().hit_ratio


async def test_without_a_tenant_all_are_meant(node: Node) -> None:
    async with placet.aio.Client(node.address, timeout_s=10) as client:
        report = await client.cache_statistics()

    assert (0, {}) == (report.total.requests, report.tenants)


@pytest.mark.usefixtures("published")
async def test_enforce_over_the_wire(node: Node) -> None:
    async with placet.aio.Client(node.address, tenant=TENANT) as client:
        async with client.enforce(ALICE, "view", DOC) as decision:
            assert decision.allowed
        with pytest.raises(placet.Denied):
            async with client.enforce(BOB, "view", DOC):
                pytest.fail("it ran")
        with pytest.raises(placet.UnknownObligation):
            async with client.enforce(BOB, "print", DOC):
                pytest.fail("it ran")

    def enforce() -> None:
        with (
            placet.Client(node.address, tenant=TENANT) as client,
            client.enforce(BOB, "print", DOC, understands=["watermark"]) as decision,
        ):
            assert decision.allowed

    await asyncio.to_thread(enforce)


@pytest.mark.usefixtures("published")
async def test_subscribe_to_a_real_server(node: Node) -> None:
    async with (
        placet.aio.Client(node.address, tenant=TENANT) as client,
        client.subscribe(kinds=[ItemKind.POLICY]) as subscription,
    ):
        snapshot = await subscription.next_event(timeout_s=10)
        await client.publish(ChangeSet(deletes=[ItemKey(ItemKind.POLICY, "docs/view")]))
        delta = await subscription.next_event(timeout_s=10)
        await client.publish(ChangeSet(deletes=[ItemKey(ItemKind.ENTITY, entity=ENTITIES[1].uid)]))
        of_others = await subscription.next_event(timeout_s=10)

    assert isinstance(snapshot, placet.Snapshot)
    assert {policy.id for policy in POLICIES} == {item.key.id for item in snapshot.items}
    assert isinstance(delta, placet.Delta)
    assert ((TENANT, ItemKey(ItemKind.POLICY, "docs/view")),) == delta.removals
    assert isinstance(of_others, placet.Delta)
    assert ((), ()) == (of_others.upserts, of_others.removals)


async def test_a_closed_client_says_so(node: Node) -> None:
    client, aio_client = (made(node.address, tenant=TENANT) for made in _CLIENTS)
    with pytest.raises(placet.NotFound):
        await asyncio.to_thread(client.evaluate, ALICE, "view", DOC)
    with pytest.raises(placet.NotFound):
        await aio_client.evaluate(ALICE, "view", DOC)
    client.close()
    await aio_client.aclose()

    with pytest.raises(placet.Unavailable, match="the client is closed"):
        client.evaluate(ALICE, "view", DOC)
    with pytest.raises(placet.Unavailable, match="the client is closed"):
        next(client.evaluate_stream([]))
    with pytest.raises(placet.Unavailable, match="the client is closed"):
        await aio_client.evaluate(ALICE, "view", DOC)
    with pytest.raises(placet.Unavailable, match="the client is closed"):
        await anext(aio_client.evaluate_stream([]))
    async with aio_client.subscribe() as subscription:
        with pytest.raises(placet.Unavailable, match="the client is closed"):
            await subscription.wait_ready()


_CLIENTS: tuple[Any, Any] = (placet.Client, placet.aio.Client)


def test_both_clients_have_the_same_methods() -> None:
    """And each of them the same parameters, down to their defaults."""
    names = {name for name in vars(placet.aio.Client) | vars(placet.Client) if name[0] != "_"}
    for base in (*placet.Client.__mro__, *placet.aio.Client.__mro__):
        names |= {name for name in vars(base) if name[0] != "_"}

    for name in sorted(names - {"close", "aclose"}):
        mine = inspect.signature(getattr(placet.Client, name)).parameters
        theirs = inspect.signature(getattr(placet.aio.Client, name)).parameters
        assert list(mine) == list(theirs), name
        for parameter in mine:
            if (name, parameter) not in _DIFFERENT_BY_NATURE:
                assert mine[parameter] == theirs[parameter], (name, parameter)


_DIFFERENT_BY_NATURE = {
    ("evaluate_stream", "requests"),  # async iterables as well
    ("enforce", "obligations"),  # coroutine functions as well
    ("enforced", "obligations"),
}
