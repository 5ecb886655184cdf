"""The native path says what Python says, or leaves it to Python."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import event, example, given, settings
from hypothesis import strategies as st

from placet_engine import native
from placet_engine.items import StoredEntity
from placet_engine.model import Attributes, Entity, EntityUid, Request, Undecidable, Value
from placet_engine.program import Program, Question
from tests.property import strategies
from tests.property.test_slicing import compiled
from tests.unit.engine import make

pytestmark = pytest.mark.skipif(
    native.INSTALLED is None, reason="the native path is not installed: `make native` builds it"
)


@settings(max_examples=300)
@given(data=st.data())
def test_native_is_python(data: st.DataObject) -> None:
    case = data.draw(st.one_of(strategies.cases(approvals=True), strategies.journeys()))
    program = compiled(case)

    with native.switched(on=True):
        questions = [program.question(request) for request in case.requests]
        one_by_one = list(map(program.judge, case.requests))
        together = program.answer([found for found in questions if isinstance(found, Question)])
    with native.switched(on=False):
        in_python = list(map(program.judge, case.requests))

    assert one_by_one == in_python
    assert together == in_python
    for found in questions:
        assert isinstance(found, Question)
        event(f"natively: {found.asked is not None and found.slice.native is not None}")


# What no wire lets through, and what is at the edge of what it does.
_ODD: list[Any] = [
    None,
    1.5,
    2**63,
    -(2**63) - 1,
    "\ud800",
    "x" * 20_000,
    {"__extn": {"fn": "ip", "arg": "nowhere"}},
    {"__extn": {"fn": "decimal", "arg": "1.23456"}},
    {"__extn": {"fn": "unknown", "arg": "x"}},
    {"__extn": {"fn": "ip", "arg": 7}},
    {"__extn": {"fn": "ip", "arg": "10.0.0.1", "more": 1}},
    {"__extn": {"fn": "ip", "arg": "10.0.0.1"}, "more": 1},
    {"__entity": {"type": "User", "id": ""}},
    {"__entity": {"type": "if", "id": "x"}},
    {"__entity": {"type": "no type", "id": "x"}},
    {"__entity": {"type": "User", "id": "ann", "more": 1}},
    {"__entity": "User"},
    {"__expr": "1"},
    {"type": "User", "id": "ann"},
    [[[[[[[[[[[[[[[[[[[[1]]]]]]]]]]]]]]]]]]]],
    (1, True, "1"),
    {"": {"": ""}},
]
_VALUES = st.one_of(strategies.values(), st.sampled_from(_ODD))
_ATTRIBUTES = st.dictionaries(st.sampled_from(["v", "w", "unread"]), _VALUES, max_size=3)
_UIDS = st.sampled_from(
    [
        *strategies.USERS,
        *strategies.GROUPS[:2],
        *strategies.ACTIONS[:1],
        EntityUid("User", ""),
        EntityUid("if", "x"),
        EntityUid("Acme :: Group", "all"),
        EntityUid("__cedar", "x"),
    ]
)
_ENTITIES = st.builds(
    Entity,
    uid=_UIDS,
    attributes=_ATTRIBUTES,
    parents=st.lists(_UIDS, max_size=2).map(tuple),
    tags=_ATTRIBUTES,
)
_READING = [
    "context.v == principal.v",
    "resource has v && resource.v == context.v",
    "principal has v && principal.v has w",
    'principal.hasTag("v") && principal.getTag("v") == context.v',
    'principal in Acme::Group::"all"',
    "context has v && context.v in [principal, resource]",
    'context has v && context.v.isInRange(ip("10.0.0.0/8"))',
    "context has v && context.v.contains(1)",
]


def _program(conditions: list[str], stored: list[Entity]) -> Program:
    policies = make.policies(
        "".join(f"permit(principal, action, resource) when {{ {text} }};" for text in conditions)
    )
    known = {entity.uid: entity for entity in stored}
    return make.program(*policies, *map(StoredEntity, known.values()))


def _told(ask: Callable[[], object]) -> object:
    """Return what is answered, or what is raised."""
    try:
        answer = ask()
    except Exception as error:  # noqa: BLE001  # whatever it is, it has to be the same
        return type(error), str(error)
    if isinstance(answer, Undecidable):
        # Where several things are wrong, Cedar names any of them.
        return answer.reason, answer.field
    return answer


@settings(max_examples=500)
@given(
    conditions=st.lists(st.sampled_from(_READING), min_size=1, max_size=4),
    request=st.builds(
        Request,
        subject=_UIDS,
        action=_UIDS,
        resource=_UIDS,
        context=_ATTRIBUTES,
        entities=st.lists(_ENTITIES, max_size=4).map(tuple),
        approved=st.booleans(),
    ),
)
def test_odd_requests_are_told_the_same(conditions: list[str], request: Request) -> None:
    program = _program(conditions, [])

    with native.switched(on=True):
        ours = _told(lambda: program.judge(request))
    with native.switched(on=False):
        theirs = _told(lambda: program.judge(request))

    assert ours == theirs


def _typed(value: Value | Attributes) -> str:
    """Return text that is the same only for the same values: to Python, `True` is `1`."""
    return json.dumps(value, sort_keys=True)


@settings(max_examples=500)
@example(one={"v": True}, other={"v": 1}, attribute="context")
@example(one={"v": [1, 2]}, other={"v": [[1, 2]]}, attribute="entity")
@given(
    one=st.dictionaries(st.sampled_from(["v", "w"]), strategies.values(), max_size=2),
    other=st.dictionaries(st.sampled_from(["v", "w"]), strategies.values(), max_size=2),
    attribute=st.sampled_from(["context", "entity"]),
)
def test_what_is_read_is_in_the_key(one: Attributes, other: Attributes, attribute: str) -> None:
    """Two requests share an entry of the cache only if they say the same of what is read."""
    program = _program(["context.v == context.w && principal.v == principal.w"], [])

    def key(values: Attributes) -> bytes:
        request = make.request(
            context=values if attribute == "context" else {},
            entities=[make.entity("User::ann", values)] if attribute == "entity" else [],
        )
        question = program.question(request)
        assert isinstance(question, Question)
        return program.projection(question)

    with native.switched(on=True):
        ours = key(one), key(other)
    with native.switched(on=False):
        theirs = key(one)

    if ours[0] == ours[1]:
        assert _typed(one) == _typed(other)
    # Both kinds of keys may be in one cache: those of Python never begin as the others do.
    assert theirs[0] > 1
