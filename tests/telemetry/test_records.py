from __future__ import annotations

import gzip
import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from placet.v1 import decision_pb2, evaluate_service_pb2, value_pb2
from placet.wire import attributes_to_wire
from placet_server.api.decision_records import read_asked
from placet_server.api.recorded_requests import request_of
from placet_server.config import ConfigError, TelemetryConfig
from placet_server.telemetry.decision_log.records import (
    DecisionRecord,
    RecordsUnreadable,
    read_records,
)
from placet_server.testing import running_server
from tests.telemetry.scraping import TIMEOUT_S
from tests.wire.service import TENANT, Service, policy, request, running_service

PERMIT = 'permit(principal, action == Action::"view", resource);'


def whole_request() -> evaluate_service_pb2.EvaluateRequest:
    """One with everything that can be in one."""
    values = {
        "text": "ä",
        "number": -7,
        "truth": True,
        "set": [1, 2],
        "record": {"inner": "x"},
        "reference": {"__entity": {"type": "User", "id": "bob"}},
        "address": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
    }
    properties = attributes_to_wire({"level": 3})
    return evaluate_service_pb2.EvaluateRequest(
        tenant=TENANT,
        subject=evaluate_service_pb2.Subject(type="User", id="alice", properties=properties),
        action=evaluate_service_pb2.Action(type="Action", name="view", properties=properties),
        resource=evaluate_service_pb2.Resource(type="Doc", id="1", properties=properties),
        context=attributes_to_wire(values),  # type: ignore[arg-type]
        entities=[
            value_pb2.Entity(
                uid=value_pb2.EntityUid(type="Team", id="t"),
                attributes=properties,
                parents=[value_pb2.EntityUid(type="Team", id="all")],
                tags=attributes_to_wire({"tag": "x"}),
            )
        ],
    )


def to_file(path: Path, **fields: Any) -> TelemetryConfig:
    return TelemetryConfig(decision_log="file", decision_log_path=str(path), **fields)


