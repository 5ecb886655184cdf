"""Values, uids and entities, as messages and in the engine's form."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from placet.v1 import value_pb2
from placet.wire.limits import LIMITS
from placet.wire.refusals import ValueRefused
from placet_engine import model

TYPE_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(?:::[A-Za-z_][A-Za-z0-9_]*)*")
_EXTENSIONS = frozenset({"decimal", "ip", "datetime", "duration", "offset"})


def value_from_wire(value: value_pb2.Value, depth: int = 1) -> model.Value:
    """Return a value in Cedar's JSON form."""
    kind = value.WhichOneof("kind")
    if kind == "string_value":
        return _checked_string(value.string_value)
    if kind == "int_value":
        return value.int_value
    if kind == "bool_value":
        return value.bool_value
    if depth >= LIMITS.max_depth:
        raise ValueRefused("", f"is nested deeper than {LIMITS.max_depth} levels; flatten it")
    if kind == "set_value":
        return _elements_from_wire(value.set_value, depth)
    if kind == "record_value":
        return fields_from_wire(value.record_value.fields, depth + 1)
    if kind == "entity_value":
        uid = value.entity_value
        if not TYPE_NAME.fullmatch(uid.type):
            raise ValueRefused(".entity_value.type", type_refusal(uid.type))
        return {"__entity": {"type": uid.type, "id": _checked_string(uid.id)}}
    if kind == "extension_value":
        return _extension_from_wire(value.extension_value, depth)
    raise ValueRefused("", "has no value; set one, or leave the attribute out")


def _checked_string(text: str) -> str:
    if len(text) > LIMITS.max_string_chars:
        raise ValueRefused("", f"is longer than {LIMITS.max_string_chars} characters")
    return text


def _elements_from_wire(value: value_pb2.SetValue, depth: int) -> list[model.Value]:
    if len(value.elements) > LIMITS.max_set_elements:
        raise ValueRefused("", f"has more than {LIMITS.max_set_elements} elements")
    elements = []
    for index, element in enumerate(value.elements):
        try:
            elements.append(value_from_wire(element, depth + 1))
        except ValueRefused as refused:
            raise ValueRefused(f"[{index}]{refused.path}", refused.message) from None
    return elements


def fields_from_wire(
    fields: Mapping[str, value_pb2.Value], depth: int = 1
) -> dict[str, model.Value]:
    if len(fields) > LIMITS.max_map_entries:
        raise ValueRefused("", f"has more than {LIMITS.max_map_entries} entries")
    values = {}
    for name, value in fields.items():
        if name in _RESERVED_NAMES:
            raise ValueRefused(f".{name}", "is a name Cedar keeps for itself; choose another")
        try:
            values[name] = value_from_wire(value, depth)
        except ValueRefused as refused:
            raise ValueRefused(f".{name}{refused.path}", refused.message) from None
    return values


# Escapes of Cedar's JSON form: a record with such a key would be read as
# something else.
_RESERVED_NAMES = frozenset({"__entity", "__extn", "__expr"})


def _extension_from_wire(value: value_pb2.ExtensionValue, depth: int) -> model.Value:
    if value.function not in _EXTENSIONS:
        known = ", ".join(f"`{name}`" for name in sorted(_EXTENSIONS))
        raise ValueRefused(".function", f"is `{value.function}`; use one of {known}")
    if value.function != "offset":
        return {"__extn": {"fn": value.function, "arg": _checked_string(value.argument)}}
    if len(value.arguments) != _OFFSET_ARGUMENTS:
        raise ValueRefused(".arguments", "of `offset` are a datetime and a duration")
    arguments = [value_from_wire(argument, depth + 1) for argument in value.arguments]
    return {"__extn": {"fn": "offset", "args": arguments}}


_OFFSET_ARGUMENTS = 2


def value_to_wire(value: model.Value) -> value_pb2.Value:
    """Return a value in Cedar's JSON form as a message."""
    if isinstance(value, bool):
        return value_pb2.Value(bool_value=value)
    if isinstance(value, int):
        return value_pb2.Value(int_value=value)
    if isinstance(value, str):
        return value_pb2.Value(string_value=value)
    if isinstance(value, Mapping):
        entity, extension = value.get("__entity"), value.get("__extn")
        if isinstance(entity, Mapping):
            return value_pb2.Value(
                entity_value=value_pb2.EntityUid(type=str(entity["type"]), id=str(entity["id"]))
            )
        if isinstance(extension, Mapping):
            return value_pb2.Value(extension_value=_extension_to_wire(extension))
        return value_pb2.Value(record_value=value_pb2.RecordValue(fields=attributes_to_wire(value)))
    return value_pb2.Value(
        set_value=value_pb2.SetValue(elements=[value_to_wire(element) for element in value])
    )


def _extension_to_wire(extension: Mapping[str, model.Value]) -> value_pb2.ExtensionValue:
    arguments = extension.get("args", ())
    return value_pb2.ExtensionValue(
        function=str(extension["fn"]),
        argument=str(extension.get("arg", "")),
        arguments=map(value_to_wire, arguments if isinstance(arguments, Sequence) else ()),
    )


def attributes_to_wire(attributes: model.Attributes) -> dict[str, value_pb2.Value]:
    """Return named values as messages."""
    return {name: value_to_wire(value) for name, value in attributes.items()}


def uid_to_wire(uid: model.EntityUid) -> value_pb2.EntityUid:
    """Return a uid as a message."""
    return value_pb2.EntityUid(type=uid.type, id=uid.id)


def entity_to_wire(entity: model.Entity) -> value_pb2.Entity:
    """Return an entity as a message."""
    return value_pb2.Entity(
        uid=uid_to_wire(entity.uid),
        attributes=attributes_to_wire(entity.attributes),
        parents=[uid_to_wire(parent) for parent in entity.parents],
        tags=attributes_to_wire(entity.tags),
    )


def type_refusal(type_name: str) -> str:
    what = f"is `{type_name[:80]}`, which is no type name" if type_name else "is missing"
    return f"{what}; write it like `User` or `Acme::User`"
