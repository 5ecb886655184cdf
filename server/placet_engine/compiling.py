"""From items to a program, or to every problem that stands in the way."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import cedarpy

from placet_engine.changes import ItemSet
from placet_engine.entities import EntityGraph
from placet_engine.items import (
    ItemKey,
    ItemKind,
    Policy,
    Revision,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import Effect, Entity, Layer, Problem, Severity
from placet_engine.parsing import ParsedPolicy, PolicyParser, PolicyTextError
from placet_engine.precedence import PERMITTING_LAYERS, EffectivePolicy
from placet_engine.program import Program
from placet_engine.source import locate


@dataclass(frozen=True, slots=True)
class Compilation:
    """A program, unless there are errors among the problems."""

    program: Program | None
    problems: tuple[Problem, ...]

    @property
    def errors(self) -> tuple[Problem, ...]:
        """The problems that keep the set from being used."""
        return tuple(found for found in self.problems if found.severity is Severity.ERROR)

    @property
    def warnings(self) -> tuple[Problem, ...]:
        """The problems that do not."""
        return tuple(found for found in self.problems if found.severity is Severity.WARNING)


class Compiler:
    """Compiles item sets; remembers parsed policies between runs. Thread-safe."""

    def __init__(self, parser: PolicyParser | None = None) -> None:
        self._parser = parser or PolicyParser()

    def compile(self, platform: ItemSet, own: ItemSet) -> Compilation:
        """Compile what applies to one tenant: the platform's items and its own.

        With ``own`` the platform itself, only the platform's items are
        compiled, as far as they can be without knowing any tenant.
        """
        return _Run(self._parser, platform, own).compile()


class _Run:
    """One compilation: collects problems on the way."""

    def __init__(self, parser: PolicyParser, platform: ItemSet, own: ItemSet) -> None:
        self._parser = parser
        self._sets = (platform,) if platform.owner == own.owner else (platform, own)
        self._own = own
        self._problems: list[Problem] = []

    def compile(self) -> Compilation:
        settings = self._settings()
        policies = [policy for items in self._sets for policy in self._effective(items, settings)]
        schema = self._schema()
        entities = [
            item.body.entity
            for item in self._own.of_kind(ItemKind.ENTITY)
            if isinstance(item.body, StoredEntity)
        ]
        self._check_entities(entities, schema, settings)
        if schema is not None:
            self._check_against(schema, settings.schema_validation)
        program = None
        if not any(found.severity is Severity.ERROR for found in self._problems):
            program = Program(
                tenant=self._own.owner,
                revision=Revision(max(items.revision for items in self._sets)),
                settings=settings,
                policies=policies,
                schema=schema,
                entities=EntityGraph(entities),
            )
        return Compilation(program, tuple(self._problems))

    def _settings(self) -> Settings:
        item = self._own.items.get(ItemKey(ItemKind.SETTINGS))
        return item.body if item and isinstance(item.body, Settings) else Settings()

    def _schema(self) -> cedarpy.Schema | None:
        item = self._own.items.get(ItemKey(ItemKind.SCHEMA))
        if item is None or not isinstance(item.body, SchemaText):
            return None
        text = item.body.text
        try:
            if text.lstrip().startswith("{"):
                return cedarpy.Schema.from_json_str(text, release_gil=True)
            return cedarpy.Schema.from_str(text, release_gil=True)
        except ValueError as error:
            self._report("SCHEMA_SYNTAX", f"the schema does not parse: {error}", field="schema")
            return None

    def _effective(self, items: ItemSet, settings: Settings) -> Iterator[EffectivePolicy]:
        """Parse one owner's policies and links; yield those that apply to the tenant."""
        parsed: dict[str, tuple[Policy, ParsedPolicy]] = {}
        for item in items.of_kind(ItemKind.POLICY):
            policy = item.body
            assert isinstance(policy, Policy)
            try:
                parsed[policy.id] = (policy, self._parser.parse(policy.cedar))
            except PolicyTextError as error:
                self._report_policy(error.reason, str(error), policy)
        links = [item.body for item in items.of_kind(ItemKind.TEMPLATE_LINK)]
        for policy, result in parsed.values():
            if not self._applies(policy, settings):
                continue
            self._warn_if_idle(policy, result)
            if not result.is_template:
                yield EffectivePolicy(policy.id, policy.layer, result)
        for link in links:
            assert isinstance(link, TemplateLink)
            linked = self._linked(link, items, parsed)
            if linked is not None and self._applies(linked[0], settings):
                template, result = linked
                yield EffectivePolicy(link.id, template.layer, result, template.id)

    def _linked(
        self, link: TemplateLink, items: ItemSet, parsed: dict[str, tuple[Policy, ParsedPolicy]]
    ) -> tuple[Policy, ParsedPolicy] | None:
        if ItemKey(ItemKind.POLICY, link.id) in items.items:
            self._report(
                "ID_TAKEN",
                f"template link `{link.id}` has the id of a policy; give it another",
                subject=link.id,
            )
            return None
        template = parsed.get(link.template_id)
        if template is None:
            if ItemKey(ItemKind.POLICY, link.template_id) not in items.items:
                self._report(
                    "LINK_TEMPLATE_MISSING",
                    f"template link `{link.id}` is of template `{link.template_id}`, which is not "
                    "there; publish the template with it, or remove the link as well",
                    subject=link.id,
                )
            return None
        if not template[1].is_template:
            self._report(
                "LINK_TEMPLATE_MISSING",
                f"template link `{link.id}` is of `{link.template_id}`, which is a policy without "
                "slots; name a template",
                subject=link.id,
            )
            return None
        try:
            return template[0], template[1].link(principal=link.principal, resource=link.resource)
        except PolicyTextError as error:
            self._report(error.reason, f"template link `{link.id}`: {error}", subject=link.id)
            return None

    def _applies(self, policy: Policy, settings: Settings) -> bool:
        if policy.layer is not Layer.JURISDICTION:
            return True
        # The platform, compiled by itself, is checked whole.
        return len(self._sets) == 1 or policy.jurisdiction in settings.jurisdictions

    def _warn_if_idle(self, policy: Policy, parsed: ParsedPolicy) -> None:
        if parsed.effect is Effect.PERMIT and policy.layer not in PERMITTING_LAYERS:
            self._report_policy(
                "PERMIT_NEVER_ALLOWS",
                f"a permit of layer {policy.layer.name.lower()} can never allow; move it to the "
                "tenant or the platform, or write what is forbidden instead",
                policy,
                Severity.WARNING,
            )

    def _check_entities(
        self, entities: Sequence[Entity], schema: cedarpy.Schema | None, settings: Settings
    ) -> None:
        """Let Cedar parse the stored entities: types, attribute values, cycles."""
        if not settings.allow_empty_ids:
            for entity in entities:
                if not all(uid.id for uid in (entity.uid, *entity.parents)):
                    self._report(
                        "EMPTY_ID",
                        f"entity `{entity.uid}` has an empty id, or a parent that has; name it, "
                        "or set `allow_empty_ids`",
                        field="entities",
                        subject=str(entity.uid),
                    )
        text = json.dumps([entity.to_json() for entity in entities])
        try:
            cedarpy.Entities.from_json_str(text, schema, release_gil=True)
        except ValueError:
            for uid, message in _entity_problems(entities, schema):
                self._report("ENTITY_INVALID", message, field="entities", subject=uid)

    def _check_against(self, schema: cedarpy.Schema, validation: SchemaValidation) -> None:
        """Check the owner's own policies and templates against its schema.

        Policies of the platform speak of every tenant's actions and are not
        checked against one tenant's schema.
        """
        policies = [item.body for item in self._own.of_kind(ItemKind.POLICY)]
        texts = [policy.cedar for policy in policies if isinstance(policy, Policy)]
        if any(found.reason.startswith("POLICY_") for found in self._problems):
            return
        result = cedarpy.validate_policies("\n".join(texts), schema, release_gil=True)
        severity = Severity.WARNING if validation is SchemaValidation.WARN else Severity.ERROR
        for error in result.errors:
            # Cedar numbers policies as they stand in the text: `policy0`, `policy1`.
            number = error.policy_id.removeprefix("policy")
            message = error.error.removeprefix(f"for policy `{error.policy_id}`, ")
            policy = policies[int(number)] if number.isdigit() else None
            if isinstance(policy, Policy):
                self._report_policy("POLICY_NOT_IN_SCHEMA", message, policy, severity)
            else:
                self._report("POLICY_NOT_IN_SCHEMA", message, severity=severity)

    def _report_policy(
        self, reason: str, message: str, policy: Policy, severity: Severity = Severity.ERROR
    ) -> None:
        position = locate(message, policy.cedar, policy.position)
        verb = "does not compile" if severity is Severity.ERROR else "is doubtful"
        where = f" at {position}" if str(position) else ""
        self._problems.append(
            Problem(
                severity=severity,
                reason=reason,
                message=f"policy `{policy.id}` {verb}: {message}{where}",
                subject=policy.id,
                position=position,
            )
        )

    def _report(
        self,
        reason: str,
        message: str,
        *,
        field: str = "",
        subject: str = "",
        severity: Severity = Severity.ERROR,
    ) -> None:
        self._problems.append(
            Problem(severity=severity, reason=reason, message=message, field=field, subject=subject)
        )


