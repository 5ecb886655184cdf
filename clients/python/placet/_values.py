"""Values and entities as Python has them, and how they go onto the wire.

=========================================  ==========================================
Python                                     Cedar
=========================================  ==========================================
``bool``, ``str``                          the same
``int``                                    ``Long``: 64 bits, signed
``list``, ``tuple``, ``set``, ...          ``Set``
any mapping with text for keys             record
``EntityRef``                              reference to an entity
``decimal.Decimal``                        ``decimal``: at most 4 decimal places
``datetime.datetime`` with a time zone     ``datetime``, cut to the millisecond
``datetime.timedelta``                     ``duration``, cut to the millisecond
addresses and networks of ``ipaddress``    ``ip``
``Extension``                              whatever else Cedar's functions take
=========================================  ==========================================

There is no ``float``, since Cedar has none, and no ``None``: what has no
value is left out.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from ipaddress import (
    IPv4Address,
    IPv4Interface,
    IPv4Network,
    IPv6Address,
    IPv6Interface,
    IPv6Network,
)
from typing import TypeAlias

from placet import wire
from placet._errors import InvalidRequest, Violation
from placet.v1 import value_pb2


@dataclass(frozen=True, slots=True, order=True)
class EntityRef:
    """The name of one entity: a Cedar type and an id of any text."""

    type: str
    id: str

    def __str__(self) -> str:
        """Write the name as Cedar does: ``User::"alice"``."""
        escaped = "".join(_ESCAPES.get(char, char) for char in self.id)
        return f'{self.type}::"{escaped}"'

    @classmethod
    def parse(cls, text: str) -> EntityRef:
        r"""Read what a person typed: ``User::"alice"`` as Cedar writes it, or ``User::alice``.

        Without quotes, the id is what follows the last ``::``. Do not build
        such texts in programs: an id may contain anything; pass the parts.

        Raises:
            InvalidRequest: it is neither.
        """
        quoted = _QUOTED.fullmatch(text)
        if quoted:
            id_ = _ESCAPED.sub(lambda found: _UNESCAPES[found.group(1)], quoted.group(2))
            return cls(quoted.group(1), id_)
        type_, separator, id_ = text.rpartition("::")
        if not separator or not type_ or '"' in id_:
            raise refusal("entity", f'is `{text[:80]}`; write it like `User::"alice"`')
        return cls(type_, id_)


_ESCAPES = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\0": "\\0"}
_UNESCAPES = {escape[1]: char for char, escape in _ESCAPES.items()}
_ESCAPED = re.compile(r'\\(["\\nrt0])')
_QUOTED = re.compile(r'([A-Za-z_][\w:]*)::"((?:[^"\\]|\\["\\nrt0])*)"', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Extension:
    """A value by one of Cedar's extension functions, written out."""

    function: str
    """``decimal``, ``ip``, ``datetime``, ``duration`` or ``offset``."""
    argument: str = ""
    """As text."""
    arguments: tuple[Value, ...] = ()
    """For ``offset`` instead: a datetime, and a duration to add to it."""


IPAddress: TypeAlias = (
    IPv4Address | IPv4Interface | IPv4Network | IPv6Address | IPv6Interface | IPv6Network
)
Value: TypeAlias = (
    "bool | int | str | Decimal | datetime | timedelta | IPAddress | EntityRef | Extension"
    " | Sequence[Value] | AbstractSet[Value] | Mapping[str, Value]"
)
Attributes: TypeAlias = Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Entity:
    """A subject, resource or group with its attributes and direct parents."""

    uid: EntityRef
    attributes: Attributes = field(default_factory=dict)
    parents: tuple[EntityRef, ...] = ()
    tags: Attributes = field(default_factory=dict)


def refusal(path: str, message: str) -> InvalidRequest:
    """Make the error for one field that is not as it has to be."""
    return InvalidRequest(violations=[Violation(path, message)], reason="REQUEST_MALFORMED")


# ------------------------------------------------------------------------- onto the wire