async def test_what_was_asked_can_be_asked_again(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with running_service(telemetry=to_file(path)) as service:
        await service.publish(policy("p", PERMIT))
        asked = whole_request()
        answer = await service.evaluate.Evaluate(asked, timeout=TIMEOUT_S)

    [record] = read_records(path)
    assert request_of(record) == asked
    assert (record.decision_id, record.outcome, record.cause, record.node, record.revision) == (
        answer.decision.decision_id,
        "ALLOW",
        "PERMITTED",
        "test-node",
        1,
    )
    assert record.reasons == [{"policy_id": "p", "layer": "TENANT", "message": ""}]


async def test_every_way_of_asking_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    async with running_service(telemetry=to_file(path)) as service:
        await service.publish(policy("p", PERMIT))
        one = await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        batch = await service.evaluate.EvaluateBatch(
            evaluate_service_pb2.EvaluateBatchRequest(
                tenant=TENANT,
                subject=evaluate_service_pb2.Subject(type="User", id="alice"),
                resource=evaluate_service_pb2.Resource(type="Document", id="one"),
                items=[
                    evaluate_service_pb2.BatchItem(action=evaluate_service_pb2.Action(name=name))
                    for name in ("view", "edit")
                ],
            ),
            timeout=TIMEOUT_S,
        )
        stream = [
            answer
            async for answer in service.evaluate.EvaluateStream(
                iter(
                    evaluate_service_pb2.EvaluateStreamRequest(request=request(tenant=tenant))
                    for tenant in (TENANT, "nobody")
                ),
                timeout=TIMEOUT_S,
            )
        ]

    decisions: list[decision_pb2.Decision] = [
        one.decision,
        *(result.decision for result in batch.results),
        stream[0].decision,
    ]
    records = list(read_records(path))
    assert [record.decision_id for record in records] == [each.decision_id for each in decisions]
    assert [record.cached for record in records] == [each.cached for each in decisions]
    assert [record.action["name"] for record in records] == ["view", "view", "edit", "view"]
    assert [record.sequence for record in records] == [1, 2, 3, 4]
    assert {record.tenant for record in records} == {TENANT}


async def test_what_is_masked_is_written_nowhere(tmp_path: Path) -> None:
    path = tmp_path / "log"
    telemetry = to_file(path, decision_log_mask=("context.ssn", "subject.id"))
    async with running_service(telemetry=telemetry) as service:
        await service.publish(
            policy("p", PERMIT),
            policy("q", "forbid(principal, action, resource) when { principal.no };"),
        )
        await service.evaluate.Evaluate(request(context={"ssn": "123-45"}), timeout=TIMEOUT_S)

    [record] = read_records(path)
    text = path.read_text()
    assert "123-45" not in text
    assert "alice" not in text
    assert record.masked == ["context.ssn", "subject.id"]
    assert request_of(record).context["ssn"].string_value == "***"


def test_bytes_are_read_as_the_message_they_are() -> None:
    asked = whole_request()

    assert read_asked(asked.SerializeToString()) == read_asked(asked)


def test_a_masked_request_is_what_is_left_of_it() -> None:
    document = record_document()
    document["context"] = "***"
    del document["subject"]["properties"]

    asked = request_of(DecisionRecord.from_json(document))

    assert (asked.subject.id, asked.resource.id, len(asked.context)) == ("alice", "1", 0)


def record_document() -> dict[str, Any]:
    described = {"type": "User", "id": "alice", "properties": {}}
    return {
        **dict.fromkeys(("run", "decision_id", "region", "node", "trace_id", "span_id"), ""),
        **{key: [] for key in ("entities", "reasons", "obligations", "errors", "masked")},
        "version": 1,
        "sequence": 1,
        "time": "2026-01-01T00:00:00+00:00",
        "tenant": TENANT,
        "subject": described,
        "action": {"type": "Action", "name": "view", "properties": {}},
        "resource": {"type": "Doc", "id": "1", "properties": {}},
        "context": {},
        "outcome": "ALLOW",
        "cause": "PERMITTED",
        "log_only": None,
        "revision": 1,
        "rollout_variant": "candidate",
        "cached": False,
        "duration_s": 0.1,
        "kept_one_in": 1,
    }


def written(path: Path, *lines: object) -> Path:
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    return path


def test_rotated_files_are_read_oldest_first(tmp_path: Path) -> None:
    for number, name in enumerate(("log.10", "log.2", "log.1", "log")):
        written(tmp_path / name, {**record_document(), "sequence": number})

    assert [record.sequence for record in read_records(tmp_path / "log")] == [0, 1, 2, 3]


def test_a_record_of_before_rollouts_is_read(tmp_path: Path) -> None:
    document = record_document()
    del document["rollout_variant"]

    (record,) = read_records(written(tmp_path / "log", document))

    assert record.rollout_variant == ""


def test_a_field_added_later_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "log", {**record_document(), "shoe_size": 43})

    [record] = read_records(path)

    assert record.to_json() == record_document()


def test_a_record_of_an_earlier_release_lacks_what_came_later(tmp_path: Path) -> None:
    document = record_document()
    del document["log_only"]
    path = written(tmp_path / "log", document)

    [record] = read_records(path)

    assert record.log_only is None


async def test_what_log_only_policies_would_have_changed_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "log"
    shadow = '@mode("log_only") @reason("soon") forbid(principal, action, resource) when { %s };'
    async with running_service(telemetry=to_file(path)) as service:
        await service.publish(
            policy("p", PERMIT), policy("next", shadow % "context has no"), policy("e", PERMIT)
        )
        for context in ({}, {"no": True}, {"no": True}):
            await service.evaluate.Evaluate(request(context=context), timeout=TIMEOUT_S)

    plain, reported, cached = read_records(path)
    assert plain.log_only is None
    assert (reported.outcome, reported.log_only) == (
        "ALLOW",
        {
            "outcome": "DENY",
            "reasons": [{"policy_id": "next", "layer": "TENANT", "message": "soon"}],
        },
    )
    assert cached.cached
    assert cached.log_only == reported.log_only


