"""One owner's items, compiled: what programs are put together from.

Most of a set stays the same from one revision to the next. So a set can be compiled on the basis
of another: what is the same object in both is not looked at again.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain

from placet_engine import checking
from placet_engine.changes import ItemSet
from placet_engine.entities import EntityGraph
from placet_engine.items import (
    ItemKey,
    ItemKind,
    Policy,
    SchemaText,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import EntityUid, Problem, Severity
from placet_engine.parsing import ParsedPolicy, PolicyParser, PolicyTextError
from placet_engine.policy_index import PolicyIndex
from placet_engine.precedence import EffectivePolicy
from placet_engine.schemas import CompiledSchema, compile_schema

_SCHEMA, _SETTINGS = ItemKey(ItemKind.SCHEMA), ItemKey(ItemKind.SETTINGS)
_Problems = dict[ItemKey, Sequence[Problem]]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompiledItems:
    """One owner's items, ready to be part of programs. Immutable."""

    items: ItemSet
    settings: Settings
    schema: CompiledSchema | None
    parsed: Mapping[ItemKey, ParsedPolicy]
    """Policies and templates."""
    effective: Mapping[ItemKey, EffectivePolicy]
    """Policies and links that have an effect."""
    indexes: Mapping[str, PolicyIndex]
    """The effective policies: those of a jurisdiction under its name, all others under ``""``."""
    entities: EntityGraph
    policy_problems: Mapping[ItemKey, Sequence[Problem]]
    entity_problems: Mapping[ItemKey, Sequence[Problem]]
    schema_problems: Mapping[ItemKey, Sequence[Problem]]
    """Of the schema itself, and of policies held against it."""

    @property
    def problems(self) -> list[Problem]:
        """Everything that was found, in the order of the items it is about."""
        return [
            *self._in_order(self.policy_problems),
            *self._in_order(self.schema_problems),
            *self._in_order(self.entity_problems),
        ]

    def _in_order(self, problems: Mapping[ItemKey, Sequence[Problem]]) -> Iterator[Problem]:
        if problems:
            order = {key: place for place, key in enumerate(self.items.items)}
            for key in sorted(problems, key=lambda key: order.get(key, len(order))):
                yield from problems[key]

    @property
    def is_sound(self) -> bool:
        """Whether nothing stands in the way of using it."""
        return all(problem.severity is not Severity.ERROR for problem in self.problems)


def compile_items(
    parser: PolicyParser, items: ItemSet, base: CompiledItems | None = None
) -> CompiledItems:
    """Compile an owner's items.

    Args:
        parser: for the policies' texts.
        items: what to compile.
        base: the same owner's, as compiled before. Only what changed since costs anything.
    """
    if base is None or not base.is_sound or _differ(base.items, items, (_SCHEMA, _SETTINGS)):
        base = _nothing(items.owner)
    return _Run(parser, items, base).compile()


def _differ(one: ItemSet, other: ItemSet, keys: Iterable[ItemKey]) -> bool:
    return any(one.items.get(key) is not other.items.get(key) for key in keys)


def _nothing(owner: str) -> CompiledItems:
    return CompiledItems(
        items=ItemSet(owner=owner),
        settings=Settings(),
        schema=None,
        parsed={},
        effective={},
        indexes={},
        entities=EntityGraph(()),
        policy_problems={},
        entity_problems={},
        schema_problems={},
    )