def attributes_to_wire(attributes: Attributes, path: str) -> dict[str, value_pb2.Value]:
    """Return named values as messages.

    Raises:
        InvalidRequest: there is no Cedar value for one of them. ``path`` says
            where it is.
    """
    return _fields_to_wire(attributes, path, 1)


def _fields_to_wire(fields: Attributes, path: str, depth: int) -> dict[str, value_pb2.Value]:
    if not isinstance(fields, Mapping):
        raise refusal(path, f"is {_what(fields)}; pass a mapping")
    messages = {}
    for name, value in fields.items():
        inner = f"{path}.{name}"
        messages[text_to_wire(name, inner)] = _value_to_wire(value, inner, depth)
    return messages


def text_to_wire(text: object, path: str) -> str:
    """Check that something is text that UTF-8 can carry."""
    if not isinstance(text, str):
        raise refusal(path, f"is {_what(text)}; pass text")
    try:
        text.encode()
    except UnicodeEncodeError:
        raise refusal(path, "has half of a surrogate pair in it; pass whole characters") from None
    return text


def ref_to_wire(ref: EntityRef | tuple[str, str], path: str) -> value_pb2.EntityUid:
    """Return the name of an entity as a message; a pair of type and id will do."""
    type_, id_ = pair(ref, path)
    return value_pb2.EntityUid(type=type_, id=id_)


def pair(ref: EntityRef | tuple[str, str], path: str) -> tuple[str, str]:
    """Return type and id of an entity, checked."""
    match ref:
        case EntityRef(type_, id_) | (type_, id_):
            return text_to_wire(type_, f"{path}.type"), text_to_wire(id_, f"{path}.id")
    raise refusal(path, f'is {_what(ref)}; pass type and id, like `("User", "alice")`')


def entity_to_wire(entity: Entity, path: str) -> value_pb2.Entity:
    """Return an entity as a message."""
    if not isinstance(entity, Entity):
        raise refusal(path, f"is {_what(entity)}; pass a `placet.Entity`")
    return value_pb2.Entity(
        uid=ref_to_wire(entity.uid, f"{path}.uid"),
        attributes=attributes_to_wire(entity.attributes, f"{path}.attributes"),
        parents=[
            ref_to_wire(parent, f"{path}.parents[{index}]")
            for index, parent in enumerate(entity.parents)
        ],
        tags=attributes_to_wire(entity.tags, f"{path}.tags"),
    )


def entities_to_wire(entities: Iterable[Entity], path: str) -> list[value_pb2.Entity]:
    """Return entities as messages."""
    return [entity_to_wire(entity, f"{path}[{index}]") for index, entity in enumerate(entities)]


def _value_to_wire(value: Value, path: str, depth: int) -> value_pb2.Value:
    # The order matters: a bool is an int, and a datetime is no mapping.
    if isinstance(value, str):
        return value_pb2.Value(string_value=text_to_wire(value, path))
    if isinstance(value, bool):
        return value_pb2.Value(bool_value=value)
    if isinstance(value, int):
        if not _INT_MIN <= value <= _INT_MAX:
            raise refusal(path, "does not fit into 64 bits; pass it as text")
        return value_pb2.Value(int_value=value)
    if isinstance(value, EntityRef):
        return value_pb2.Value(entity_value=ref_to_wire(value, path))
    if isinstance(value, Mapping | AbstractSet | list | tuple):
        return _collection_to_wire(value, path, depth)
    extension = _extension(value, path)
    if extension.arguments:
        _refuse_depth(depth, path)
    return value_pb2.Value(
        extension_value=value_pb2.ExtensionValue(
            function=text_to_wire(extension.function, path),
            argument=text_to_wire(extension.argument, path),
            arguments=[
                _value_to_wire(argument, f"{path}[{index}]", depth + 1)
                for index, argument in enumerate(extension.arguments)
            ],
        )
    )


_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def _collection_to_wire(
    value: Mapping[str, Value] | AbstractSet[Value] | Sequence[Value], path: str, depth: int
) -> value_pb2.Value:
    _refuse_depth(depth, path)
    if isinstance(value, Mapping):
        fields = _fields_to_wire(value, path, depth + 1)
        return value_pb2.Value(record_value=value_pb2.RecordValue(fields=fields))
    elements = [
        _value_to_wire(element, f"{path}[{index}]", depth + 1)
        for index, element in enumerate(value)
    ]
    return value_pb2.Value(set_value=value_pb2.SetValue(elements=elements))


