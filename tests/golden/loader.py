"""Reads golden cases: policies, and what they have to say about requests, in YAML.

A file is one tenant and what is asked about it:

    description: why these policies are as they are          # optional text
    policies:
      - id: invoices/view                                     # required
        cedar: permit(principal, action, resource);           # required, one policy or template
        layer: tenant          # or platform, jurisdiction, agent; tenant if left out
        jurisdiction: EU       # with layer jurisdiction, and only there
        description: text      # optional
        labels: {team: billing}                               # optional
    links:                                                    # policies made of templates
      - {id: ann-owns, template: invoices/owner, principal: User::ann, resource: Folder::a}
    entities:
      - uid: User::ann                                        # or {type: User, id: ann}
        attributes: {level: 3, boss: {__entity: {type: User, id: bob}}}
        parents: [Group::clerks]
        tags: {region: north}
    schema: entity User;                                      # Cedar's, in either syntax
    settings:
      schema_validation: strict                               # or warn
      jurisdictions: [EU]
      allow_empty_ids: false
      max_staleness_s: 30
    cases:
      - name: a clerk sees an invoice                         # required
        subject: User::ann                                    # or {type, id, properties}
        action: view                                          # or Acme::Action::view, or {id: view}
        resource: {type: Invoice, id: "7", properties: {amount: 10}}
        context: {ip: {__extn: {fn: ip, arg: 10.0.0.1}}}      # optional
        entities: []                                          # optional: sent with the request
        expect: ALLOW          # or DENY, REQUIRES_APPROVAL: only the outcome is looked at
      - name: ...
        expect:                # only what is named here is looked at; lists in any order
          outcome: DENY
          cause: FORBIDDEN     # a name of `Cause`
          reasons: [policy/id]
          messages: ["text of a reason"]
          obligations: [redact:ssn]
          approvers: [finance-leads]
          errors: [policy/id]  # policies that could not be evaluated
          log_only: {outcome: DENY, reasons: [policy/id]}     # or null: nothing to report
      - name: ...
        expect:                # could not be decided, which is no denial
          undecidable: EMPTY_ID
          field: subject.id

`User::ann` is type `User`, id `ann`; the last `::` divides. Where that does not
do, or the id has a quote in it, write `{type: User, id: "..."}`.

Values are those of Cedar's JSON format. The YAML is that of version 1.2: `yes`,
`NO`, `12:30` and `2026-01-01` are text. A number with a point is refused, for
Cedar has none, and so is a key that is not known or is given twice.

How a case is decided is not known here, so that the same files can be put to
the engine, over the wire, in a batch, in a stream and to a cache.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable, Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import yaml

from placet_engine.items import (
    PLATFORM_LAYERS,
    Body,
    Policy,
    SchemaText,
    SchemaValidation,
    Settings,
    StoredEntity,
    TemplateLink,
)
from placet_engine.model import (
    Attributes,
    Cause,
    Entity,
    EntityUid,
    Layer,
    Outcome,
    Request,
    Undecidable,
    Value,
    Verdict,
)

FOLDER = Path(__file__).parent


class BadFile(ValueError):
    """A golden file that does not say what it means. ``where`` is a path within it."""

    def __init__(self, where: str, message: str) -> None:
        super().__init__(f"`{where}` {message}" if where else message)
        self.where = where


@dataclass(frozen=True, slots=True, kw_only=True)
class LogOnly:
    """What the log-only policies are expected to have changed."""

    outcome: Outcome
    reasons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What has to come out. ``None`` means that it does not matter."""

    outcome: Outcome | None = None
    cause: Cause | None = None
    reasons: tuple[str, ...] | None = None
    messages: tuple[str, ...] | None = None
    obligations: tuple[str, ...] | None = None
    approvers: tuple[str, ...] | None = None
    errors: tuple[str, ...] | None = None
    log_only: LogOnly | None = None
    nothing_to_report: bool = False
    """Whether the log-only policies are expected to change nothing."""
    undecidable: str = ""
    """Reason for which there is no verdict; empty: there has to be one."""
    field: str | None = None

    def differences(self, answer: Verdict | Undecidable) -> list[str]:
        """Say in which ways an answer is not as expected; nothing if it is."""
        return list(self._differences(answer))

    def _differences(self, answer: Verdict | Undecidable) -> Iterator[str]:
        if isinstance(answer, Undecidable):
            if self.undecidable != answer.reason or self.field not in (None, answer.field):
                at = f" at `{answer.field}`" if answer.field else ""
                yield f"could not be decided: {answer.reason}{at}: {answer.message}"
            return
        if self.undecidable:
            yield f"expected not to be decided ({self.undecidable}), is {answer.outcome.name}"
            return
        for what, expected, actual in (
            ("outcome", self.outcome, answer.outcome),
            ("cause", self.cause, answer.cause),
            ("reasons", self.reasons, [reason.policy_id for reason in answer.reasons]),
            ("messages", self.messages, [r.message for r in answer.reasons if r.message]),
            ("obligations", self.obligations, answer.obligations),
            ("approvers", self.approvers, answer.approval_groups),
            ("errors", self.errors, [error.policy_id for error in answer.errors]),
        ):
            if expected is not None and _shown(expected) != _shown(actual):
                yield f"{what}: expected {_shown(expected)}, is {_shown(actual)}"
        yield from self._log_only_differences(answer)

    def _log_only_differences(self, answer: Verdict) -> Iterator[str]:
        report = answer.log_only
        if self.nothing_to_report and report is not None:
            yield f"log_only: expected nothing, would be {report.outcome.name}"
        if self.log_only is None:
            return
        if report is None:
            yield "log_only: expected a report, there is none"
            return
        if report.outcome is not self.log_only.outcome:
            yield f"log_only: expected {self.log_only.outcome.name}, is {report.outcome.name}"
        reasons = [reason.policy_id for reason in report.reasons]
        expected = self.log_only.reasons
        if expected is not None and _shown(expected) != _shown(reasons):
            yield f"log_only.reasons: expected {_shown(expected)}, is {_shown(reasons)}"