class _Run:
    """One compilation: what changed, and what follows from it."""

    def __init__(self, parser: PolicyParser, items: ItemSet, base: CompiledItems) -> None:
        self._parser = parser
        self._items = items
        self._base = base
        now, before = items.items, base.items.items
        self._changed = {key: item for key, item in now.items() if before.get(key) is not item}
        self._removed = [key for key in before if key not in now]

    def compile(self) -> CompiledItems:
        parsed, effective, policy_problems = self._policies()
        settings = self._settings()
        schema, schema_problems = self._schema()
        entities, entity_problems = self._entities(schema, settings)
        if schema is not None and not any(map(_is_error, chain(*policy_problems.values()))):
            changed = [item.body for item in self._changed.values()]
            policies = [body for body in changed if isinstance(body, Policy)]
            for problem_key, problem in checking.against_schema(
                policies, schema, settings.schema_validation
            ):
                schema_problems[problem_key] = (*schema_problems.get(problem_key, ()), problem)
        return CompiledItems(
            items=self._items,
            settings=settings,
            schema=schema,
            parsed=parsed,
            effective=effective,
            indexes=self._indexes(effective),
            entities=entities,
            policy_problems=policy_problems,
            entity_problems=entity_problems,
            schema_problems=schema_problems,
        )

    def _settings(self) -> Settings:
        item = self._items.items.get(_SETTINGS)
        return item.body if item and isinstance(item.body, Settings) else Settings()

    def _schema(self) -> tuple[CompiledSchema | None, _Problems]:
        """Parse the schema, unless it was; whoever changed it compiles from nothing."""
        item = self._changed.get(_SCHEMA)
        if item is None or not isinstance(item.body, SchemaText):
            return self._base.schema, self._kept(self._base.schema_problems)
        try:
            return compile_schema(item.body.text), {}
        except ValueError as error:
            message = f"the schema does not parse: {error}"
            return None, {_SCHEMA: [checking.problem("SCHEMA_SYNTAX", message, field="schema")]}

    def _kept(self, problems: Mapping[ItemKey, Sequence[Problem]]) -> _Problems:
        """Return the problems of items that are as they were."""
        return {
            key: found
            for key, found in problems.items()
            if key not in self._changed and key in self._items.items
        }

    # ----------------------------------------------------------------- policies and links

    def _policies(
        self,
    ) -> tuple[dict[ItemKey, ParsedPolicy], dict[ItemKey, EffectivePolicy], _Problems]:
        parsed = dict(self._base.parsed)
        effective = dict(self._base.effective)
        problems = self._kept(self._base.policy_problems)
        for key in self._removed:
            parsed.pop(key, None)
            effective.pop(key, None)
        for key, item in self._changed.items():
            if isinstance(policy := item.body, Policy):
                self._policy(key, policy, parsed, effective, problems)
        for key, link in self._links_to_make():
            effective.pop(key, None)
            problems.pop(key, None)
            try:
                effective[key] = self._linked(link, parsed)
            except _NoLink as refused:
                problems[key] = refused.problems
        return parsed, effective, problems

    def _policy(
        self,
        key: ItemKey,
        policy: Policy,
        parsed: dict[ItemKey, ParsedPolicy],
        effective: dict[ItemKey, EffectivePolicy],
        problems: _Problems,
    ) -> None:
        parsed.pop(key, None)
        effective.pop(key, None)
        try:
            result = parsed[key] = self._parser.parse(policy.cedar)
        except PolicyTextError as error:
            problems[key] = [checking.policy_problem(error.reason, str(error), policy)]
            return
        if idle := checking.idle(policy, result):
            problems[key] = [idle]
        if not result.is_template:
            effective[key] = EffectivePolicy(
                policy.id, policy.layer, result, jurisdiction=policy.jurisdiction
            )

    def _links_to_make(self) -> Iterator[tuple[ItemKey, TemplateLink]]:
        """Go through the links that changed, or whose template did."""
        moved = {
            key.id for key in chain(self._changed, self._removed) if key.kind is ItemKind.POLICY
        }
        if not moved and not any(key.kind is ItemKind.TEMPLATE_LINK for key in self._changed):
            return
        for item in self._items.of_kind(ItemKind.TEMPLATE_LINK):
            link = item.body
            assert isinstance(link, TemplateLink)
            if item.key in self._changed or link.template_id in moved or link.id in moved:
                yield item.key, link

    def _linked(
        self, link: TemplateLink, parsed: Mapping[ItemKey, ParsedPolicy]
    ) -> EffectivePolicy:
        if ItemKey(ItemKind.POLICY, link.id) in self._items.items:
            raise _NoLink(checking.id_taken(link))
        key = ItemKey(ItemKind.POLICY, link.template_id)
        item = self._items.items.get(key)
        if item is None:
            raise _NoLink(checking.template_missing(link))
        template = item.body
        assert isinstance(template, Policy)
        result = parsed.get(key)
        if result is None:
            raise _NoLink  # that the template does not compile is said of the template
        if not result.is_template:
            raise _NoLink(checking.no_template(link))
        try:
            linked = result.link(principal=link.principal, resource=link.resource)
        except PolicyTextError as error:
            message = f"template link `{link.id}`: {error}"
            raise _NoLink(checking.problem(error.reason, message, subject=link.id)) from error
        return EffectivePolicy(link.id, template.layer, linked, template.id, template.jurisdiction)

    def _indexes(self, effective: Mapping[ItemKey, EffectivePolicy]) -> dict[str, PolicyIndex]:
        before = self._base.effective
        gone = [policy for key, policy in before.items() if effective.get(key) is not policy]
        come = [policy for key, policy in effective.items() if before.get(key) is not policy]
        indexes = dict(self._base.indexes)
        for place in {policy.jurisdiction for policy in (*gone, *come)}:
            indexes[place] = indexes.get(place, _EMPTY_INDEX).changing(
                [policy for policy in gone if policy.jurisdiction == place],
                [policy for policy in come if policy.jurisdiction == place],
            )
        return indexes

    # --------------------------------------------------------------------------- entities

    def _entities(
        self, schema: CompiledSchema | None, settings: Settings
    ) -> tuple[EntityGraph, Mapping[ItemKey, Sequence[Problem]]]:
        changed = [
            item.body.entity
            for item in self._changed.values()
            if isinstance(item.body, StoredEntity)
        ]
        removed = [key for key in self._removed if key.kind is ItemKind.ENTITY]
        if not changed and not removed:
            return self._base.entities, {}
        graph = self._base.entities.changing(
            (EntityUid(key.type, key.id) for key in removed), changed
        )
        return graph, checking.entities(changed, graph, schema, settings)


class _NoLink(Exception):
    """A template link that comes to nothing; with the problem, unless it is another item's."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__()
        self.problems = problems


def _is_error(problem: Problem) -> bool:
    return problem.severity is Severity.ERROR


_EMPTY_INDEX = PolicyIndex()
