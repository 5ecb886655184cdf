from __future__ import annotations

import asyncio
import itertools
import json
import subprocess
import time
import zipfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, chdir, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import (
    evaluate_service_pb2,
    policy_pb2,
    rollout_pb2,
    rollout_service_pb2,
    subscribe_service_pb2,
)
from placet_server.config import TelemetryConfig
from placet_server.testing import running_edge
from tests.telemetry.prometheus import (
    BINARY,
    PATIENCE_S,
    TOOL,
    WHY_NOT,
    Prometheus,
    running_prometheus,
)
from tests.wire.service import TENANT, Service, policy, request, running_service

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "server/placet_server/dashboards"
RULES = FOLDER / "placet.rules.yaml"
NAMES = ["agents", "cache", "decisions", "propagation", "regions", "rollouts", "traffic"]
# Agents are not served yet: what is asked about them is understood and has no answer.
WITHOUT_SAMPLES = {"agents"}

VARIABLES = {
    "$__rate_interval": "5s",
    "$region": "local",
    "$node": ".*",
    "$tenant": TENANT,
}


def dashboard(name: str) -> Any:
    return json.loads((FOLDER / f"{name}.json").read_text())


def expressions(name: str) -> Iterator[tuple[str, str]]:
    """Yield each panel's title and query, as Grafana would send it."""
    for panel in dashboard(name)["panels"]:
        for target in panel["targets"]:
            expression = target["expr"]
            for variable, value in VARIABLES.items():
                expression = expression.replace(variable, value)
            assert "$" not in expression, expression
            yield panel["title"], expression


def test_the_dashboards_are_those_that_are_tested() -> None:
    assert NAMES == sorted(path.stem for path in FOLDER.glob("*.json"))


@pytest.mark.parametrize("name", NAMES)
def test_a_dashboard_works_anywhere(name: str) -> None:
    found = dashboard(name)
    variables = {variable["name"] for variable in found["templating"]["list"]}

    assert found["schemaVersion"] >= 39
    assert {"datasource", "region", "node"} <= variables
    assert len({panel["id"] for panel in found["panels"]}) == len(found["panels"])
    for panel in found["panels"]:
        assert panel["title"]
        assert panel["description"]
        assert panel["fieldConfig"]["defaults"]["unit"]
        assert panel["datasource"]["uid"] == "${datasource}"
        assert all('cloud_region=~"$region"' in target["expr"] for target in panel["targets"])