def _shown(value: Outcome | Cause | Sequence[str]) -> str:
    return value.name if isinstance(value, Outcome | Cause) else ", ".join(sorted(value)) or "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One request and what has to come out."""

    name: str
    """Unique over all files: that of the file, a slash, that of the case."""
    file: GoldenFile
    request: Request
    expectation: Expectation


@dataclass(frozen=True, slots=True, eq=False)
class GoldenFile:
    """One tenant's items, the platform's beside them, and cases. Compares by identity."""

    name: str
    tenant: tuple[Body, ...]
    platform: tuple[Body, ...]
    cases: list[GoldenCase]


@functools.cache
def files() -> tuple[GoldenFile, ...]:
    """Read all golden files of this folder."""
    return tuple(load(path) for path in sorted(FOLDER.glob("*.yaml")))


def cases() -> list[GoldenCase]:
    """Return the cases of all golden files of this folder."""
    return [case for file in files() for case in file.cases]


def load(path: Path) -> GoldenFile:
    """Read one golden file.

    Raises:
        BadFile: it is not one.
    """
    return parse(path.read_text("utf-8"), name=path.stem)


def parse(text: str, *, name: str) -> GoldenFile:
    """Read a golden file's text.

    Raises:
        BadFile: it is not one.
    """
    try:
        # A safe loader, with fewer types still.
        document = yaml.load(text, _Loader)
    except yaml.YAMLError as error:
        raise BadFile("", f"{name}.yaml is not YAML: {error}") from error
    root = _Fields(
        document,
        "",
        required={"policies", "cases"},
        optional={"description", "entities", "links", "schema", "settings"},
    )
    root.text("description")
    policies = root.each("policies", _policy)
    tenant: list[Body] = [policy for policy in policies if policy.layer not in PLATFORM_LAYERS]
    tenant += root.each("links", _link)
    tenant += root.each("entities", lambda value, at: StoredEntity(_entity(value, at)))
    if "schema" in root:
        tenant.append(SchemaText(root.text("schema")))
    if "settings" in root:
        tenant.append(_settings(root["settings"], "settings"))
    file = GoldenFile(
        name=name,
        tenant=tuple(tenant),
        platform=tuple(policy for policy in policies if policy.layer in PLATFORM_LAYERS),
        cases=[],
    )
    file.cases.extend(root.each("cases", lambda value, at: _case(value, at, file)))
    names = [case.name for case in file.cases]
    for index, case in enumerate(file.cases):
        if case.name in names[:index]:
            raise BadFile(f"cases[{index}].name", "is that of another case; choose another")
    return file