# Cedar says what is wrong with the first bad entity only, so that finding all
# of them takes a try for each. This many are enough to see what is wrong.
_MAX_ENTITY_PROBLEMS = 20
_EMPTY_SET = cedarpy.PolicySet.from_str("")


def _entity_problems(
    entities: Sequence[Entity], schema: cedarpy.Schema | None
) -> Iterator[tuple[str, str]]:
    """Say which entities Cedar did not take, and why."""
    found = 0
    for entity in entities:
        message = _entity_refusal([entity], schema)
        if message is not None:
            yield str(entity.uid), f"entity `{entity.uid}`: {message}"
            found += 1
            if found == _MAX_ENTITY_PROBLEMS:
                return
    if not found:
        # Each is good by itself: the parents form a cycle.
        yield "", _entity_refusal(entities, schema) or "the entities do not form a graph"


def _entity_refusal(entities: Sequence[Entity], schema: cedarpy.Schema | None) -> str | None:
    """Ask Cedar why it refuses; only its evaluation says so in full."""
    text = json.dumps([entity.to_json() for entity in entities])
    try:
        cedarpy.Entities.from_json_str(text, schema)
    except ValueError as error:
        request = {"principal": _NOBODY, "action": _NOBODY, "resource": _NOBODY}
        result = cedarpy.is_authorized(request, _EMPTY_SET, text, schema)
        message = "; ".join(result.diagnostics.errors) or str(error)
        return message.rpartition("]: ")[2].removeprefix("error during entity deserialization: ")
    return None


_NOBODY = {"type": "Nobody", "id": "nobody"}
