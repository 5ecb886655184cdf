"""EvaluateService as its callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest
from google.protobuf import duration_pb2

from placet.v1 import decision_pb2, policy_pb2, value_pb2
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.wire import attributes_to_wire
from placet_server.testing import ManualClock
from tests.front.served import behind_envoy
from tests.wire.details import info
from tests.wire.service import TENANT, TIMEOUT_S, Connection, policy, request, running_service

ALLOW, DENY = decision_pb2.OUTCOME_ALLOW, decision_pb2.OUTCOME_DENY

_OWNERS = policy(
    "owners", "permit(principal, action, resource) when { resource.owner == principal };"
)


def _uid(text: str) -> value_pb2.EntityUid:
    kind, _, id_ = text.rpartition("::")
    return value_pb2.EntityUid(type=kind, id=id_)


def _document(id_: str, owner: str) -> value_pb2.Entity:
    return value_pb2.Entity(
        uid=_uid(f"Document::{id_}"),
        attributes={"owner": value_pb2.Value(entity_value=_uid(f"User::{owner}"))},
    )


@pytest.fixture(name="service", params=[running_service, behind_envoy], ids=["grpc", "envoy"])
async def service_fixture(request: pytest.FixtureRequest) -> AsyncIterator[Connection]:
    """A server behind each of the fronts there are."""
    async with request.param() as service:
        await service.publish(
            _OWNERS,
            entities=[_document("one", "alice"), _document("two", "bob")],
        )
        yield service


async def test_a_decision_tells_reason_revision_and_node(service: Connection) -> None:
    decision = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

    assert (ALLOW, decision_pb2.CAUSE_PERMITTED) == (decision.outcome, decision.cause)
    assert ["owners"] == [reason.policy_id for reason in decision.reasons]
    assert (1, "test-node", "local") == (decision.revision, decision.node, decision.region)
    assert decision.HasField("staleness")
    assert not decision.cached


async def test_decision_ids_never_repeat(service: Connection) -> None:
    answers = [await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S) for _ in range(5)]

    assert 5 == len({answer.decision.decision_id for answer in answers})


async def test_a_repeated_request_is_answered_from_the_cache(service: Connection) -> None:
    first = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision
    second = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

    assert (False, True) == (first.cached, second.cached)
    assert first.reasons == second.reasons


async def test_waiting_for_a_revision_asks_nothing_else(service: Connection) -> None:
    await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    answer = await service.evaluate.Evaluate(request(min_revision=1), timeout=TIMEOUT_S)

    assert answer.decision.cached


async def test_a_new_revision_is_never_answered_from_the_cache(service: Connection) -> None:
    await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
    published = await service.publish(policy("stop", "forbid(principal, action, resource);"))

    decision = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

    assert (DENY, False, published.revision) == (
        decision.outcome,
        decision.cached,
        decision.revision,
    )


async def test_stored_attributes_win_over_those_sent(service: Connection) -> None:
    forged = request("User::mallory")
    forged.resource.properties["owner"].entity_value.CopyFrom(_uid("User::mallory"))

    answer = await service.evaluate.Evaluate(forged, timeout=TIMEOUT_S)
    explained = await service.evaluate.Explain(
        evaluate_pb2.ExplainRequest(request=forged), timeout=TIMEOUT_S
    )

    assert answer.decision.outcome == DENY
    assert [("one", "owner")] == [
        (override.entity.id, override.attribute) for override in explained.overrides
    ]


async def test_min_revision_waits_for_the_revision(service: Connection) -> None:
    waiting = asyncio.ensure_future(
        service.evaluate.Evaluate(request(min_revision=2), timeout=TIMEOUT_S)
    )
    await service.publish(policy("stop", "forbid(principal, action, resource);"))

    decision = (await waiting).decision

    assert (DENY, 2) == (decision.outcome, decision.revision)


async def test_a_batch_takes_what_is_left_out_from_its_defaults(service: Connection) -> None:
    response = await service.evaluate.EvaluateBatch(
        evaluate_pb2.EvaluateBatchRequest(
            tenant=TENANT,
            subject=evaluate_pb2.Subject(type="User", id="alice"),
            action=evaluate_pb2.Action(name="view"),
            items=[
                evaluate_pb2.BatchItem(resource=request().resource),
                evaluate_pb2.BatchItem(
                    subject=evaluate_pb2.Subject(type="User", id="bob"),
                    resource=request().resource,
                ),
                evaluate_pb2.BatchItem(resource=request(resource="Document::two").resource),
            ],
        ),
        timeout=TIMEOUT_S,
    )

    assert [ALLOW, DENY, DENY] == [result.decision.outcome for result in response.results]
    assert response.revision == 1


async def test_a_batch_merges_context_and_the_item_s_wins() -> None:
    async with running_service() as service:
        await service.publish(
            policy("c", "permit(principal, action, resource) when { context.a == 1 && context.b };")
        )
        response = await service.evaluate.EvaluateBatch(
            evaluate_pb2.EvaluateBatchRequest(
                tenant=TENANT,
                subject=request().subject,
                action=request().action,
                resource=request().resource,
                context=attributes_to_wire({"a": 1, "b": False}),
                items=[
                    evaluate_pb2.BatchItem(),
                    evaluate_pb2.BatchItem(context=attributes_to_wire({"b": True})),
                ],
            ),
            timeout=TIMEOUT_S,
        )

    assert [DENY, ALLOW] == [result.decision.outcome for result in response.results]


@pytest.mark.parametrize(
    ("semantics", "expected"),
    [
        (evaluate_pb2.BATCH_SEMANTICS_UNSPECIFIED, [DENY, ALLOW, DENY]),
        (evaluate_pb2.BATCH_SEMANTICS_EXECUTE_ALL, [DENY, ALLOW, DENY]),
        (evaluate_pb2.BATCH_SEMANTICS_DENY_ON_FIRST_DENY, [DENY]),
        (evaluate_pb2.BATCH_SEMANTICS_PERMIT_ON_FIRST_PERMIT, [DENY, ALLOW]),
    ],
)
async def test_batch_semantics(
    service: Connection, semantics: evaluate_pb2.BatchSemantics.ValueType, expected: list[int]
) -> None:
    response = await service.evaluate.EvaluateBatch(
        evaluate_pb2.EvaluateBatchRequest(
            tenant=TENANT,
            subject=request().subject,
            action=request().action,
            semantics=semantics,
            items=[
                evaluate_pb2.BatchItem(resource=request(resource=f"Document::{id_}").resource)
                for id_ in ("two", "one", "two")
            ],
        ),
        timeout=TIMEOUT_S,
    )

    assert expected == [result.decision.outcome for result in response.results]


async def test_a_stream_answers_each_by_its_correlation_id_and_survives_bad_ones(
    service: Connection,
) -> None:
    asked = {
        "good": request(),
        "bad": request("nobody"),
        "denied": request("User::eve"),
        "elsewhere": request(tenant="nobody"),
    }
    answers = {}
    call = service.evaluate.EvaluateStream(
        (
            evaluate_pb2.EvaluateStreamRequest(correlation_id=name, request=message)
            for name, message in asked.items()
        ),
        timeout=TIMEOUT_S,
    )
    async for answer in call:
        answers[answer.correlation_id] = answer

    assert asked.keys() == answers.keys()
    assert answers["good"].decision.outcome == ALLOW
    assert answers["denied"].decision.outcome == DENY
    assert ("REQUEST_MALFORMED", "subject.type") == (
        answers["bad"].error.reason,
        answers["bad"].error.field,
    )
    assert answers["elsewhere"].error.reason == "TENANT_UNKNOWN"


async def test_explain_shows_layers_texts_and_why(service: Connection) -> None:
    await service.publish(
        policy("guard", 'forbid(principal == User::"eve", action, resource);'), tenant=""
    )

    explained = await service.evaluate.Explain(
        evaluate_pb2.ExplainRequest(request=request()), timeout=TIMEOUT_S
    )
    plain = await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert explained.decision.outcome == plain.decision.outcome
    assert explained.decision.reasons == plain.decision.reasons
    assert [decision_pb2.LAYER_PLATFORM, decision_pb2.LAYER_TENANT] == [
        layer.layer for layer in explained.layers
    ]
    (matched,) = explained.layers[1].matched
    assert (matched.policy_id, matched.cedar) == (_OWNERS.id, _OWNERS.cedar)
    assert "no forbid matched and a permit did: allow" in explained.steps
    assert {"one"} == {entity.uid.id for entity in explained.entities}


async def test_explain_shows_what_failed_and_what_came_near(service: Connection) -> None:
    near = [
        policy(f"near{number:02}", "permit(principal, action, resource) when { context has x };")
        for number in range(12)
    ]
    broken = policy("broken", "permit(principal, action, resource) when { context.x };")
    await service.publish(*near, broken)

    explained = await service.evaluate.Explain(
        evaluate_pb2.ExplainRequest(request=request("User::eve")), timeout=TIMEOUT_S
    )

    (tenant,) = explained.layers
    assert [(failed.policy_id, failed.cedar) for failed in tenant.failed] == [
        (broken.id, broken.cedar)
    ]
    assert [error.policy_id for error in tenant.errors] == [broken.id]
    assert [unmet.policy_id for unmet in tenant.unmet] == [each.id for each in near[:10]]
    assert tenant.unmet_count == 13, "the owners' policy is about everybody as well"
    assert len(explained.would_change) == 2


async def test_search_finds_resources_page_by_page(service: Connection) -> None:
    await service.publish(
        entities=[_document(f"more-{number:02}", "alice") for number in range(25)]
    )
    search = evaluate_pb2.SearchRequest(
        target=evaluate_pb2.SEARCH_TARGET_RESOURCE,
        request=request(resource="Document::any"),
        page_size=10,
    )
    found: list[str] = []
    pages = 0
    while True:
        page = await service.evaluate.Search(search, timeout=TIMEOUT_S)
        found += (hit.uid.id for hit in page.hits)
        pages += 1
        if not page.next_page_token:
            break
        search.page_token = page.next_page_token

    assert found == [*(f"more-{number:02}" for number in range(25)), "one"]
    assert pages == 3


async def test_a_page_token_is_good_for_its_revision_only(service: Connection) -> None:
    search = evaluate_pb2.SearchRequest(
        target=evaluate_pb2.SEARCH_TARGET_RESOURCE,
        request=request(resource="Document::any"),
        page_size=1,
    )
    page = await service.evaluate.Search(search, timeout=TIMEOUT_S)
    await service.publish(entities=[_document("three", "alice")])
    search.page_token = page.next_page_token

    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.evaluate.Search(search, timeout=TIMEOUT_S)

    assert info(caught.value).reason == "PAGE_TOKEN_REFUSED"


async def test_search_finds_actions_of_policies_and_of_the_schema() -> None:
    async with running_service() as service:
        await service.publish(
            policy("v", 'permit(principal, action in [Action::"view", Action::"list"], resource);')
        )
        search = evaluate_pb2.SearchRequest(
            target=evaluate_pb2.SEARCH_TARGET_ACTION, request=request(action="any")
        )
        of_policies = await service.evaluate.Search(search, timeout=TIMEOUT_S)
        await service.publish(
            schema=policy_pb2.Schema(
                text="entity User, Document; action view, list, burn "
                "appliesTo { principal: User, resource: Document };"
            )
        )
        of_schema = await service.evaluate.Search(search, timeout=TIMEOUT_S)

    assert ["list", "view"] == [hit.uid.id for hit in of_policies.hits]
    assert ["list", "view"] == [hit.uid.id for hit in of_schema.hits]


async def test_a_node_staler_than_the_tenant_allows_does_not_decide() -> None:
    clock = ManualClock()
    async with running_service(clock=clock) as service:
        await service.publish(
            policy("p", "permit(principal, action, resource);"),
            settings=policy_pb2.TenantSettings(max_staleness=duration_pb2.Duration(seconds=30)),
        )
        service.node.store.head = _never  # type: ignore[method-assign, assignment]
        clock.advance(31)

        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert info(caught.value).reason == "NODE_STALE"
    assert info(caught.value).metadata["max_staleness_s"] == "30"


async def _never() -> None:
    await asyncio.Event().wait()
