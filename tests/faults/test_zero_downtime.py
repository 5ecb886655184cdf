"""Revisions under constant load: no call fails, and no decision mixes two of them."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from placet.v1 import decision_pb2, policy_pb2, rollout_pb2
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import rollout_service_pb2 as pb
from placet_server.config import RolloutsConfig
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

CANARY = rollout_pb2.RolloutPlan(
    canary=rollout_pb2.CanaryStrategy(
        steps=[
            rollout_pb2.CanaryStep(share_percent=50),
            rollout_pb2.CanaryStep(share_percent=100),
        ]
    )
)


def both(token: str) -> list[policy_pb2.Policy]:
    """Two policies that always match, and always change together."""
    return [
        policy(name, f'@reason("{token}") permit(principal, action, resource);')
        for name in ("one", "other")
    ]


@dataclass(slots=True)
class Load:
    """Calls that never pause, and what they were answered."""

    service: Service
    seen: set[tuple[int, str, tuple[str, ...]]] = field(default_factory=set)
    calls: int = 0

    async def unary(self, worker: int) -> None:
        for number in itertools.count():
            asked = request(f"User::u{worker}-{number % 50}")
            answer = await self.service.evaluate.Evaluate(asked, timeout=TIMEOUT_S)
            self._note(answer.decision)

    async def batches(self) -> None:
        batch = evaluate_pb2.EvaluateBatchRequest(tenant=TENANT)
        for number in range(20):
            asked = request(f"User::b{number}")
            batch.items.add(subject=asked.subject, action=asked.action, resource=asked.resource)
        while True:
            answer = await self.service.evaluate.EvaluateBatch(batch, timeout=TIMEOUT_S)
            for result in answer.results:
                assert result.HasField("decision"), result.error
                self._note(result.decision)

    async def stream(self) -> None:
        call = self.service.evaluate.EvaluateStream()
        for number in itertools.count():
            message = evaluate_pb2.EvaluateStreamRequest(request=request(f"User::s{number % 50}"))
            await call.write(message)
            answer = await call.read()
            assert isinstance(answer, evaluate_pb2.EvaluateStreamResponse)
            self._note(answer.decision)

    def _note(self, decision: decision_pb2.Decision) -> None:
        assert decision.outcome == decision_pb2.OUTCOME_ALLOW
        self.calls += 1
        reasons = tuple(sorted(reason.message for reason in decision.reasons))
        self.seen.add((decision.revision, decision.rollout_variant, reasons))


@asynccontextmanager
async def under_load(service: Service) -> AsyncIterator[Load]:
    load = Load(service)
    tasks = [
        *(asyncio.create_task(load.unary(worker)) for worker in range(3)),
        asyncio.create_task(load.batches()),
        asyncio.create_task(load.stream()),
    ]
    try:
        yield load
    finally:
        failed = [task.exception() for task in tasks if task.done()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        assert failed == []


@pytest.mark.parametrize("revisions", [150, pytest.param(1000, marks=pytest.mark.soak)])
async def test_revisions_under_load(tmp_path: Path, revisions: int) -> None:
    config = RolloutsConfig(tick_s=0.05)
    async with running_service(path=tmp_path / "placet.db", rollouts=config) as service:
        tokens = {(await service.publish(*both("start"))).revision: "start"}
        async with under_load(service) as load:
            for number in itertools.count():
                token = f"t{number}"
                rollout = await start(service, token)
                tokens[rollout.candidate_revision] = token
                named = {"tenant": TENANT, "rollout_id": rollout.id}
                if number % 3 == 0:
                    back = pb.RollBackRequest(**named)
                    await service.rollouts.RollBack(back, timeout=TIMEOUT_S)
                else:
                    on = pb.PromoteRolloutRequest(
                        tenant=TENANT, rollout_id=rollout.id, etag=rollout.etag, all_steps=True
                    )
                    done = await service.rollouts.PromoteRollout(on, timeout=TIMEOUT_S)
                    tokens[int(done.rollout.etag)] = token
                published = await service.publish(*both(f"p{number}"))
                tokens[published.revision] = f"p{number}"
                if published.revision >= revisions:
                    break
        assert load.calls > revisions

    variants = {variant for _, variant, _ in load.seen}
    assert variants == {"", "stable", "candidate"}
    for revision, _, reasons in load.seen:
        assert reasons == (tokens[revision],) * 2, revision


async def start(service: Service, token: str) -> rollout_pb2.Rollout:
    started = await service.rollouts.StartRollout(
        pb.StartRolloutRequest(
            tenant=TENANT, change_set=policy_pb2.ChangeSet(policies=both(token)), plan=CANARY
        ),
        timeout=TIMEOUT_S,
    )
    return started.rollout
