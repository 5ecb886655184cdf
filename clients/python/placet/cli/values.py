"""Attribute values, entities and their names, as policy authors write them in YAML and JSON.

The forms are those of Cedar's JSON: ``{__entity: {type: User, id: alice}}`` for references and
``{__extn: {fn: decimal, arg: "12.50"}}`` for extension values. Wherever an entity is named,
``User::alice`` will do.
"""

from __future__ import annotations

from placet import Entity, EntityRef, Extension, InvalidRequest, Position, Value
from placet._values import Attributes
from placet.cli.fields import Fields, kind
from placet.cli.findings import Findings
from placet.cli.tree import Node

_INT_MIN, _INT_MAX = -(2**63), 2**63 - 1


def attributes(node: Node | None, findings: Findings, *, what: str) -> dict[str, Value]:
    """Read named values."""
    if node is None or node.value is None:
        return {}
    if not isinstance(node.value, dict):
        findings.refuse(f"`{what}` is {kind(node)}; write a mapping", node.position)
        return {}
    read = ((name, value(child, findings)) for name, child in node.value.items())
    return {name: found for name, found in read if found is not None}


def value(node: Node, findings: Findings) -> Value | None:
    """Read one value. None, and a finding, if there is no such value."""
    match node.value:
        case bool() | str():
            return node.value
        case int():
            if _INT_MIN <= node.value <= _INT_MAX:
                return node.value
            findings.refuse("the number does not fit into 64 bits; write it as text", node.position)
        case float():
            findings.refuse(
                f"policies know no floating point; write {{__extn: {{fn: decimal, "
                f'arg: "{node.value}"}}}}, or whole numbers of the smallest unit',
                node.position,
            )
        case None:
            findings.refuse("there is no value; write one, or leave the key out", node.position)
        case list():
            elements = [value(child, findings) for child in node.value]
            return [element for element in elements if element is not None]
        case dict():
            return _mapping(node, findings)
    return None


def _mapping(node: Node, findings: Findings) -> Value | None:
    assert isinstance(node.value, dict)
    if node.value.keys() == {"__entity"}:
        return ref(node.value["__entity"], findings)
    if node.value.keys() == {"__extn"}:
        return _extension(node.value["__extn"], findings)
    for name in node.value:
        if name in ("__entity", "__extn", "__expr"):
            findings.refuse(f"`{name}` is a name Cedar keeps for itself", node.keys[name])
            return None
    return attributes(node, findings, what="record")


def _extension(node: Node, findings: Findings) -> Extension | None:
    fields = Fields.of(node, findings, what="`__extn`", known=("fn", "arg"))
    if fields is None:
        return None
    function = fields.required_text("fn", what="`__extn`")
    argument = fields.required_text("arg", what="`__extn`")
    return None if function is None or argument is None else Extension(function, argument)


def ref(node: Node, findings: Findings) -> EntityRef | None:
    """Read the name of an entity: ``User::alice``, or type and id."""
    if isinstance(node.value, str):
        return ref_from_text(node.value, node.position, findings)
    if isinstance(node.value, dict) and node.value.keys() == {"__entity"}:
        node = node.value["__entity"]
    fields = Fields.of(node, findings, what="the name of an entity", known=("type", "id"))
    if fields is None:
        return None
    type_ = fields.required_text("type", what="the name of an entity")
    if fields.node("id") is None:
        findings.refuse("the name of an entity needs `id`", node.position)
    id_ = fields.text("id")
    return None if type_ is None or id_ is None else EntityRef(type_, id_)


def ref_from_text(text: str, position: Position, findings: Findings) -> EntityRef | None:
    """Read ``User::alice``."""
    try:
        return EntityRef.parse(text)
    except InvalidRequest:
        findings.refuse(
            f'`{text}` names no entity; write it like User::alice, or User::"alice"', position
        )
        return None


def refs(node: Node | None, findings: Findings, *, what: str) -> tuple[EntityRef, ...]:
    """Read a list of names of entities."""
    if node is None or node.value is None:
        return ()
    if not isinstance(node.value, list):
        findings.refuse(f"`{what}` is {kind(node)}; write a list", node.position)
        return ()
    named = (ref(child, findings) for child in node.value)
    return tuple(name for name in named if name is not None)


def entity(node: Node, findings: Findings) -> Entity | None:
    """Read an entity in Cedar's JSON form; ``attributes`` will do for ``attrs``."""
    known = ("uid", "attrs", "attributes", "parents", "tags")
    fields = Fields.of(node, findings, what="an entity", known=known)
    if fields is None:
        return None
    uid = fields.node("uid")
    if uid is None:
        findings.refuse("an entity needs `uid`, such as User::alice", node.position)
        return None
    name = ref(uid, findings)
    read: Attributes = attributes(fields.node("attrs", "attributes"), findings, what="attrs")
    parents = refs(fields.node("parents"), findings, what="parents")
    tags = attributes(fields.node("tags"), findings, what="tags")
    return None if name is None else Entity(name, read, parents, tags)