# ----------------------------------------------------------------------------- what is stored


def _policy(document: Any, at: str) -> Policy:
    fields = _Fields(
        document,
        at,
        required={"id", "cedar"},
        optional={"layer", "jurisdiction", "description", "labels"},
    )
    layer = fields.member("layer", Layer) if "layer" in fields else Layer.TENANT
    if (layer is Layer.JURISDICTION) is not ("jurisdiction" in fields):
        raise BadFile(f"{at}.jurisdiction", "goes with `layer: jurisdiction`, and is needed there")
    labels = _attributes(fields.get("labels", {}), f"{at}.labels")
    return Policy(
        id=fields.text("id"),
        cedar=fields.text("cedar").strip(),
        layer=layer,
        jurisdiction=fields.text("jurisdiction"),
        description=fields.text("description"),
        labels={label: str(value) for label, value in labels.items()},
    )


def _link(document: Any, at: str) -> TemplateLink:
    fields = _Fields(document, at, required={"id", "template"}, optional={"principal", "resource"})
    return TemplateLink(
        id=fields.text("id"),
        template_id=fields.text("template"),
        principal=_uid(fields["principal"], f"{at}.principal") if "principal" in fields else None,
        resource=_uid(fields["resource"], f"{at}.resource") if "resource" in fields else None,
    )


def _entity(document: Any, at: str) -> Entity:
    fields = _Fields(document, at, required={"uid"}, optional={"attributes", "parents", "tags"})
    return Entity(
        uid=_uid(fields["uid"], f"{at}.uid"),
        attributes=_attributes(fields.get("attributes", {}), f"{at}.attributes"),
        parents=tuple(fields.each("parents", _uid)),
        tags=_attributes(fields.get("tags", {}), f"{at}.tags"),
    )


def _settings(document: Any, at: str) -> Settings:
    fields = _Fields(
        document,
        at,
        optional={"schema_validation", "jurisdictions", "allow_empty_ids", "max_staleness_s"},
    )
    validation = SchemaValidation.STRICT
    if "schema_validation" in fields:
        validation = fields.member("schema_validation", SchemaValidation)
    seconds = fields.get("max_staleness_s")
    return Settings(
        schema_validation=validation,
        jurisdictions=tuple(fields.each("jurisdictions", _text)),
        max_staleness_s=None
        if seconds is None
        else float(_number(seconds, f"{at}.max_staleness_s")),
        allow_empty_ids=fields.claim("allow_empty_ids"),
    )


# ------------------------------------------------------------------------------------- cases


def _case(document: Any, at: str, file: GoldenFile) -> GoldenCase:
    fields = _Fields(
        document,
        at,
        required={"name", "subject", "action", "resource", "expect"},
        optional={"context", "entities"},
    )
    described = [
        _described(fields["subject"], f"{at}.subject"),
        _described(fields["action"], f"{at}.action", default_type="Action"),
        _described(fields["resource"], f"{at}.resource"),
    ]
    return GoldenCase(
        name=f"{file.name}/{fields.text('name')}",
        file=file,
        request=Request(
            subject=described[0].uid,
            action=described[1].uid,
            resource=described[2].uid,
            context=_attributes(fields.get("context", {}), f"{at}.context"),
            entities=(
                *(entity for entity in described if entity.attributes),
                *fields.each("entities", _entity),
            ),
        ),
        expectation=_expectation(fields["expect"], f"{at}.expect"),
    )


