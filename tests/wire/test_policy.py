"""PolicyService as its callers see it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    policy_pb2,
    policy_service_pb2,
    value_pb2,
)
from placet_engine.items import ItemKind
from tests.wire.details import info
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

_ALLOW = "permit(principal, action, resource);"
_FORBID = "forbid(principal, action, resource);"


@pytest.fixture(name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service() as service:
        yield service


def _key(id_: str) -> policy_pb2.ItemKey:
    return policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_POLICY, id=id_)


async def _list(service: Service, **fields: object) -> policy_service_pb2.ListResponse:
    return await service.policy.List(
        policy_service_pb2.ListRequest(tenant=TENANT, **fields),  # type: ignore[arg-type]
        timeout=TIMEOUT_S,
    )


def _ids(response: policy_service_pb2.ListResponse) -> list[str]:
    return [item.policy.id or item.template_link.id for item in response.items]


async def test_what_was_published_comes_back_as_it_was(service: Service) -> None:
    written = policy_pb2.Policy(
        id="orders/read",
        cedar=f"// why\n{_ALLOW}",
        description="who may read",
        labels={"team": "orders"},
    )
    written.position.file = "orders.cedar"
    written.position.line = 3

    published = await service.publish(written)
    got = await service.policy.Get(
        policy_service_pb2.GetRequest(tenant=TENANT, keys=[_key("orders/read")]), timeout=TIMEOUT_S
    )

    written.layer = decision_pb2.LAYER_TENANT
    assert got.items[0].policy == written
    assert (got.items[0].revision, got.revision) == (published.revision, published.revision)


async def test_publishing_the_same_again_changes_nothing(service: Service) -> None:
    first = await service.publish(policy("p", _ALLOW))
    again = await service.publish(policy("p", _ALLOW))

    assert (again.revision, again.upserts) == (first.revision, 0)


async def test_a_change_set_is_all_or_nothing(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    with pytest.raises(grpc.aio.AioRpcError):
        await service.publish(policy("q", _ALLOW), policy("r", "permit("))

    assert _ids(await _list(service)) == ["p"]


async def test_replace_all_removes_policies_that_are_not_written(service: Service) -> None:
    await service.publish(policy("old", _ALLOW), policy("kept", _ALLOW))
    published = await service.publish(
        policy("kept", _ALLOW), policy("new", _ALLOW), replace_all=True
    )

    assert _ids(await _list(service)) == ["kept", "new"]
    assert (published.upserts, published.deletes) == (1, 1)


async def test_of_two_who_expect_the_same_revision_one_wins(service: Service) -> None:
    first = await service.publish(policy("p", _ALLOW))

    async def publish(id_: str) -> object:
        return await service.policy.Publish(
            policy_service_pb2.PublishRequest(
                tenant=TENANT,
                expected_revision=first.revision,
                change_set=policy_pb2.ChangeSet(policies=[policy(id_, _ALLOW)]),
            ),
            timeout=TIMEOUT_S,
        )

    results = await asyncio.gather(publish("a"), publish("b"), return_exceptions=True)

    refused = [result for result in results if isinstance(result, grpc.aio.AioRpcError)]
    assert len(refused) == 1
    assert refused[0].code() is grpc.StatusCode.ABORTED
    assert info(refused[0]).metadata["expected"] == str(first.revision)


async def test_expecting_revision_zero_means_a_new_tenant(service: Service) -> None:
    change_set = policy_pb2.ChangeSet(policies=[policy("p", _ALLOW)])
    message = policy_service_pb2.PublishRequest(
        tenant=TENANT, expected_revision=0, change_set=change_set
    )
    await service.policy.Publish(message, timeout=TIMEOUT_S)
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await service.policy.Publish(message, timeout=TIMEOUT_S)

    assert caught.value.code() is grpc.StatusCode.ABORTED


async def test_publishes_that_expect_nothing_all_succeed_at_once(service: Service) -> None:
    await asyncio.gather(*(service.publish(policy(f"p{n}", _ALLOW)) for n in range(8)))

    assert len((await _list(service)).items) == 8


async def test_a_repeated_request_id_gets_the_first_answer(service: Service) -> None:
    def message(cedar: str, request_id: str) -> policy_service_pb2.PublishRequest:
        return policy_service_pb2.PublishRequest(
            tenant=TENANT,
            request_id=request_id,
            expected_revision=0,
            change_set=policy_pb2.ChangeSet(policies=[policy("p", cedar)]),
        )

    first = await service.policy.Publish(message(_ALLOW, "one"), timeout=TIMEOUT_S)
    await service.publish(policy("p", _FORBID))
    repeated = await service.policy.Publish(message(_ALLOW, "one"), timeout=TIMEOUT_S)

    assert (repeated.revision, repeated.upserts) == (first.revision, first.upserts)
    got = await service.policy.Get(
        policy_service_pb2.GetRequest(tenant=TENANT, keys=[_key("p")]), timeout=TIMEOUT_S
    )
    assert got.items[0].policy.cedar == _FORBID


async def test_publish_returns_when_the_node_decides_by_it(service: Service) -> None:
    for number in range(20):
        published = await service.publish(policy("p", _ALLOW if number % 2 else _FORBID))
        decision = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

        assert decision.revision == published.revision
        assert decision.outcome == (
            decision_pb2.OUTCOME_ALLOW if number % 2 else decision_pb2.OUTCOME_DENY
        )


async def test_validate_reports_every_problem_and_stores_nothing(service: Service) -> None:
    answer = await service.policy.Validate(
        policy_service_pb2.ValidateRequest(
            tenant=TENANT,
            change_set=policy_pb2.ChangeSet(
                policies=[
                    policy("a", "permit(principal, actin, resource);"),
                    policy("b", '@aproval("x") permit(principal, action, resource);'),
                    policy("c", _ALLOW, layer=decision_pb2.LAYER_AGENT),
                ]
            ),
        ),
        timeout=TIMEOUT_S,
    )

    errors = [found for found in answer.problems if found.severity == 1]
    assert not answer.valid
    assert {"a", "b"} == {found.subject for found in errors}
    assert {"PERMIT_NEVER_ALLOWS"} == {f.reason for f in answer.problems if f.severity == 2}
    assert await service.node.store.head() == 0


async def test_publish_warns_of_what_it_leaves_without_a_part(service: Service) -> None:
    def written(id_: str, cedar: str, line: int) -> policy_pb2.Policy:
        found = policy(id_, cedar)
        found.position.CopyFrom(
            evaluate_service_pb2.SourcePosition(file="a.cedar", line=line, column=1)
        )
        return found

    first = await service.publish(written("reads", _ALLOW, 1))
    second = await service.publish(written("freeze", "forbid(principal, action, resource);", 2))
    third = await service.publish(policy("else", "forbid(principal is Bot, action, resource);"))
    gone = await service.publish(deletes=[_key("freeze")])

    assert [len(each.warnings) for each in (first, third, gone)] == [0, 0, 0]
    (warning,) = second.warnings
    assert (warning.reason, warning.subject) == ("POLICY_CONFLICT", "reads")
    assert (warning.severity, warning.field) == (policy_pb2.Problem.SEVERITY_WARNING, "change_set")
    assert (warning.position.file, warning.position.line, warning.position.column) == (
        "a.cedar", 1, 1,
    )  # fmt: skip
    assert "forbid `freeze` (at a.cedar:2:1)" in warning.message


async def test_a_tenant_is_warned_of_what_the_platform_forbids(service: Service) -> None:
    await service.publish(policy("freeze", _FORBID), tenant="")

    published = await service.publish(
        policy("reads", "permit(principal is User, action, resource);")
    )

    (warning,) = published.warnings
    assert (warning.reason, warning.field) == (
        "PERMIT_SHADOWED", "change_set.policies[0].cedar",
    )  # fmt: skip
    assert "forbid `freeze` of the platform forbids all it permits" in warning.message


async def test_list_pages_and_filters(service: Service) -> None:
    await service.publish(
        *(policy(f"orders/{number:02}", _ALLOW) for number in range(25)),
        policy("users/read", _ALLOW),
        entities=[value_pb2.Entity(uid=value_pb2.EntityUid(type="User", id="alice"))],
    )
    found: list[str] = []
    page = await _list(service, id_prefix="orders/", page_size=10)
    while True:
        found += _ids(page)
        if not page.next_page_token:
            break
        page = await _list(
            service, id_prefix="orders/", page_size=10, page_token=page.next_page_token
        )
    entities = await _list(service, kinds=[int(ItemKind.ENTITY)])

    assert found == [f"orders/{number:02}" for number in range(25)]
    assert [item.entity.uid.id for item in entities.items] == ["alice"]


async def test_later_pages_stay_with_the_first_one_s_revision(service: Service) -> None:
    await service.publish(*(policy(f"p{number}", _ALLOW) for number in range(4)))
    page = await _list(service, page_size=2)
    await service.publish(policy("p0a", _ALLOW))

    rest = await _list(service, page_size=2, page_token=page.next_page_token)

    assert _ids(page) + _ids(rest) == ["p0", "p1", "p2", "p3"]


async def test_history_is_newest_first_and_can_be_of_one_item(service: Service) -> None:
    for number in range(5):
        await service.policy.Publish(
            policy_service_pb2.PublishRequest(
                tenant=TENANT,
                message=f"change {number}",
                change_set=policy_pb2.ChangeSet(
                    policies=[policy(f"p{number % 2}", f"{_ALLOW}//{number}")]
                ),
            ),
            timeout=TIMEOUT_S,
        )
    first = await service.policy.History(
        policy_service_pb2.HistoryRequest(tenant=TENANT, page_size=3), timeout=TIMEOUT_S
    )
    second = await service.policy.History(
        policy_service_pb2.HistoryRequest(
            tenant=TENANT, page_size=3, page_token=first.next_page_token
        ),
        timeout=TIMEOUT_S,
    )
    of_one = await service.policy.History(
        policy_service_pb2.HistoryRequest(tenant=TENANT, key=_key("p1")), timeout=TIMEOUT_S
    )

    messages = [entry.message for page in (first, second) for entry in page.revisions]
    assert messages == [f"change {number}" for number in (4, 3, 2, 1, 0)]
    assert second.next_page_token == ""
    assert [entry.message for entry in of_one.revisions] == ["change 3", "change 1"]


async def test_diff_shows_before_and_after(service: Service) -> None:
    first = await service.publish(policy("changed", _ALLOW), policy("removed", _ALLOW))
    await service.publish(policy("changed", _FORBID), policy("added", _ALLOW))
    await service.publish(deletes=[_key("removed")])

    answer = await service.policy.Diff(
        policy_service_pb2.DiffRequest(tenant=TENANT, from_revision=first.revision),
        timeout=TIMEOUT_S,
    )

    changes = {
        (entry.before.policy.id, entry.after.policy.id): entry.after.policy.cedar
        for entry in answer.diffs
    }
    assert changes == {
        ("", "added"): _ALLOW,
        ("changed", "changed"): _FORBID,
        ("removed", ""): "",
    }


async def test_a_candidate_is_tested_without_being_published(service: Service) -> None:
    await service.publish(policy("p", 'permit(principal == User::"bob", action, resource);'))

    answer = await service.policy.Test(
        policy_service_pb2.TestRequest(
            tenant=TENANT,
            requests=[request(), request("User::bob")],
            change_set=policy_pb2.ChangeSet(
                policies=[
                    policy("stop", 'forbid(principal == User::"bob", action, resource);'),
                    policy("idle", 'permit(principal == User::"eve", action, resource);'),
                ]
            ),
        ),
        timeout=TIMEOUT_S,
    )
    now = await service.evaluate.Evaluate(request("User::bob"), timeout=TIMEOUT_S)

    outcomes = [result.decision.outcome for result in answer.results]
    assert outcomes == [decision_pb2.OUTCOME_DENY, decision_pb2.OUTCOME_DENY]
    assert list(answer.unmatched_policy_ids) == ["idle"]
    assert now.decision.outcome == decision_pb2.OUTCOME_ALLOW


async def test_the_platform_s_forbid_holds_for_every_tenant(service: Service) -> None:
    await service.publish(policy("p", _ALLOW))
    await service.publish(policy("stop", _FORBID), tenant="")

    decision = (await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)).decision

    assert decision.outcome == decision_pb2.OUTCOME_DENY
    assert [(reason.policy_id, reason.layer) for reason in decision.reasons] == [
        ("stop", decision_pb2.LAYER_PLATFORM)
    ]


async def test_a_jurisdiction_s_policies_hold_where_it_applies(service: Service) -> None:
    for tenant, jurisdictions in (("in-eu", ["EU"]), ("elsewhere", ["US"])):
        await service.publish(
            policy("p", _ALLOW),
            tenant=tenant,
            settings=policy_pb2.TenantSettings(jurisdictions=jurisdictions),
        )
    await service.publish(
        policy("gdpr", _FORBID, layer=decision_pb2.LAYER_JURISDICTION, jurisdiction="EU"),
        tenant="",
    )

    outcomes = [
        (
            await service.evaluate.Evaluate(request(tenant=tenant), timeout=TIMEOUT_S)
        ).decision.outcome
        for tenant in ("in-eu", "elsewhere")
    ]

    assert outcomes == [decision_pb2.OUTCOME_DENY, decision_pb2.OUTCOME_ALLOW]
