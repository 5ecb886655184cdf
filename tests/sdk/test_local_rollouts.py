"""Local evaluation takes part in rollouts: one subject, one answer, whoever is asked."""

from __future__ import annotations

import pytest

import placet
from placet.local.aio import LocalEvaluator
from placet.v1 import policy_pb2, rollout_pb2
from placet.v1 import rollout_service_pb2 as pb
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, running_service

ALLOW = policy("all", "permit(principal, action, resource);")
DENY = policy("stop", 'forbid(principal, action == Action::"view", resource);')


async def start(service: Service, tenant: str = TENANT) -> rollout_pb2.Rollout:
    started = await service.rollouts.StartRollout(
        pb.StartRolloutRequest(
            tenant=tenant,
            change_set=policy_pb2.ChangeSet(policies=[DENY]),
            plan=rollout_pb2.RolloutPlan(
                canary=rollout_pb2.CanaryStrategy(
                    steps=[
                        rollout_pb2.CanaryStep(share_percent=50),
                        rollout_pb2.CanaryStep(share_percent=100),
                    ]
                )
            ),
        ),
        timeout=TIMEOUT_S,
    )
    return started.rollout


def told(decision: placet.Decision) -> tuple[object, ...]:
    return decision.outcome, decision.revision, decision.rollout_variant


@pytest.mark.parametrize("owner", ["", TENANT], ids=["platform", "tenant"])
async def test_local_answers_are_those_of_the_server(owner: str) -> None:
    async with running_service() as service:
        await service.publish(ALLOW)
        async with (
            placet.aio.Client(service.node.address, tenant=TENANT, timeout_s=TIMEOUT_S) as client,
            LocalEvaluator(service.node.address, tenant=TENANT) as local,
        ):

            async def both(subject: str) -> list[tuple[object, ...]]:
                asked = (("User", subject), "view", ("Document", "one"))
                remote = await client.evaluate(*asked)
                near = await local.evaluate(*asked, min_revision=service.node.active.revision)
                return [told(remote), told(near)]

            before = await both("u0")
            rollout = await start(service, owner)
            during = [await both(f"u{number}") for number in range(40)]
            await service.rollouts.RollBack(
                pb.RollBackRequest(tenant=owner, rollout_id=rollout.id), timeout=TIMEOUT_S
            )
            after = await both("u0")

    assert before[0] == before[1] == after[0] == after[1]
    assert [remote for remote, _ in during] == [near for _, near in during]
    variants = {remote[2]: remote for remote, _ in during}
    assert variants.keys() == {"stable", "candidate"}
    assert variants["candidate"][1] == rollout.candidate_revision
    assert variants["stable"][1] == rollout.stable_revision or not owner


async def test_an_evaluator_that_begins_within_a_rollout_knows_it() -> None:
    async with running_service() as service:
        await service.publish(ALLOW)
        rollout = await start(service)
        async with (
            placet.aio.Client(service.node.address, tenant=TENANT, timeout_s=TIMEOUT_S) as client,
            LocalEvaluator(service.node.address, tenant=TENANT) as local,
        ):
            seen = set()
            for number in range(40):
                asked = (("User", f"u{number}"), "view", ("Document", "one"))
                remote, near = await client.evaluate(*asked), await local.evaluate(*asked)
                assert told(remote) == told(near)
                seen.add(near.revision)

    assert seen == {rollout.stable_revision, rollout.candidate_revision}
