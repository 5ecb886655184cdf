"""Draws for people how a decision came about.

Indented lines, and no frames or colours that anything depends on: it is read in a terminal of 80
columns, in a ticket, in a log.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rich.console import Group, RenderableType
from rich.padding import Padding
from rich.text import Text

from placet import (
    Cause,
    Effect,
    Entity,
    EntityRef,
    Explanation,
    Layer,
    LayerVerdict,
    MatchedPolicy,
    Outcome,
)
from placet.cli import terminal
from placet.cli.as_json import entity_to_json
from placet.cli.findings import place
from placet.cli.terminal import outcome_text, safe

_MOST_LINES = 8
"""So much of a policy's text is shown."""


def work(explanation: Explanation) -> Iterator[RenderableType]:
    """Draw how a decision came about: layers top down, the rule, entities, overrides."""
    yield _section("layers, top down", _layers(explanation))
    yield _section("why", _why(explanation))
    if explanation.entities:
        entities = map(_entity_text, explanation.entities)
        yield _section("entities the policies could reach", map(_indented, entities))
    if explanation.overrides:
        overrides = (
            Text(safe(f"{override.entity}: `{override.attribute}` is what is stored"))
            for override in explanation.overrides
        )
        yield _section("sent with the request, and overridden", map(_indented, overrides))


def _section(title: str, parts: Iterable[RenderableType]) -> RenderableType:
    return Group(Text(), Text(title, "bold"), *parts)


def _indented(text: RenderableType, by: int = 2) -> RenderableType:
    return Padding(text, (0, 0, 0, by), expand=False)


def _why(explanation: Explanation) -> Iterator[RenderableType]:
    """Tell the rule that decided, and what would have led elsewhere."""
    for rule in explanation.steps[-1:]:
        yield _indented(Text(safe(rule)))
    for change in explanation.would_change:
        yield _indented(Text(safe(change), "cyan"))


# ---------------------------------------------------------------------------------- layers


def _layers(explanation: Explanation) -> Iterator[RenderableType]:
    verdicts = {verdict.layer: verdict for verdict in explanation.layers}
    near_ones = explanation.decision.cause is Cause.NO_PERMIT
    for layer in dict.fromkeys((*_AUTHORITY, *verdicts)):
        verdict = verdicts.get(layer)
        if verdict is None:
            yield _indented(Text(f"{layer.name.lower()}, no policies", "dim"))
            continue
        count = terminal.counted(verdict.policies, "policy", "policies")
        yield _indented(Text.assemble((layer.name.lower(), "bold"), f", {count}: ", _says(verdict)))
        policies = list(_policies(verdict, near_ones=near_ones))
        for part in policies or [Text("none matched", "dim")]:
            yield _indented(part, 4)


_AUTHORITY = (Layer.PLATFORM, Layer.JURISDICTION, Layer.TENANT, Layer.AGENT)


def _says(verdict: LayerVerdict) -> Text:
    """Say what a layer comes to by itself."""
    is_forbid = any(
        policy.counts and policy.effect is Effect.FORBID
        for policy in (*verdict.matched, *verdict.failed)
    )
    if verdict.outcome is Outcome.DENY and not is_forbid and not verdict.errors:
        return Text("nothing permitted, nothing forbidden")
    return outcome_text(verdict.outcome)


def _policies(verdict: LayerVerdict, *, near_ones: bool) -> Iterator[RenderableType]:
    for matched in verdict.matched:
        yield _head(matched, "" if matched.counts else f" ({_why_not(matched)})")
        yield from _text_of(matched)
    known = {failed.policy_id: failed for failed in verdict.failed}
    for error in verdict.errors:
        failed = known.get(error.policy_id)
        yield _head(failed, "") if failed else Text(safe(error.policy_id), "bold")
        yield _indented(Text(safe(f"could not be evaluated: {error.message}"), "red"))
        if failed:
            yield from _text_of(failed)
    if near_ones:
        for near in verdict.unmet:
            yield _head(near, " (its condition is false)")
            yield from _text_of(near)
        left = verdict.unmet_count - len(verdict.unmet)
        if left > 0:
            more = terminal.counted(left, "more permit", "more permits")
            yield Text(f"and {more} about this request, with a false condition", "dim")


def _head(policy: MatchedPolicy, remark: str) -> Text:
    """Name a policy and where it is written."""
    style = "green" if policy.effect is Effect.PERMIT else "red"
    text = Text.assemble((policy.effect.name.lower(), style), " ", (safe(policy.policy_id), "bold"))
    if policy.template_id:
        text.append(f" of template {safe(policy.template_id)}")
    where = place(policy.position)
    if where:
        text.append(f" at {safe(where)}", "cyan")
    return text.append(remark, "yellow")


def _why_not(policy: MatchedPolicy) -> str:
    if policy.annotations.get("mode") == "log_only":
        return "does not count: it is log-only"
    return f"does not count: a permit of layer {policy.layer.name.lower()} cannot allow"


def _text_of(policy: MatchedPolicy) -> Iterator[RenderableType]:
    """Show what a policy tells people, what it asks of them, and the beginning of its text."""
    reason = policy.annotations.get("reason")
    if reason:
        yield _indented(Text(safe(reason), "italic"))
    for name, value in sorted(policy.annotations.items()):
        if name not in ("id", "reason"):
            yield _indented(Text(f'@{safe(name)}("{safe(value)}")', "dim"))
    lines = _ANNOTATIONS_AND_COMMENTS.sub("", policy.cedar).strip().splitlines()
    for line in lines[:_MOST_LINES]:
        yield _indented(Text(safe(line), "dim"))
    if len(lines) > _MOST_LINES:
        more = terminal.counted(len(lines) - _MOST_LINES, "more line", "more lines")
        yield _indented(Text(f"… {more}", "dim"))


# They stand before the policy itself, and are told in another way.
_ANNOTATIONS_AND_COMMENTS = re.compile(
    r'\A(?:\s+|//[^\n]*|@\w+\s*(?:\(\s*"(?:[^"\\]|\\.)*"\s*\))?)*'
)

# -------------------------------------------------------------------------------- entities


def _entity_text(entity: Entity) -> Text:
    document = entity_to_json(entity)
    text = Text(safe(str(entity.uid)), "bold")
    if document["attrs"]:
        attributes = ", ".join(f"{name}: {_short(v)}" for name, v in document["attrs"].items())
        text.append(f" {{{safe(attributes)}}}", "not bold")
    if entity.parents:
        parents = ", ".join(str(parent) for parent in entity.parents)
        text.append(f" in {safe(parents)}", "not bold dim")
    return text


def _short(value: object) -> str:
    """Write an attribute's value as its author would."""
    match value:
        case {"__entity": {"type": str(type_), "id": str(id_)}}:
            return str(EntityRef(type_, id_))
        case {"__extn": {"fn": function, "arg": argument}}:
            return f'{function}("{argument}")'
        case bool():
            return str(value).lower()
        case str():
            return f'"{value}"'
        case list():
            return f"[{', '.join(map(_short, value))}]"
        case dict():
            return f"{{{', '.join(f'{name}: {_short(v)}' for name, v in value.items())}}}"
    return str(value)