def _refuse_depth(depth: int, path: str) -> None:
    """Keep to the server's limit, which here also ends what contains itself."""
    if depth >= wire.LIMITS.max_depth:
        raise refusal(path, f"is nested deeper than {wire.LIMITS.max_depth} levels; flatten it")


def _extension(value: object, path: str) -> Extension:
    """Find the extension value that a Python value stands for."""
    match value:
        case Extension():
            return value
        case Decimal():
            return Extension("decimal", _decimal_text(value, path))
        case datetime():
            if value.utcoffset() is None:
                raise refusal(
                    path, "is a datetime without a time zone; give it one, such as `datetime.UTC`"
                )
            return Extension("datetime", _datetime_text(value, path))
        case timedelta():
            return Extension("duration", f"{value // timedelta(milliseconds=1)}ms")
        case (
            IPv4Address()
            | IPv4Interface()
            | IPv4Network()
            | IPv6Address()
            | IPv6Interface()
            | IPv6Network()
        ):
            return Extension("ip", _ip_text(value, path))
        case float():
            raise refusal(
                path,
                f"is {_what(value)}, and policies know no floating point; pass a "
                "`decimal.Decimal`, or an int in the smallest unit",
            )
        case None:
            raise refusal(path, "is None; leave it out")
    raise refusal(path, f"is {_what(value)}, for which policies have no value; pass text")


def _decimal_text(value: Decimal, path: str) -> str:
    """Write a decimal as Cedar takes it: fixed point, with one to four decimal places."""
    if not value.is_finite() or value.adjusted() > _DECIMAL_MAX.adjusted():
        raise refusal(path, f"is `{value}`, which is out of range: Cedar's limit is {_DECIMAL_MAX}")
    too_fine = refusal(path, f"is `{value}`; round it to 4 decimal places, which is all Cedar has")
    if value and value.adjusted() < -4:
        raise too_fine
    whole, _, fraction = f"{value:f}".partition(".")
    fraction = fraction.rstrip("0") or "0"
    if len(fraction) > 4:
        raise too_fine
    text = f"{whole}.{fraction}"
    if not _DECIMAL_MIN <= Decimal(text) <= _DECIMAL_MAX:
        raise refusal(path, f"is `{value}`, which is out of range: Cedar's limit is {_DECIMAL_MAX}")
    return text


_DECIMAL_MAX = Decimal("922337203685477.5807")
_DECIMAL_MIN = Decimal("-922337203685477.5808")


def _datetime_text(value: datetime, path: str) -> str:
    try:
        instant = value.astimezone(UTC)
    except OverflowError:
        raise refusal(path, "is outside the years 1 to 9999 in UTC") from None
    # Not strftime, which does not pad years below 1000 everywhere.
    return f"{instant.replace(tzinfo=None).isoformat(timespec='milliseconds')}Z"


def _ip_text(value: IPAddress, path: str) -> str:
    if isinstance(value, IPv4Network | IPv6Network):
        address, length = value.network_address, value.prefixlen
    elif isinstance(value, IPv4Interface | IPv6Interface):
        address, length = value.ip, value.network.prefixlen
    else:
        address, length = value, value.max_prefixlen
    if isinstance(address, IPv4Address):
        text = str(address)
    else:
        if address.scope_id is not None:
            raise refusal(path, "has a zone, which means nothing elsewhere; leave the zone out")
        # Cedar takes no dotted quad within an IPv6 address, which Python 3.13 writes.
        text = ":".join(f"{group:x}" for group in _groups(address.packed))
    return text if length == value.max_prefixlen else f"{text}/{length}"


def _groups(packed: bytes) -> Iterable[int]:
    return (int.from_bytes(packed[at : at + 2]) for at in range(0, len(packed), 2))


def _what(value: object) -> str:
    """Say what a value is, without showing more of it than its type."""
    name = type(value).__name__
    return f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name}"