def test_dashboards_and_rules_are_in_the_wheel(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.build")
    with chdir(ROOT):
        wheel = build.build_wheel(str(tmp_path))

    names = zipfile.ZipFile(tmp_path / wheel).namelist()

    expected = {f"placet_server/dashboards/{path.name}" for path in FOLDER.iterdir()}
    assert len(expected) == len(NAMES) + 1
    assert expected <= set(names)


@pytest.mark.skipif(TOOL is None, reason=WHY_NOT)
def test_promtool_takes_the_rules() -> None:
    assert TOOL
    checked = subprocess.run(
        [TOOL, "check", "rules", str(RULES)],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=False,
    )

    assert checked.returncode == 0, checked.stdout + checked.stderr


@pytest.mark.skipif(BINARY is None, reason=WHY_NOT)
async def test_every_panel_has_something_to_show(tmp_path: Path) -> None:
    telemetry = TelemetryConfig(
        prometheus_listen="127.0.0.1:0",
        decision_log="file",
        decision_log_path=str(tmp_path / "decisions.jsonl"),
    )
    async with (
        running_service(telemetry=telemetry) as service,
        running_edge(
            service.node.address,
            state_path=tmp_path / "edge.state",
            telemetry=TelemetryConfig(prometheus_listen="127.0.0.1:0"),
        ) as edge,
    ):
        targets = [node.telemetry.prometheus_address for node in (service.node, edge)]
        async with traffic(service), running_prometheus(tmp_path, targets, RULES) as prometheus:
            deadline_s = time.monotonic() + PATIENCE_S
            for name in NAMES:
                for title, expression in expressions(name):
                    is_filled = await filled(prometheus, expression, name, deadline_s)
                    assert is_filled is (name not in WITHOUT_SAMPLES), (name, title, expression)
            unhealthy = await rules_that_fail(prometheus, deadline_s)

    assert unhealthy == []


async def filled(prometheus: Prometheus, expression: str, name: str, deadline_s: float) -> bool:
    """Ask until there is a sample that is a number, where there is to be one."""
    while True:
        found = await prometheus.query(expression)
        # Nothing divided by nothing is a sample, too.
        if any(sample["value"][1] != "NaN" for sample in found):
            return True
        if name in WITHOUT_SAMPLES or time.monotonic() > deadline_s:
            return False
        await asyncio.sleep(0.1)


async def rules_that_fail(prometheus: Prometheus, deadline_s: float) -> list[str]:
    """Wait until every rule was evaluated, and return those that could not be."""
    while True:
        answer = await prometheus.get("rules")
        rules = [rule for group in answer["data"]["groups"] for rule in group["rules"]]
        if all(rule["health"] != "unknown" for rule in rules) or time.monotonic() > deadline_s:
            return [rule["name"] for rule in rules if rule["health"] != "ok"]
        await asyncio.sleep(0.1)


@asynccontextmanager
async def traffic(service: Service) -> AsyncIterator[None]:
    """Have somebody ask, publish and subscribe for the length of the block."""
    await service.publish(*_policies("true"))
    works = (_ask, _publish, _subscribe, _roll_out)
    tasks = [asyncio.create_task(work(service)) for work in works]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        for ended in await asyncio.gather(*tasks, return_exceptions=True):
            assert isinstance(ended, asyncio.CancelledError), ended


def _policies(condition: str) -> list[Any]:
    return [
        policy(
            "view", f'permit(principal, action == Action::"view", resource) when {{{condition}}};'
        ),
        policy("guests", 'forbid(principal == User::"guest", action, resource);'),
    ]


async def _ask(service: Service) -> None:
    stream = [
        evaluate_service_pb2.EvaluateStreamRequest(request=request(tenant=tenant))
        for tenant in (TENANT, "nobody")
    ]
    for number in itertools.count():
        for asked in (
            request(),
            request(context={"n": number}),
            request("User::guest"),
            request(action="edit"),
        ):
            await service.evaluate.Evaluate(asked, timeout=PATIENCE_S)
        with suppress(grpc.aio.AioRpcError):
            await service.evaluate.Evaluate(request(tenant="nobody"), timeout=PATIENCE_S)
        async for _ in service.evaluate.EvaluateStream(iter(stream), timeout=PATIENCE_S):
            pass
        await asyncio.sleep(0.01)


async def _publish(service: Service) -> None:
    for number in itertools.count():
        await service.publish(*_policies(f"{number} == {number}"))
        await asyncio.sleep(0.3)


async def _roll_out(service: Service) -> None:
    """Start one candidate after the other that changes answers, for guards to take back."""
    tenant = "canary"
    await service.publish(*_policies("true"), tenant=tenant)
    plan = rollout_pb2.RolloutPlan(
        canary=rollout_pb2.CanaryStrategy(),
        guards=rollout_pb2.RolloutGuards(
            guards=[
                rollout_pb2.Guard(kind=kind, min_samples=20)
                for kind in (
                    rollout_pb2.GUARD_KIND_ERROR_RATE,
                    rollout_pb2.GUARD_KIND_DENY_RATE_CHANGE,
                    rollout_pb2.GUARD_KIND_LATENCY,
                )
            ],
            shadow_percent=100,
        ),
    )
    for number in itertools.count():
        started = await service.rollouts.StartRollout(
            rollout_service_pb2.StartRolloutRequest(
                tenant=tenant,
                change_set=policy_pb2.ChangeSet(policies=_policies(f"{number} < 0")),
                plan=plan,
            ),
            timeout=PATIENCE_S,
        )
        state = started.rollout.state
        while state == rollout_pb2.ROLLOUT_STATE_RUNNING:
            for _ in range(10):
                await service.evaluate.Evaluate(request(tenant=tenant), timeout=PATIENCE_S)
            await asyncio.sleep(0.01)
            shown = await service.rollouts.GetRollout(
                rollout_service_pb2.GetRolloutRequest(tenant=tenant), timeout=PATIENCE_S
            )
            state = shown.rollout.state


async def _subscribe(service: Service) -> None:
    call = service.subscribe.Subscribe(subscribe_service_pb2.SubscribeRequest(tenant=TENANT))
    async for _ in call:
        pass
