"""Short ways to make what the engine works on, for tests that are about something else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from placet_engine.changes import ItemSet
from placet_engine.compiling import Compilation, Compiler
from placet_engine.items import PLATFORM, Body, Item, Policy, Revision, StoredEntity
from placet_engine.model import Attributes, Entity, EntityUid, Layer, Problem, Request
from placet_engine.parsing import ParsedPolicy, PolicyParser
from placet_engine.precedence import EffectivePolicy
from placet_engine.program import Program
from placet_engine.source import split_policies

TENANT = "acme"
FIRST = Revision(1)

ANYBODY = 'permit(principal, action == Action::"view", resource);'
"""A policy that permits what `request()` asks for."""


def uid(text: str) -> EntityUid:
    """Read ``Type::id``; the type is all before the last ``::``."""
    type_name, _, id_ = text.rpartition("::")
    return EntityUid(type_name, id_)


def ref(text: str) -> dict[str, dict[str, str]]:
    """Return a reference to ``Type::id`` as an attribute's value."""
    return {"__entity": uid(text).to_json()}


def entity(
    text: str,
    attributes: Attributes | None = None,
    *,
    parents: Iterable[str] = (),
    tags: Attributes | None = None,
) -> Entity:
    return Entity(
        uid=uid(text),
        attributes=attributes or {},
        parents=tuple(uid(parent) for parent in parents),
        tags=tags or {},
    )


def stored(
    text: str,
    attributes: Attributes | None = None,
    *,
    parents: Iterable[str] = (),
    tags: Attributes | None = None,
) -> StoredEntity:
    return StoredEntity(entity(text, attributes, parents=parents, tags=tags))


def policies(cedar: str, *, layer: Layer = Layer.TENANT, file: str = "") -> list[Policy]:
    """Cut a text into policies; those without ``@id`` are `p0`, `p1` and so on."""
    return [
        Policy(id=text.id or f"p{index}", cedar=text.cedar, layer=layer, position=text.position)
        for index, text in enumerate(split_policies(cedar, file=file))
    ]


def item_set(owner: str, bodies: Iterable[Body], revision: Revision = FIRST) -> ItemSet:
    items = [Item(owner, revision, body) for body in bodies]
    return ItemSet(owner=owner, revision=revision, items={item.key: item for item in items})


def compilation(*bodies: Body, platform: Iterable[Body] = ()) -> Compilation:
    return Compiler().compile(item_set(PLATFORM, platform), item_set(TENANT, bodies))


def problems(*bodies: Body, platform: Iterable[Body] = ()) -> list[Problem]:
    return list(compilation(*bodies, platform=platform).problems)


def program(*bodies: Body, platform: Iterable[Body] = ()) -> Program:
    result = compilation(*bodies, platform=platform)
    assert result.program is not None, result.problems
    return result.program


def effective(
    cedar: str, *, id_: str = "p", layer: Layer = Layer.TENANT, parser: PolicyParser | None = None
) -> EffectivePolicy:
    return EffectivePolicy(id_, layer, parsed(cedar, parser))


def parsed(cedar: str, parser: PolicyParser | None = None) -> ParsedPolicy:
    return (parser or PolicyParser()).parse(cedar)


def request(
    subject: str = "User::ann",
    action: str = "Action::view",
    resource: str = "Doc::plan",
    *,
    context: Mapping[str, object] | None = None,
    entities: Iterable[Entity] = (),
    approved: bool = False,
) -> Request:
    return Request(
        subject=uid(subject),
        action=uid(action),
        resource=uid(resource),
        context=context or {},  # type: ignore[arg-type]  # tests also send what is no value
        entities=tuple(entities),
        approved=approved,
    )
