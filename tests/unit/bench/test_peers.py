from __future__ import annotations

import itertools
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from bench.failures import WrongAnswer
from bench.histogram import Latencies
from bench.http2 import UnaryConnection, message
from bench.machine import choose_cores
from bench.measure import QUICK, Context
from bench.peers import cerbos, compare, contender, opa, placet
from bench.peers.corpus import ACTIONS, PLACEHOLDER, Case, cases, fresh
from bench.peers.in_process import casbin_decider
from bench.records import Results
from bench.workloads import asks
from placet_server.testing import running_server
from tests.unit.bench.fake_server import fake_server
from tests.unit.bench.frames import answer


def test_corpus_has_both_answers_for_every_action_and_role() -> None:
    made = cases()

    assert len(made) >= 200
    assert len(made) == len(set(made)) or len(made) == 240
    for action in ACTIONS:
        answers = Counter(case.allowed for case in made if case.action == action)
        assert {True, False} == set(answers)
    for roles in {case.roles for case in made}:
        assert {True, False} == {case.allowed for case in made if case.roles == roles}
    assert any(not case.serial for case in made)


@pytest.mark.parametrize(
    ("changed", "allowed"),
    [
        ({}, True),
        ({"archived": True}, False),
        ({"serial": ""}, False),
        ({"action": "share"}, False),
        ({"owner": "bob"}, False),
        ({"owner": "bob", "roles": ("admin",), "action": "share"}, True),
        ({"owner": "bob", "roles": ("editor",), "action": "edit"}, True),
        ({"owner": "bob", "roles": ("editor",), "action": "delete"}, False),
        ({"owner": "bob", "roles": ("editor",), "department": "sales"}, False),
    ],
)
def test_rules_in_plain_python(changed: dict[str, object], allowed: bool) -> None:
    values: dict[str, object] = {
        "subject": "ann",
        "roles": ("viewer",),
        "department": "legal",
        "action": "delete",
        "document": "doc",
        "owner": "ann",
        "document_department": "legal",
        "archived": False,
        "serial": "1",
        **changed,
    }

    assert allowed is Case(**values).allowed  # type: ignore[arg-type]


@pytest.mark.parametrize("body", [cerbos.body, opa.body, placet.body])
def test_new_requests_differ_by_their_serial_alone(body: object) -> None:
    def single(case: Case) -> bytes:
        return body([case])  # type: ignore[operator, no-any-return]

    bodies = fresh(single, itertools.count(1))

    first, second = bodies(), bodies()

    usable = [case for case in cases() if case.serial == PLACEHOLDER]
    assert single(usable[0]).replace(b"0000000000", b"0000000001") == first
    assert single(usable[1]).replace(b"0000000000", b"0000000002") == second


def test_cerbos_messages_have_cerbos_field_numbers() -> None:
    """As its server's reflection gives them; here written out by hand."""
    case = Case("u", ("r",), "d", "a", "i", "o", "e", False, "s")

    written = cerbos.body([case])[5:]

    assert written.startswith(b"\x1a")  # principal = 3
    assert b"\x0a\x01u\x1a\x01r" in written  # id = 1, roles = 3
    assert b"\x22\x0f\x0a\x0adepartment" not in written
    assert b"\x0a\x01a\x12" in written  # actions = 1, resource = 2
    assert b"\x0a\x08Document\x1a\x01i" in written  # kind = 1, id = 3
    assert b"\x0a\x05owner\x12\x03\x1a\x01o" in written  # an attribute's string_value = 3


def test_cerbos_answers_are_read() -> None:
    def result(effect: int) -> bytes:
        entry = b"\x0a\x04view\x10" + bytes((effect,))
        actions = b"\x12" + bytes((len(entry),)) + entry
        return b"\x12" + bytes((len(actions),)) + actions

    assert [True, False] == cerbos.allowed(b"\0" * 5 + result(1) + result(2))
    with pytest.raises(WrongAnswer):
        cerbos.allowed(b"\0" * 5 + result(3))


def test_opa_bodies_and_answers() -> None:
    asked = json.loads(opa.body([cases()[0]]))

    assert {"subject", "action", "resource"} == set(asked["input"])
    assert [True] == opa.allowed(b'{"result":true}')
    with pytest.raises(WrongAnswer):
        opa.allowed(b"{}")


@pytest.mark.parametrize(
    ("peer", "binary"),
    [(cerbos.Cerbos(), cerbos.BINARY), (opa.Opa(), opa.BINARY)],
    ids=["cerbos", "opa"],
)
def test_peer_answers_as_the_rules_say(
    peer: contender.Contender, binary: Path, tmp_path: Path
) -> None:
    if not binary.exists():
        pytest.skip(f"`{binary.name}` is not here: `make bench` installs it")
    results = Results(machine={}, started="", arguments="")
    context = Context(choose_cores(), tmp_path, QUICK, True, results, lambda text: None)

    with peer.running(context) as contestant:
        compare.check(contestant)


@pytest.mark.parametrize("case", [cases()[0], cases()[7]], ids=["allowed", "denied"])
def test_answer_that_differs_stops_the_comparison(case: Case) -> None:
    """A system that answers the contrary is not timed."""
    wrong = contender.Calls(
        lambda every: UnaryConnection("/p.S/M", "host:1", sample_every=every),
        lambda group: message(b"ask"),
        lambda body: [not case.allowed],
    )
    with (
        fake_server(lambda number: answer(2 * number + 1, b"x")) as server,
        pytest.raises(WrongAnswer, match="toy answers"),
    ):
        compare.check(contender.Contestant("toy", server.address, 0, wrong))


async def test_placet_answers_as_the_rules_say() -> None:
    """In this process; `make bench` checks the same of every system before timing it."""
    import grpc

    from placet.v1.evaluate_service_pb2 import EvaluateRequest, EvaluateResponse
    from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceStub
    from placet_engine.changes import ChangeSet
    from placet_engine.items import Policy

    async with running_server() as node, grpc.aio.insecure_channel(node.address) as channel:
        items = tuple(Policy(id=id_, cedar=cedar) for id_, cedar in placet.POLICIES.items())
        await node.publisher.publish(placet.TENANT, ChangeSet(upserts=items), timeout_s=30.0)
        stub = EvaluateServiceStub(channel)
        answers: Sequence[EvaluateResponse] = [
            await stub.Evaluate(EvaluateRequest.FromString(placet.body([case])[5:]), timeout=30.0)
            for case in cases()
        ]

    decided = [placet.allowed(b"\0" * 5 + found.SerializeToString()) for found in answers]
    assert [[case.allowed] for case in cases()] == decided


def test_casbin_tells_requests_apart() -> None:
    decide = casbin_decider(10)

    assert {True, False} == {decide(ask, "1") for ask in asks(10)}
    assert not any(decide(ask, "") for ask in asks(10))


def test_latencies_are_kept_whole() -> None:
    times = Latencies([1_000_000] * 99 + [50_000_000])

    assert 100 == times.count
    assert 1.0 == pytest.approx(times.at(50), rel=0.001)
    assert 50.0 == pytest.approx(times.maximum, rel=0.001)
    assert 50.0 == pytest.approx(times.at(99.9), rel=0.001)
    assert 0.0 == Latencies().at(99)
