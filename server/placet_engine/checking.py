"""What can be wrong with items, and how it is said."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

import cedarpy

from placet_engine.entities import EntityGraph, to_json_text
from placet_engine.items import (
    ItemKey,
    ItemKind,
    Policy,
    SchemaValidation,
    Settings,
    TemplateLink,
)
from placet_engine.model import Effect, Entity, EntityUid, Problem, Severity
from placet_engine.parsing import ParsedPolicy
from placet_engine.precedence import PERMITTING_LAYERS
from placet_engine.schemas import CompiledSchema
from placet_engine.source import locate


def problem(
    reason: str,
    message: str,
    *,
    field: str = "",
    subject: str = "",
    severity: Severity = Severity.ERROR,
) -> Problem:
    """Make a finding."""
    return Problem(severity=severity, reason=reason, message=message, field=field, subject=subject)


def policy_problem(
    reason: str, message: str, policy: Policy, severity: Severity = Severity.ERROR
) -> Problem:
    """Make a finding about a policy, with its place in the author's file."""
    position = locate(message, policy.cedar, policy.position)
    verb = "does not compile" if severity is Severity.ERROR else "is doubtful"
    where = f" at {position}" if str(position) else ""
    return Problem(
        severity=severity,
        reason=reason,
        message=f"policy `{policy.id}` {verb}: {message}{where}",
        subject=policy.id,
        position=position,
    )


def idle(policy: Policy, parsed: ParsedPolicy) -> Problem | None:
    """Find a policy that cannot have a part in any outcome."""
    if parsed.effect is Effect.FORBID or policy.layer in PERMITTING_LAYERS:
        return None
    return policy_problem(
        "PERMIT_NEVER_ALLOWS",
        f"a permit of layer {policy.layer.name.lower()} can never allow; move it to the "
        "tenant or the platform, or write what is forbidden instead",
        policy,
        Severity.WARNING,
    )


# --------------------------------------------------------------------------------- links


def id_taken(link: TemplateLink) -> Problem:
    """Say that a link has the id of a policy."""
    message = f"template link `{link.id}` has the id of a policy; give it another"
    return problem("ID_TAKEN", message, subject=link.id)


def template_missing(link: TemplateLink) -> Problem:
    """Say that a link is of a template that is not there."""
    message = (
        f"template link `{link.id}` is of template `{link.template_id}`, which is not "
        "there; publish the template with it, or remove the link as well"
    )
    return problem("LINK_TEMPLATE_MISSING", message, subject=link.id)


def no_template(link: TemplateLink) -> Problem:
    """Say that a link is of a policy that is no template."""
    message = (
        f"template link `{link.id}` is of `{link.template_id}`, which is a policy without "
        "slots; name a template"
    )
    return problem("LINK_TEMPLATE_MISSING", message, subject=link.id)


# ------------------------------------------------------------------------------ entities


def entities(
    changed: Sequence[Entity],
    graph: EntityGraph,
    schema: CompiledSchema | None,
    settings: Settings,
) -> Mapping[ItemKey, Sequence[Problem]]:
    """Let Cedar parse entities that are new in a graph: types, attribute values, cycles."""
    found: dict[ItemKey, list[Problem]] = {}
    if not settings.allow_empty_ids:
        for entity in changed:
            if not all(uid.id for uid in (entity.uid, *entity.parents)):
                message = (
                    f"entity `{entity.uid}` has an empty id, or a parent that has; name it, "
                    "or set `allow_empty_ids`"
                )
                about = str(entity.uid)
                found[_key(entity.uid)] = [
                    problem("EMPTY_ID", message, field="entities", subject=about)
                ]
    handle = schema.handle if schema is not None else None
    try:
        cedarpy.Entities.from_json_str(to_json_text(changed), handle, release_gil=True)
    except ValueError:
        for uid, message in _refused(changed, handle):
            bad = problem("ENTITY_INVALID", message, field="entities", subject=str(uid or ""))
            found.setdefault(_key(uid or changed[0].uid), []).append(bad)
    else:
        if graph.has_cycle_through([entity.uid for entity in changed if entity.parents]):
            message = _refusal(tuple(graph), handle) or _NO_GRAPH
            bad = problem("ENTITY_INVALID", message, field="entities")
            found.setdefault(_key(changed[0].uid), []).append(bad)
    return found


# Cedar says what is wrong with the first bad entity only, so that finding all
# of them takes a try for each. This many are enough to see what is wrong.
_MAX_ENTITY_PROBLEMS = 20
_NO_GRAPH = "the entities do not form a graph"
_EMPTY_SET = cedarpy.PolicySet.from_str("")


def _key(uid: EntityUid) -> ItemKey:
    return ItemKey(ItemKind.ENTITY, uid.id, uid.type)


def _refused(
    refused: Sequence[Entity], schema: cedarpy.Schema | None
) -> Iterator[tuple[EntityUid | None, str]]:
    """Say which entities Cedar did not take, and why."""
    found = 0
    for entity in refused:
        message = _refusal([entity], schema)
        if message is not None:
            yield entity.uid, f"entity `{entity.uid}`: {message}"
            found += 1
            if found == _MAX_ENTITY_PROBLEMS:
                return
    if not found:
        # Each is good by itself: the parents form a cycle.
        yield None, _refusal(refused, schema) or _NO_GRAPH


def _refusal(refused: Sequence[Entity], schema: cedarpy.Schema | None) -> str | None:
    """Ask Cedar why it refuses; only its evaluation says so in full."""
    text = to_json_text(refused)
    try:
        cedarpy.Entities.from_json_str(text, schema)
    except ValueError as error:
        request = {"principal": _NOBODY, "action": _NOBODY, "resource": _NOBODY}
        result = cedarpy.is_authorized(request, _EMPTY_SET, text, schema)
        message = "; ".join(result.diagnostics.errors) or str(error)
        return message.rpartition("]: ")[2].removeprefix("error during entity deserialization: ")
    return None


_NOBODY = {"type": "Nobody", "id": "nobody"}

# -------------------------------------------------------------------------------- schema


def against_schema(
    policies: Sequence[Policy], schema: CompiledSchema, validation: SchemaValidation
) -> Iterator[tuple[ItemKey, Problem]]:
    """Check policies and templates against their owner's schema.

    Policies of the platform speak of every tenant's actions and are not
    checked against one tenant's schema.
    """
    if not policies:
        return
    text = "\n".join(policy.cedar for policy in policies)
    result = cedarpy.validate_policies(text, schema.handle, release_gil=True)
    severity = Severity.WARNING if validation is SchemaValidation.WARN else Severity.ERROR
    for error in result.errors:
        # Cedar numbers policies as they stand in the text: `policy0`, `policy1`.
        number = error.policy_id.removeprefix("policy")
        message = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
        if number.isdigit():
            policy = policies[int(number)]
            yield policy.key, policy_problem("POLICY_NOT_IN_SCHEMA", message, policy, severity)
        else:
            found = problem("POLICY_NOT_IN_SCHEMA", message, severity=severity)
            yield ItemKey(ItemKind.SCHEMA), found
