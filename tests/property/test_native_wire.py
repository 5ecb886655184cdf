"""What the native path reads of a message is what Python reads, and finds nothing wrong with."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from hypothesis import event, given, settings
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from placet import wire
from placet.v1 import evaluate_service_pb2 as pb
from placet.v1 import value_pb2
from placet_engine import native
from placet_engine.model import Entity, EntityUid, Request, Value
from tests.property import strategies

INSTALLED = native.INSTALLED
pytestmark = pytest.mark.skipif(
    INSTALLED is None, reason="the native path is not installed: `make native` builds it"
)

_LEAVES: SearchStrategy[Value] = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=5),
    st.sampled_from(strategies.EVERYONE).map(strategies.reference),
    st.sampled_from(
        [{"__extn": {"fn": "ip", "arg": "::1"}}, {"__extn": {"fn": "decimal", "arg": "nothing"}}]
    ),
)
_USUAL: SearchStrategy[Value] = st.one_of(
    _LEAVES,
    st.lists(_LEAVES, max_size=2),
    st.dictionaries(st.sampled_from(["x", "y"]), _LEAVES, max_size=2),
)
_FEW: SearchStrategy[Mapping[str, value_pb2.Value]] = st.dictionaries(
    st.sampled_from(["a", "b", "", "c d"]),
    st.one_of(*[_USUAL] * 9, strategies.values()).map(wire.value_to_wire),
    max_size=2,
)
_NAMES = st.sampled_from(["User", "Acme::Group", "_x"])
_IDS = st.sampled_from(["ann", "é", "a b"])
_UIDS = st.builds(value_pb2.EntityUid, type=_NAMES, id=_IDS)
_ENTITIES = st.builds(
    value_pb2.Entity,
    uid=_UIDS,
    attributes=_FEW,
    parents=st.lists(_UIDS, max_size=2),
    tags=_FEW,
)
_PARTS: Mapping[str, SearchStrategy[Any]] = {
    "subject": st.builds(pb.Subject, type=_NAMES, id=_IDS, properties=_FEW),
    "action": st.builds(pb.Action, name=_IDS, type=st.sampled_from(["", "Acme::Action"])),
    "resource": st.builds(pb.Resource, type=_NAMES, id=_IDS, properties=_FEW),
    "context": _FEW,
    "entities": st.lists(_ENTITIES, max_size=2),
}
_HEAD: Mapping[str, SearchStrategy[Any]] = {
    "tenant": st.sampled_from(["acme", "a.b-C_9", "a" * 64]),
    "min_revision": st.sampled_from([0, 1, -1, 2**63 - 1]),
}
_REQUESTS = st.builds(pb.EvaluateRequest, **_HEAD, **_PARTS)
_BATCHES = st.builds(
    pb.EvaluateBatchRequest,
    **_HEAD,
    **_PARTS,
    semantics=st.sampled_from([0, 1, 2, 3, 7, -1]),
    items=st.lists(
        st.one_of(
            st.builds(pb.BatchItem, **_PARTS),
            st.builds(pb.BatchItem, resource=_PARTS["resource"], context=_FEW),
        ),
        min_size=1,
        max_size=3,
    ),
)
# What makes a request one that Python has to look at, or to refuse.
_ODD_PARTS: list[Callable[[Any], Any]] = [
    lambda part: part.ClearField("subject"),
    lambda part: part.ClearField("resource"),
    lambda part: part.ClearField("context"),
    lambda part: part.subject.ClearField("id"),
    lambda part: part.subject.MergeFrom(pb.Subject(type="9")),
    lambda part: part.action.MergeFrom(pb.Action(type="if")),
    lambda part: part.entities.add(),
    lambda part: part.context["odd"].SetInParent(),
    lambda part: part.context["__extn"].MergeFrom(wire.value_to_wire(1)),
    lambda part: part.resource.properties["odd"].set_value.elements.add(),
]
# A permit would have to be checked.
_ODD_REQUESTS = [*_ODD_PARTS, lambda asked: asked.MergeFrom(type(asked)(permit="p"))]
_ODD_HEADS: list[Callable[[Any], Any]] = [
    lambda head: head.MergeFrom(type(head)(tenant="-a")),
    lambda head: head.MergeFrom(type(head)(tenant="a" * 65)),
    lambda head: head.ClearField("tenant"),
]


def good_request() -> pb.EvaluateRequest:
    """Return a request that has everything once."""
    entity = Entity(
        uid=EntityUid("Group", "g"),
        attributes={
            "flag": True,
            "number": -7,
            "set": ["a", 1],
            "record": {"owner": {"__entity": {"type": "User", "id": "bob"}}},
            "home": {"__extn": {"fn": "ip", "arg": "10.0.0.1"}},
        },
        parents=(EntityUid("Group", "all"),),
        tags={"colour": "red"},
    )
    level = {"level": wire.value_to_wire(3)}
    return pb.EvaluateRequest(
        tenant="acme",
        subject=pb.Subject(type="User", id="ann", properties=level),
        action=pb.Action(name="view"),
        resource=pb.Resource(type="Doc", id="plan", properties=level),
        context={"time": wire.value_to_wire("now")},
        entities=[wire.entity_to_wire(entity)],
        min_revision=3,
    )


def read_in_python(data: bytes) -> tuple[str, int, Request]:
    message = pb.EvaluateRequest.FromString(data)
    reader = wire.Reader()
    reader.tenant(message.tenant)
    request = wire.read_request(message, reader)
    reader.finish()
    return message.tenant, message.min_revision, request


def check_request(data: bytes) -> bool:
    """Compare what is read; return whether it was read natively."""
    assert INSTALLED is not None
    natively = INSTALLED.read_request(data)
    if natively is None:
        return False
    tenant, min_revision, request = read_in_python(data)
    assert natively[:2] == (tenant, min_revision)
    assert natively[2] == INSTALLED.read_model(request)
    return True


def check_batch(data: bytes) -> bool:
    """Compare what is read; return whether it was read natively, with all of its items."""
    assert INSTALLED is not None
    natively = INSTALLED.read_batch(data)
    if natively is None:
        return False
    message = pb.EvaluateBatchRequest.FromString(data)
    assert (natively.tenant, natively.min_revision, natively.semantics) == (
        message.tenant,
        message.min_revision,
        message.semantics,
    )
    keys = natively.keys()
    assert len(keys) == len(message.items)
    read = [natively.request(index) for index in range(len(keys))]
    reader = wire.Reader()
    batch = wire.BatchReader(message, reader)
    reader.finish()
    for index, (item, asked) in enumerate(zip(message.items, read, strict=True)):
        if asked is not None:
            assert asked == INSTALLED.read_model(batch.request(item, index))
            reader.finish()
            # What the bytes are taken for when they are asked again, and in the decision log.
            whole = wire.whole_item(*keys[index])
            whole.tenant = message.tenant
            assert asked == INSTALLED.read_request(whole.SerializeToString())[2]
    return None not in read


def test_what_everybody_sends_is_read() -> None:
    """Without this, all of the others could hold because nothing is read."""
    request = good_request()
    item = pb.BatchItem(resource=request.resource, context=request.context)
    batch = pb.EvaluateBatchRequest(
        tenant="acme",
        subject=request.subject,
        action=request.action,
        context={"zone": wire.value_to_wire(1), "time": wire.value_to_wire("then")},
        entities=request.entities,
        semantics=pb.BATCH_SEMANTICS_EXECUTE_ALL,
        items=[item, item],
        min_revision=3,
    )

    assert check_request(request.SerializeToString())
    assert check_batch(batch.SerializeToString())


@settings(max_examples=300)
@given(request=_REQUESTS, odd=st.none() | st.sampled_from([*_ODD_REQUESTS, *_ODD_HEADS]))
def test_requests_are_read_as_in_python(
    request: pb.EvaluateRequest, odd: Callable[[Any], Any] | None
) -> None:
    if odd is not None:
        odd(request)
    event(f"odd: {odd is not None}, natively: {check_request(request.SerializeToString())}")


@settings(max_examples=300)
@given(
    batch=_BATCHES,
    odd=st.none() | st.sampled_from([*_ODD_PARTS, *_ODD_HEADS]),
    odd_item=st.none() | st.sampled_from(_ODD_REQUESTS),
)
def test_batches_are_read_as_in_python(
    batch: pb.EvaluateBatchRequest,
    odd: Callable[[Any], Any] | None,
    odd_item: Callable[[Any], Any] | None,
) -> None:
    if odd is not None:
        odd(batch)
    if odd_item is not None:
        odd_item(batch.items[-1])
    is_odd = odd is not None or odd_item is not None
    event(f"odd: {is_odd}, natively: {check_batch(batch.SerializeToString())}")


@settings(max_examples=2000)
@given(data=st.data())
def test_bytes_of_any_kind_are_read_as_in_python_or_not_at_all(data: st.DataObject) -> None:
    """Good bytes with some of them changed, left out or put in."""
    good = good_request().SerializeToString()
    changed = bytearray(good)
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        length = data.draw(st.integers(0, 3))
        changed[place : place + length] = data.draw(st.binary(max_size=3))

    event(f"natively: {check_request(bytes(changed))}")


@settings(max_examples=300)
@given(first=_REQUESTS, second=_REQUESTS)
def test_messages_written_one_after_the_other_are_one(
    first: pb.EvaluateRequest, second: pb.EvaluateRequest
) -> None:
    """Protobuf merges them, which is nothing that clients do."""
    check_request(first.SerializeToString() + second.SerializeToString())


def test_a_permit_is_never_read_past() -> None:
    assert INSTALLED is not None
    request = good_request()
    item = pb.BatchItem(resource=request.resource, permit="p")
    batch = pb.EvaluateBatchRequest(
        tenant="acme", subject=request.subject, action=request.action, items=[item]
    )
    request.permit = "p"

    assert INSTALLED.read_request(request.SerializeToString()) is None
    assert INSTALLED.read_batch(batch.SerializeToString()).request(0) is None


@pytest.mark.parametrize(
    "limit",
    [
        "max_depth",
        "max_map_entries",
        "max_set_elements",
        "max_string_chars",
        "max_id_chars",
        "max_entities",
        "max_batch_items",
    ],
)
def test_limits_are_pythons_to_enforce(limit: str) -> None:
    """The extension's are no higher, or it would read what is refused."""
    assert INSTALLED is not None
    assert INSTALLED.LIMITS[limit] <= getattr(wire.LIMITS, limit)
