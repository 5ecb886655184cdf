"""Python values and Cedar's, there and back, and what has no counterpart."""

from __future__ import annotations

import datetime
import ipaddress
import json
from decimal import Decimal
from typing import Any

import cedarpy
import pytest
from hypothesis import given
from hypothesis import strategies as st

import placet
from placet import _convert as convert
from placet import wire
from placet._values import attributes_to_wire

_ATOMS = st.one_of(
    st.booleans(),
    st.integers(-(2**63), 2**63 - 1),
    st.text(max_size=20),
    st.builds(placet.EntityRef, st.sampled_from(["User", "Acme::User"]), st.text(max_size=10)),
    st.decimals(
        min_value=Decimal("-922337203685477.5808"),
        max_value=Decimal("922337203685477.5807"),
        places=4,
    ),
    st.datetimes(timezones=st.just(datetime.UTC)).map(
        lambda time: time.replace(microsecond=time.microsecond // 1000 * 1000)
    ),
    st.timedeltas().map(lambda span: span - span % datetime.timedelta(milliseconds=1)),
    st.ip_addresses(),
    st.ip_addresses(v=4).map(lambda ip: ipaddress.ip_interface(f"{ip}/20")),
    st.ip_addresses(v=6).map(lambda ip: ipaddress.ip_network(f"{ip}/48", strict=False)),
)
_VALUES = st.recursive(
    _ATOMS,
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=8,
)


def _there(value: Any) -> Any:
    return attributes_to_wire({"it": value}, "context")["it"]


@given(value=_VALUES)
def test_values_come_back_as_they_went(value: Any) -> None:
    back = convert.value(_there(value))

    assert _same(value, back), back


def _same(value: Any, back: Any) -> bool:
    """Compare, but for networks of one address, which are that address to Cedar."""
    if isinstance(value, list):
        return len(value) == len(back) and all(map(_same, value, back))
    if isinstance(value, dict):
        return value.keys() == back.keys() and all(_same(value[key], back[key]) for key in value)
    if isinstance(value, ipaddress.IPv4Interface | ipaddress.IPv6Interface):
        return value in (back, ipaddress.ip_interface(back)) or value.network == back
    return type(value) is type(back) and value == back


@given(value=_ATOMS)
def test_cedar_takes_every_value(value: Any) -> None:
    context = {"it": wire.value_from_wire(_there(value))}
    request = {
        "principal": {"type": "User", "id": "a"},
        "action": {"type": "Action", "id": "a"},
        "resource": {"type": "User", "id": "a"},
        "context": json.dumps(context),
    }

    answer = cedarpy.is_authorized(request, "permit(principal, action, resource);", "[]")

    assert answer.decision is cedarpy.Decision.Allow, answer.diagnostics.errors


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (Decimal("12"), "12.0"),
        (Decimal("12.50000"), "12.5"),
        (Decimal("1E+2"), "100.0"),
        (Decimal("-0.0001"), "-0.0001"),
        (datetime.timedelta(hours=1, minutes=30), "5400000ms"),
        (datetime.timedelta(milliseconds=-1), "-1ms"),
        (
            datetime.datetime(2026, 1, 2, 3, 4, 5, 678_999, tzinfo=datetime.UTC),
            "2026-01-02T03:04:05.678Z",
        ),
        (
            datetime.datetime(2026, 1, 2, 1, tzinfo=datetime.timezone(datetime.timedelta(hours=2))),
            "2026-01-01T23:00:00.000Z",
        ),
        (ipaddress.ip_address("10.0.0.1"), "10.0.0.1"),
        (ipaddress.ip_network("10.0.0.0/8"), "10.0.0.0/8"),
        (ipaddress.ip_interface("10.1.2.3/8"), "10.1.2.3/8"),
        (ipaddress.ip_address("::ffff:1.2.3.4"), "0:0:0:0:0:ffff:102:304"),
    ],
)
def test_extension_values_are_written_as_cedar_reads_them(value: Any, text: str) -> None:
    assert text == _there(value).extension_value.argument


def test_an_offset_goes_there_and_back() -> None:
    value = placet.Extension(
        "offset",
        arguments=(
            datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC),
            placet.Extension("duration", "-9223372036854775808ms"),
        ),
    )

    assert value == convert.value(_there(value))


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (0.1, "is a float, and policies know no floating point"),
        (None, "is None; leave it out"),
        (2**63, "does not fit into 64 bits"),
        (Decimal("0.00001"), "round it to 4 decimal places"),
        (Decimal("1E-1000000"), "round it to 4 decimal places"),
        (Decimal("922337203685477.5808"), "out of range"),
        (Decimal("1E+1000000"), "out of range"),
        (Decimal("NaN"), "out of range"),
        (datetime.datetime(2026, 1, 1), "without a time zone"),  # noqa: DTZ001
        (datetime.date(2026, 1, 1), "is a date"),
        (ipaddress.ip_address("fe80::1%eth0"), "has a zone"),
        (b"bytes", "is a bytes"),
        (object(), "is an object"),
        ("\ud800", "surrogate"),
    ],
)
def test_what_cedar_has_no_value_for_is_refused(value: Any, message: str) -> None:
    with pytest.raises(placet.InvalidRequest) as caught:
        attributes_to_wire({"amount": value}, "context")

    assert "context.amount" == caught.value.violations[0].field
    assert message in str(caught.value)


def test_a_refusal_names_the_place_within() -> None:
    context: Any = {"order": {"lines": [{"price": 1}, {"price": 1.5}]}}

    with pytest.raises(placet.InvalidRequest) as caught:
        attributes_to_wire(context, "context")

    assert "context.order.lines[1].price" == caught.value.violations[0].field


def test_what_contains_itself_is_refused() -> None:
    value: list[Any] = []
    value.append(value)

    with pytest.raises(placet.InvalidRequest, match="nested deeper"):
        _there(value)


def test_the_deepest_value_the_server_takes_is_taken() -> None:
    value: Any = 1
    for _ in range(wire.LIMITS.max_depth - 1):
        value = [value]

    wire.value_from_wire(_there(value))
    with pytest.raises(placet.InvalidRequest, match="nested deeper"):
        _there([value])


def test_a_key_has_to_be_text() -> None:
    with pytest.raises(placet.InvalidRequest, match="is an int; pass text"):
        _there({1: "one"})


@given(type_=st.sampled_from(["User", "Acme::User"]), id_=st.text())
def test_an_entity_is_read_as_it_is_written(type_: str, id_: str) -> None:
    ref = placet.EntityRef(type_, id_)

    assert ref == placet.EntityRef.parse(str(ref))


def test_a_person_may_leave_out_the_quotes() -> None:
    assert placet.EntityRef("Acme::User", "alice") == placet.EntityRef.parse("Acme::User::alice")


@pytest.mark.parametrize("text", ["", "alice", "::alice", 'User::"alice', 'User::al"ice'])
def test_what_names_no_entity_is_refused(text: str) -> None:
    with pytest.raises(placet.InvalidRequest):
        placet.EntityRef.parse(text)
