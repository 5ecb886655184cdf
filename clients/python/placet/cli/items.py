"""Draws what a tenant's policy set is made of, and how it changes."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterable, Iterator, Sequence
from typing import Any

from rich.text import Text

from placet import (
    CandidateEdits,
    Entity,
    Item,
    ItemDiff,
    ItemKey,
    ItemKind,
    Layer,
    NodeSettings,
    Placement,
    Policy,
    Rollout,
    Schema,
    TemplateLink,
    TenantSettings,
)
from placet.cli.as_json import entity_to_json, to_json
from placet.cli.terminal import safe


def kind_word(kind: ItemKind) -> str:
    """Return the word people use for a kind."""
    return kind.name.lower().removeprefix("template_").replace("_", " ")


KINDS = {
    kind_word(kind): kind
    for kind in ItemKind
    if kind.is_content or kind in (ItemKind.ROLLOUT, ItemKind.CANDIDATE)
}
"""The kinds of items a tenant can have, by the words people use: ``policy``, ``link``, ..."""


def name_of(key: ItemKey) -> str:
    """Return what an item is called; schema and settings have no name."""
    return str(key.entity) if key.entity is not None else key.id


def title(key: ItemKey) -> str:
    """Return kind and name of an item."""
    return f"{kind_word(key.kind)} {name_of(key)}".rstrip()


def about(item: Item) -> str:
    """Say in a few words what an item is about."""
    match item.body:
        case Policy() as policy:
            return policy.description or _first_line(policy.cedar)
        case TemplateLink() as link:
            slots = [
                f"{slot} = {ref}"
                for slot, ref in (("principal", link.principal), ("resource", link.resource))
                if ref is not None
            ]
            return f"of template {link.template_id}, {', '.join(slots)}"
        case Entity() as entity:
            attributes = ", ".join(sorted(entity.attributes))
            parents = ", ".join(map(str, entity.parents))
            return " ".join(
                part for part in (attributes, f"in {parents}" if parents else "") if part
            )
        case Schema() as schema:
            return f"{len(schema.text.splitlines())} lines"
        case TenantSettings() as settings:
            return json.dumps(to_json(settings))
        case Rollout() as rollout:
            state = rollout.state.name.lower().replace("_", " ")
            return f"{rollout.id} {state}, {rollout.share_percent} %"
        case CandidateEdits() as edits:
            policies = len(edits.policies) + len(edits.template_links)
            return f"{policies} of its policies written, {len(edits.deletes)} items removed"
        case Placement() | NodeSettings():
            return json.dumps(to_json(item.body))


def _first_line(cedar: str) -> str:
    """Return the first line that is neither a comment nor an annotation."""
    lines = [line.strip() for line in cedar.splitlines()]
    return next((line for line in lines if line and not line.startswith(("//", "@"))), "")


def layer_word(item: Item) -> str:
    """Return the layer of a policy, nothing for what has none."""
    if not isinstance(item.body, Policy) or item.body.layer is Layer.UNSPECIFIED:
        return ""
    jurisdiction = f" {item.body.jurisdiction}" if item.body.jurisdiction else ""
    return item.body.layer.name.lower() + jurisdiction


def item_to_json(item: Item) -> dict[str, Any]:
    """Return an item as a document."""
    return {
        "kind": kind_word(item.key.kind),
        "name": name_of(item.key),
        "owner": item.owner,
        "revision": item.revision,
        "body": to_json(item.body),
    }


# -------------------------------------------------------------------------------- changes

_MARKS = {"added": ("+", "green"), "removed": ("-", "red"), "changed": ("~", "yellow")}


def change_word(before: object, after: object) -> str:
    """Say what happened to something that was, and is, there or not."""
    if before is None:
        return "added"
    return "removed" if after is None else "changed"


def change_line(change: str, key: ItemKey, remark: str = "") -> Text:
    """Draw one change: ``+ policy invoices/view``."""
    mark, style = _MARKS[change]
    text = Text.assemble((f"{mark} {safe(title(key))}", style))
    if remark:
        text.append(f"  {safe(remark)}", "dim")
    return text


def changed_parts(before: object, after: object) -> str:
    """Name the parts of an item's body that differ."""
    one, other = _document(before), _document(after)
    names = [name for name in other | one if one.get(name) != other.get(name)]
    return ", ".join(names)


def _document(body: object) -> dict[str, Any]:
    document: dict[str, Any] = to_json(body)
    return document


def diff_lines(changes: Sequence[ItemDiff]) -> Iterator[Text]:
    """Draw what differs, policies as text, the rest as JSON."""
    for change in changes:
        item = change.after or change.before
        assert item is not None
        name = title(item.key)
        before = _lines(change.before)
        after = _lines(change.after)
        yield Text(
            f"{change_word(change.before, change.after)} {safe(name)}",
            "bold " + _MARKS[change_word(change.before, change.after)][1],
        )
        unified = difflib.unified_diff(before, after, lineterm="", n=3)
        yield from _coloured(list(unified)[2:])


def _coloured(lines: Iterable[str]) -> Iterator[Text]:
    styles = {"+": "green", "-": "red", "@": "cyan"}
    for line in lines:
        yield Text(safe(line), styles.get(line[:1], ""))


def _lines(item: Item | None) -> list[str]:
    if item is None:
        return []
    body = item.body
    if isinstance(body, Policy):
        rest = {
            name: value
            for name, value in to_json(body).items()
            if name in ("layer", "jurisdiction", "description", "labels") and value
        }
        return [
            *(f"// {name}: {json.dumps(v)}" for name, v in rest.items()),
            *body.cedar.split("\n"),
        ]
    if isinstance(body, Schema):
        return body.text.split("\n")
    document = entity_to_json(body) if isinstance(body, Entity) else to_json(body)
    return json.dumps(document, indent=2, sort_keys=True, ensure_ascii=False).split("\n")