def test_files_that_were_compressed_are_read_in_their_place(tmp_path: Path) -> None:
    for number, name in enumerate(("log.3.gz", "log.2.gz", "log.1", "log")):
        line = json.dumps({**record_document(), "sequence": number}).encode() + b"\n"
        (tmp_path / name).write_bytes(gzip.compress(line) if name.endswith(".gz") else line)
    (tmp_path / "log.note.gz").write_text("not one of them")

    assert [record.sequence for record in read_records(tmp_path / "log")] == [0, 1, 2, 3]


def test_a_line_without_its_end_is_passed_over(tmp_path: Path) -> None:
    path = written(tmp_path / "log", record_document())
    path.write_text(path.read_text() + '{"version": 1, "sequ')

    assert len(list(read_records(path))) == 1


@pytest.mark.parametrize(
    ("line", "why"),
    [
        ({"version": 2}, "line 2 is of version `2`"),
        ({"version": 1}, "line 2 is no decision record"),
        ([], "line 2 is no JSON object"),
    ],
)
def test_what_is_no_record_is_told_by_line(tmp_path: Path, line: object, why: str) -> None:
    path = written(tmp_path / "log", record_document(), line)

    with pytest.raises(RecordsUnreadable, match=why):
        list(read_records(path))


def test_a_log_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(RecordsUnreadable, match="there is no decision log at"):
        list(read_records(tmp_path / "log"))


@pytest.mark.parametrize(
    ("fields", "why"),
    [
        (
            {"decision_log_mask": ("ssn",)},
            "telemetry.decision_log_mask: `ssn` names nothing to mask",
        ),
        ({"decision_log_mask_salt_file": "/no/such/file"}, "cannot read `/no/such/file`"),
        ({"decision_log_path": "/no/such/folder/log"}, "cannot write the decision log"),
        (
            {"decision_log_when_slow": "spill", "decision_log_spool_path": "/no/such/folder/x"},
            "cannot spill decisions to",
        ),
    ],
)
async def test_a_log_that_cannot_be_is_told(
    tmp_path: Path, fields: dict[str, Any], why: str
) -> None:
    telemetry = TelemetryConfig(
        **{"decision_log": "file", "decision_log_path": str(tmp_path / "log"), **fields}
    )

    with pytest.raises(ConfigError, match=why):
        async with running_server(telemetry=telemetry):
            pass


async def test_a_key_makes_hashes_the_same_in_every_run(tmp_path: Path) -> None:
    (tmp_path / "salt").write_text("a key\n")
    telemetry = to_file(
        tmp_path / "log",
        decision_log_mask=("subject.id",),
        decision_log_mask_mode="hash",
        decision_log_mask_salt_file=str(tmp_path / "salt"),
    )
    for _ in range(2):
        async with running_service(telemetry=telemetry) as service:
            await service.publish(policy("p", PERMIT))
            await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)

    first, second = read_records(tmp_path / "log")
    assert first.run != second.run
    assert first.subject["id"] == second.subject["id"]
    assert first.subject["id"].startswith("hmac-sha256:")


@contextmanager
def full_stdout() -> Iterator[None]:
    """Have standard output take nothing. No fixture: pytest puts its own back after each."""
    if not Path("/dev/full").exists():
        pytest.skip("there is no /dev/full here")
    former, full = os.dup(1), os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, 1)
    try:
        yield
    finally:
        os.dup2(former, 1)
        os.close(former)
        os.close(full)


async def test_under_block_nothing_is_decided_without_a_record() -> None:
    telemetry = TelemetryConfig(
        decision_log="stdout",
        decision_log_when_slow="block",
        decision_log_queue=2,
        decision_log_block_s=0.01,
        decision_log_flush_s=0.05,
    )
    with full_stdout():
        async with running_service(telemetry=telemetry) as service:
            await service.publish(policy("p", PERMIT))
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await ask_until_refused(service)

    assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert "decides nothing unrecorded" in (caught.value.details() or "")


async def ask_until_refused(service: Service) -> None:
    for _ in range(3000):
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