def _described(value: Any, at: str, *, default_type: str = "") -> Entity:
    """Read a subject, action or resource: its name, or that and its properties."""
    if isinstance(value, str):
        return Entity(uid=_uid(value, at, default_type=default_type))
    optional = {"properties"} | ({"type"} if default_type else set())
    fields = _Fields(value, at, required={"id", "type"} - optional, optional=optional)
    return Entity(
        uid=EntityUid(fields.text("type") or default_type, fields.text("id")),
        attributes=_attributes(fields.get("properties", {}), f"{at}.properties"),
    )


def _expectation(value: Any, at: str) -> Expectation:
    if isinstance(value, str):
        return Expectation(outcome=_member(value, at, Outcome))
    if isinstance(value, dict) and "undecidable" in value:
        fields = _Fields(value, at, required={"undecidable"}, optional={"field"})
        field = fields.text("field") if "field" in fields else None
        return Expectation(undecidable=fields.text("undecidable"), field=field)
    optional = {"cause", "reasons", "messages", "obligations", "approvers", "errors", "log_only"}
    fields = _Fields(value, at, required={"outcome"}, optional=optional)
    report = fields.get("log_only")
    return Expectation(
        outcome=fields.member("outcome", Outcome),
        cause=fields.member("cause", Cause) if "cause" in fields else None,
        log_only=_log_only(report, f"{at}.log_only") if report is not None else None,
        nothing_to_report="log_only" in fields and report is None,
        reasons=fields.texts("reasons"),
        messages=fields.texts("messages"),
        obligations=fields.texts("obligations"),
        approvers=fields.texts("approvers"),
        errors=fields.texts("errors"),
    )


def _log_only(value: Any, at: str) -> LogOnly:
    fields = _Fields(value, at, required={"outcome"}, optional={"reasons"})
    return LogOnly(
        outcome=fields.member("outcome", Outcome),
        reasons=fields.texts("reasons"),
    )


# ------------------------------------------------------------------------------------- parts

_T = TypeVar("_T")
_E = TypeVar("_E", Layer, Outcome, Cause, SchemaValidation)


class _Fields:
    """A mapping of known keys, read with a word on where a mistake is."""

    def __init__(
        self,
        document: Any,
        at: str,
        *,
        required: set[str] | None = None,
        optional: set[str] | None = None,
    ) -> None:
        required = required or set()
        if not isinstance(document, dict):
            raise BadFile(at, f"is {_kind(document)}; it has to be a mapping")
        known = required | (optional or set())
        for key in document:
            if key not in known:
                raise BadFile(_below(at, key), f"is not known; use {_listed(known)}")
        for key in sorted(required - document.keys()):
            raise BadFile(_below(at, key), "is missing")
        self._document: dict[str, Any] = document
        self._at = at

    def __contains__(self, key: str) -> bool:
        return key in self._document

    def __getitem__(self, key: str) -> Any:
        return self._document[key]

    def get(self, key: str, instead: Any = None) -> Any:
        return self._document.get(key, instead)

    def text(self, key: str) -> str:
        return _text(self.get(key, ""), _below(self._at, key))

    def claim(self, key: str) -> bool:
        value = self.get(key, False)
        if not isinstance(value, bool):
            raise BadFile(_below(self._at, key), f"is {_kind(value)}; use `true` or `false`")
        return value

    def member(self, key: str, enum: type[_E]) -> _E:
        return _member(self[key], _below(self._at, key), enum)

    def each(self, key: str, read: Callable[[Any, str], _T]) -> list[_T]:
        at, values = _below(self._at, key), self.get(key, [])
        if not isinstance(values, list):
            raise BadFile(at, f"is {_kind(values)}; it has to be a list")
        return [read(value, f"{at}[{index}]") for index, value in enumerate(values)]

    def texts(self, key: str) -> tuple[str, ...] | None:
        return tuple(self.each(key, _text)) if key in self else None


