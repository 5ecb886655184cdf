"""Every exception has its status; three things that are not an allow stay three things."""

from __future__ import annotations

import inspect

import grpc
import pytest
from google.rpc import error_details_pb2

from placet.v1 import decision_pb2
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet_engine.items import ItemKey, ItemKind, Revision
from placet_engine.model import Problem, Severity, Undecidable
from placet_engine.placement.residency import ResidencyRule
from placet_engine.placement.routing import Route
from placet_server import errors
from placet_server.api.failures import TABLE, to_status
from placet_server.identity import refusals
from placet_server.identity.refusals import CredentialsRefused, Refusal
from placet_server.policies.hub import FellBehind, NodeLeaving
from placet_server.store import contract
from tests.wire.details import info
from tests.wire.service import TENANT, TIMEOUT_S, policy, request, running_service

_PROBLEM = Problem(severity=Severity.ERROR, reason="POLICY_SYNTAX", message="no", field="f")
_ROUTE = Route(tenant="t", rule=ResidencyRule.EU_ONLY, regions=())

# One of each, with what its constructor takes.
EXAMPLES: list[Exception] = [
    errors.TenantUnknown("t"),
    errors.WrongRegion(_ROUTE, region="us-east", jurisdiction="US"),
    errors.RegionForbidden("t", ResidencyRule.EU_ONLY, "us-east"),
    errors.TenantHeld("t", ResidencyRule.EU_ONLY, "us-east", 3),
    errors.TenantChanged("t"),
    errors.PlacementRefused("t", ResidencyRule.EU_ONLY, ["us-east"], ["eu-west"]),
    errors.RegionUnknown("mars", ["eu-west"]),
    errors.ItemUnknown(ItemKey(ItemKind.POLICY, "p"), "t", Revision(1)),
    errors.ChangeSetRefused([_PROBLEM]),
    errors.Undecided(Undecidable("REQUEST_REFUSED", "no")),
    errors.NodeStale("t", 9.0, 3.0),
    errors.NodeNotReady(),
    errors.NotAControlNode(["a.example:7717"]),
    errors.RevisionNotReached(Revision(9), Revision(1)),
    errors.DeadlinePassed(),
    errors.DecisionLogFull(1.0),
    errors.PageTokenRefused(),
    errors.CursorRefused("is old"),
    errors.TooManySubscribers(5),
    errors.Overloaded(0.2),
    errors.TenantLimited("t", 10.0, 0.5),
    errors.SlowReader(60),
    errors.RolloutUnknown("r1", "t"),
    errors.RolloutUnderWay("r1", "t"),
    errors.RolloutRefused("it has ended", "ROLLOUT_STATE"),
    errors.RolloutChanged("r1"),
    errors.ApprovalRefused("not you"),
    errors.NotAllowed("`bob`", ["publish"], "acme"),
    errors.ActorDiffers("alice", "bob"),
    errors.CallerChanged("its token has expired"),
    CredentialsRefused(Refusal.TOKEN_EXPIRED),
    errors.NodeUnknown("n"),
    errors.NodeIdTaken("n", retry_after_s=0.5),
    errors.NodeChanged("n"),
    errors.LeaseGone("n"),
    errors.UpstreamLoop("n"),
    errors.UpstreamRefused("no", "REGION_UNKNOWN"),
    errors.TooManyNodes(5),
    errors.TooManyWatchers(5),
    errors.TooManyXdsClients(5),
    errors.XdsClientRefused("`placet.residency` is `EU`; use one of ANY, EU_ONLY"),
    errors.XdsRequestRefused("the stream has no request; send one at once, with the node"),
    errors.Draining(),
    contract.RevisionConflict("t", Revision(1), Revision(2)),
    contract.RevisionCompacted(Revision(1), Revision(2)),
    contract.RevisionUnknown(Revision(9), Revision(2)),
    contract.LeadershipLost(contract.Fence("rollouts", 1), 2),
    contract.StoreUnavailable("away"),
    contract.StoreIncompatible("newer"),
    contract.StoreDamaged("broken"),
]


def _classes() -> set[type[Exception]]:
    return {
        found
        for module in (errors, contract, refusals)
        for found in vars(module).values()
        if inspect.isclass(found)
        and issubclass(found, Exception)
        and found.__module__ == module.__name__
        and not found.__subclasses__()
    }


def test_the_table_and_the_examples_have_every_exception_class() -> None:
    assert _classes() - TABLE.keys() == set()
    assert _classes() == {type(example) for example in EXAMPLES}


@pytest.mark.parametrize("error", EXAMPLES, ids=lambda error: type(error).__name__)
def test_every_exception_has_a_status_of_its_own(error: Exception) -> None:
    status = to_status(error)

    assert status.code not in (grpc.StatusCode.OK, grpc.StatusCode.UNKNOWN)
    assert status.code is not grpc.StatusCode.INTERNAL
    assert status.details == str(error)


def test_what_is_not_in_the_table_is_internal_and_tells_nothing() -> None:
    status = to_status(ValueError("a secret"))

    assert status.code is grpc.StatusCode.INTERNAL
    assert "secret" not in (status.details or "")


def test_a_subscription_s_end_is_a_message_not_a_status() -> None:
    assert not {FellBehind, NodeLeaving} & TABLE.keys()


async def test_a_denial_a_failure_to_decide_and_a_bad_request_are_three_things() -> None:
    async with running_service() as service:
        await service.publish(
            policy("p", 'permit(principal == User::"bob", action, resource);'),
        )

        denial = await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as undecided:
            await service.evaluate.Evaluate(request(min_revision=99), timeout=0.2)
        with pytest.raises(grpc.aio.AioRpcError) as bad:
            await service.evaluate.Evaluate(request("alice"), timeout=TIMEOUT_S)

    assert denial.decision.outcome == decision_pb2.OUTCOME_DENY
    assert undecided.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
    assert bad.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert info(bad.value).reason == "REQUEST_MALFORMED"


async def test_an_item_that_cannot_be_decided_is_an_error_in_its_place() -> None:
    async with running_service() as service:
        await service.publish(
            policy("p", "permit(principal, action, resource);"),
            schema={
                "text": "entity User, Document; "
                "action view appliesTo { principal: User, resource: Document };"
            },
        )
        response = await service.evaluate.EvaluateBatch(
            evaluate_pb2.EvaluateBatchRequest(
                tenant=TENANT,
                subject=request().subject,
                resource=request().resource,
                items=[
                    evaluate_pb2.BatchItem(action=evaluate_pb2.Action(name=name))
                    for name in ("view", "veiw", "view")
                ],
            ),
            timeout=TIMEOUT_S,
        )

    kinds = [result.WhichOneof("result") for result in response.results]
    error = response.results[1].error
    assert ["decision", "error", "decision"] == kinds
    assert grpc.StatusCode.INVALID_ARGUMENT.value[0] == error.code
    assert error.reason == "REQUEST_REFUSED"
    assert 'Action::"veiw"' in error.message


async def test_retryable_failures_say_when_to_retry() -> None:
    status = to_status(contract.StoreUnavailable("away"))

    assert status.trailing_metadata is not None
    assert any(
        error_details_pb2.RetryInfo.DESCRIPTOR.full_name.encode() in value
        for _, value in status.trailing_metadata
        if isinstance(value, bytes)
    )
