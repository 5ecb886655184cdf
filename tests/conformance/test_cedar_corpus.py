"""The Cedar corpus through the whole service: publish, then every request in a batch.

Decision, determining policies and policies in error have to be what Cedar's
own integration tests expect. `make test` runs a fixed twentieth of the files,
`make corpus` all of them.
"""

from __future__ import annotations

import json
import random
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

import pytest

from placet.v1 import decision_pb2, policy_pb2, value_pb2
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.wire import attributes_to_wire
from placet_engine.source import split_policies
from tests.data import data_file
from tests.wire.service import TIMEOUT_S, Service, running_service

_REQUESTS = 62_472
_FILES = 7_809
_SHARES = 20
_SEED = 20_261_123


@dataclass(frozen=True, slots=True)
class CorpusTest:
    """One file of the corpus with what it refers to."""

    name: str
    policies: str
    schema: str
    entities: list[dict[str, Any]]
    test: Mapping[str, Any]


@cache
def _archive() -> Mapping[str, str]:
    """Unpack the archive once: going back and forth in it means unpacking it over and over."""
    with tarfile.open(data_file("cedar-corpus-tests.tar.gz")) as archive:
        return {
            member.name.removeprefix("./"): file.read().decode()
            for member in archive
            if (file := archive.extractfile(member)) is not None
        }


def _read_share(share: int) -> list[CorpusTest]:
    """Read one of twenty parts of the corpus, each a random but fixed choice."""
    texts = _archive()
    names = sorted(
        name for name in texts if name.endswith(".json") and not name.endswith(".entities.json")
    )
    assert len(names) == _FILES
    random.Random(_SEED).shuffle(names)
    tests = []
    for name in names[share::_SHARES]:
        test = json.loads(texts[name])
        entities = json.loads(texts[test["entities"]])
        tests.append(
            CorpusTest(name, texts[test["policies"]], texts[test["schema"]], entities, test)
        )
    return tests


async def test_a_twentieth_of_the_corpus_is_decided_as_expected() -> None:
    tests = _read_share(0)

    checked, wrong = await _run(tests)

    assert wrong == []
    assert checked == sum(len(test.test["requests"]) for test in tests) > _REQUESTS / 25


@pytest.mark.corpus
async def test_the_whole_corpus_is_decided_as_expected() -> None:
    checked = 0
    wrong: list[str] = []
    for share in range(_SHARES):
        some, wrong_ones = await _run(_read_share(share))
        checked += some
        wrong += wrong_ones

    assert wrong == []
    assert checked == _REQUESTS


async def _run(tests: list[CorpusTest]) -> tuple[int, list[str]]:
    """Run tests, each under a tenant of its own; return how many requests, and what differs."""
    checked = 0
    wrong: list[str] = []
    async with running_service() as service:
        for number, test in enumerate(tests):
            tenant = f"corpus-{number}"
            await _publish(service, tenant, test)
            response = await service.evaluate.EvaluateBatch(
                evaluate_pb2.EvaluateBatchRequest(
                    tenant=tenant, items=[_item(asked) for asked in test.test["requests"]]
                ),
                timeout=TIMEOUT_S,
            )
            for asked, result in zip(test.test["requests"], response.results, strict=True):
                checked += 1
                wrong += (f"{test.name}: {text}" for text in _differences(asked, result))
    return checked, wrong


async def _publish(service: Service, tenant: str, test: CorpusTest) -> None:
    policies = [
        policy_pb2.Policy(id=f"policy{number}", cedar=part.cedar)
        for number, part in enumerate(split_policies(test.policies))
    ]
    await service.publish(
        *policies,
        tenant=tenant,
        entities=[_entity(entity) for entity in test.entities],
        schema=policy_pb2.Schema(text=test.schema),
        settings=policy_pb2.TenantSettings(
            schema_validation=policy_pb2.SCHEMA_VALIDATION_STRICT
            if test.test["shouldValidate"]
            else policy_pb2.SCHEMA_VALIDATION_WARN,
            # The fuzzer is fond of empty ids.
            allow_empty_ids=True,
        ),
    )


def _entity(entity: Mapping[str, Any]) -> value_pb2.Entity:
    return value_pb2.Entity(
        uid=_uid(entity["uid"]),
        attributes=attributes_to_wire(entity["attrs"]),
        parents=[_uid(parent) for parent in entity["parents"]],
        tags=attributes_to_wire(entity.get("tags", {})),
    )


def _uid(uid: Mapping[str, Any]) -> value_pb2.EntityUid:
    return value_pb2.EntityUid(**uid.get("__entity", uid))


def _item(asked: Mapping[str, Any]) -> evaluate_pb2.BatchItem:
    return evaluate_pb2.BatchItem(
        subject=evaluate_pb2.Subject(**asked["principal"]),
        action=evaluate_pb2.Action(name=asked["action"]["id"], type=asked["action"]["type"]),
        resource=evaluate_pb2.Resource(**asked["resource"]),
        context=attributes_to_wire(asked["context"]),
    )


_EXPECTED = {"allow": decision_pb2.OUTCOME_ALLOW, "deny": decision_pb2.OUTCOME_DENY}


def _differences(asked: Mapping[str, Any], result: evaluate_pb2.BatchResult) -> Iterator[str]:
    if result.WhichOneof("result") == "error":
        yield f"{asked['description']}: {result.error.message}"
        return
    decision = result.decision
    if decision.outcome != _EXPECTED[asked["decision"]]:
        yield f"{asked['description']}: expected {asked['decision']}, got {decision}"
    if {reason.policy_id for reason in decision.reasons} != set(asked["reason"]):
        yield f"{asked['description']}: expected {asked['reason']} to determine, got {decision}"
    if {error.policy_id for error in decision.errors} != set(asked["errors"]):
        yield f"{asked['description']}: expected {asked['errors']} to fail, got {decision}"