def _uid(value: Any, at: str, *, default_type: str = "") -> EntityUid:
    if not isinstance(value, str):
        fields = _Fields(value, at, required={"type", "id"})
        return EntityUid(fields.text("type"), fields.text("id"))
    type_name, divided, id_ = value.rpartition("::")
    if '"' in value:
        raise BadFile(at, f"is `{value}`; leave the quotes out, or write `{{type: ..., id: ...}}`")
    if not (divided and type_name) and not default_type:
        raise BadFile(at, f"is `{value}`; write it like `User::ann`")
    return EntityUid(type_name or default_type, id_)


def _attributes(value: Any, at: str) -> Attributes:
    if not isinstance(value, dict):
        raise BadFile(at, f"is {_kind(value)}; it has to be a mapping")
    return {_text(name, at): _value(inner, f"{at}.{name}") for name, inner in value.items()}


def _value(value: Any, at: str) -> Value:
    if isinstance(value, bool | int | str):
        return value
    if isinstance(value, list):
        return [_value(inner, f"{at}[{index}]") for index, inner in enumerate(value)]
    if isinstance(value, dict):
        return _attributes(value, at)
    raise BadFile(
        at,
        f"is {_kind(value)}, which Cedar does not know; use an integer, or "
        '`{__extn: {fn: decimal, arg: "1.5"}}`',
    )


def _text(value: Any, at: str) -> str:
    if not isinstance(value, str):
        raise BadFile(at, f"is {_kind(value)}; it has to be text: put it in quotes")
    return value


def _number(value: Any, at: str) -> int | float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadFile(at, f"is {_kind(value)}; it has to be a number")
    return value


def _member(value: Any, at: str, enum: type[_E]) -> _E:
    """Read a member's name: as it is for what the wire has in capitals, else in lower case."""
    spelt = {_spelling(member): member for member in enum}
    if value not in spelt:
        raise BadFile(at, f"is `{value}`; use {_listed(spelt)}")
    return spelt[value]


def _spelling(member: Layer | Outcome | Cause | SchemaValidation) -> str:
    return member.name if isinstance(member, Outcome | Cause) else member.name.lower()


def _kind(value: Any) -> str:
    names = {dict: "a mapping", list: "a list", str: "text", bool: "a claim", type(None): "nothing"}
    return names.get(type(value), f"the number {value}")


def _listed(names: set[str] | Mapping[str, object]) -> str:
    return ", ".join(f"`{name}`" for name in sorted(names))


def _below(at: str, key: object) -> str:
    return f"{at}.{key}" if at else str(key)


class _Loader(yaml.SafeLoader):
    """YAML 1.2's core types, and no key twice."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen = set()
        for key, _ in node.value:
            if not isinstance(key, yaml.ScalarNode):
                continue
            if key.value in seen:
                raise yaml.constructor.ConstructorError(
                    None, None, f"key `{key.value}` is given twice", key.start_mark
                )
            seen.add(key.value)
        return super().construct_mapping(node, deep)


for _tag, _pattern, _first in (
    ("bool", r"true|false", "tf"),
    ("int", r"[-+]?(?:0|[1-9][0-9]*)", "-+0123456789"),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+\.[0-9]*)(?:[eE][-+]?[0-9]+)?", "-+.0123456789"),
    ("null", r"null|~|", "n~"),
):
    _Loader.add_implicit_resolver(
        f"tag:yaml.org,2002:{_tag}", re.compile(f"(?:{_pattern})$"), [*_first, ""]
    )
