"""Reads policy folders: from files to what is published.

============================  =================================================================
``*.cedar``                   policies and templates, each with an ``@id``; one alone in its file
                              is named by the file's path
``*.cedarschema[.json]``      the schema
``entities.json``             entities in Cedar's JSON form; an empty list: there are none
``*.yaml``, ``*.json``        documents with ``policies``, ``links``, ``entities``, ``schema``,
                              ``settings``
============================  =================================================================

Reading is pure: texts in, documents out. All that is wrong is told at once, each with its place;
whether the policies compile is for the engine to say.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Mapping
from datetime import timedelta

from placet import (
    Entity,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
    Position,
    Schema,
    SchemaValidation,
    TemplateLink,
    TenantSettings,
)
from placet.cli import values
from placet.cli.contents import Documents, key_of
from placet.cli.durations import read_duration
from placet.cli.fields import Fields, kind
from placet.cli.files import FileKind, SourceFile
from placet.cli.findings import Findings, place
from placet.cli.tree import Node, TreeError, read_json, read_yaml
from placet_engine.source import PolicyText, split_policies

KEYS = ("policies", "links", "entities", "schema", "settings")
"""What a document may have at its top."""


def read_documents(files: Iterable[SourceFile], findings: Findings) -> Documents:
    """Read the files of a folder. What is wrong goes to ``findings``; test cases are passed by."""
    gathered = Gathered(findings)
    for file in files:
        match file.kind:
            case FileKind.CEDAR:
                gathered.add_cedar(file)
            case FileKind.SCHEMA:
                start = Position(file=file.name, line=1, column=1)
                gathered.set_schema(file.text, start)
            case FileKind.ENTITIES | FileKind.DOCUMENT:
                node = read_tree(file, findings)
                if node is not None and file.kind is FileKind.ENTITIES:
                    gathered.add_entities(node)
                elif node is not None and node.value is not None and not has_cases(node):
                    gathered.add_document(node)
    return gathered.documents()


def read_tree(file: SourceFile, findings: Findings) -> Node | None:
    """Read a YAML or JSON file. None, and a finding, if it is neither."""
    try:
        read = read_json if file.is_json else read_yaml
        return read(file.text, file=file.name)
    except TreeError as error:
        findings.refuse(error.message, error.position)
        return None


def has_cases(node: Node) -> bool:
    """Whether a document is one of test cases, wherever it stands."""
    return isinstance(node.value, dict) and "cases" in node.value


class Gathered:
    """Documents in the making: whoever comes second with the same name is told of the first."""

    def __init__(self, findings: Findings) -> None:
        self._findings = findings
        self._policies: list[Policy] = []
        self._links: list[TemplateLink] = []
        self._entities: list[Entity] = []
        self._lists_entities = False
        self._schema: Schema | None = None
        self._settings: TenantSettings | None = None
        self._places: dict[ItemKey, Position] = {}
        self._indents: dict[str, int] = {}
        self._taken: dict[object, Position] = {}

    def documents(self) -> Documents:
        """Return what was gathered."""
        return Documents(
            policies=tuple(self._policies),
            links=tuple(self._links),
            entities=tuple(self._entities),
            schema=self._schema,
            settings=self._settings,
            lists_entities=self._lists_entities,
            places=self._places,
            indents=self._indents,
        )

    # ------------------------------------------------------------------------------ files

    def add_cedar(self, file: SourceFile) -> None:
        """Add the policies of a Cedar file."""
        found = split_policies(file.text, file=file.name)
        for text in found:
            id_ = text.id if text.id is not None else self._file_id(file, text, len(found))
            if id_ is not None:
                position = _position(text)
                self._add_policy(Policy(id=id_, cedar=text.cedar, position=position), position)

    def _file_id(self, file: SourceFile, text: PolicyText, count: int) -> str | None:
        """Name a policy by its file, if it is alone there."""
        if count > 1:
            problem = f"this is one of {count} policies in its file and has no id"
        elif not _ID.fullmatch(file.stem):
            problem = f"`{file.stem}`, the file's name, cannot be an id"
        else:
            return file.stem
        self._findings.refuse(f'{problem}; add `@id("...")` above it', _position(text))
        return None

    def add_document(self, node: Node) -> None:
        """Add what a YAML or JSON document holds."""
        known = ("description", *KEYS)
        fields = Fields.of(node, self._findings, what="the document", known=known)
        if fields is not None:
            fields.text("description")
            self.add_fields(fields)

    def add_fields(self, fields: Fields) -> None:
        """Add what stands under a document's keys."""
        for policy in fields.elements("policies"):
            self._add_policy_node(policy)
        for link in fields.elements("links"):
            self._add_link(link)
        entities = fields.node("entities")
        if entities is not None and entities.value is not None:
            self.add_entities(entities)
        self._add_schema_node(fields.node("schema"))
        settings = fields.node("settings")
        if settings is not None and settings.value is not None:
            self._set_settings(settings)

    # ----------------------------------------------------------------------------- policies

    def _add_policy_node(self, node: Node) -> None:
        known = ("id", "cedar", "layer", "jurisdiction", "description", "labels")
        fields = Fields.of(node, self._findings, what="a policy", known=known)
        if fields is None:
            return
        cedar = fields.required_text("cedar", what="a policy")
        layer = fields.choice("layer", _LAYERS, Layer.UNSPECIFIED)
        jurisdiction = fields.text("jurisdiction") or ""
        description = fields.text("description") or ""
        labels = self._labels(fields.node("labels"))
        if cedar is None:
            return
        text_node = fields.node("cedar")
        assert text_node is not None
        id_ = self._document_id(fields, cedar)
        if id_ is None:
            return
        self._indents[id_] = text_node.indent
        self._add_policy(
            Policy(
                id=id_,
                cedar=cedar.strip(),
                layer=layer,
                jurisdiction=jurisdiction,
                description=description,
                labels=labels,
                position=_start_of(cedar, text_node),
            ),
            fields.at("id"),
        )

    def _document_id(self, fields: Fields, cedar: str) -> str | None:
        """Return a policy's id: of the document, or else of its annotation."""
        if fields.node("id") is not None:
            return fields.required_text("id", what="a policy")
        annotated = [text.id for text in split_policies(cedar) if text.id is not None]
        if not annotated:
            self._findings.refuse("a policy needs `id`", fields.position)
            return None
        return annotated[0]

    def _labels(self, node: Node | None) -> dict[str, str]:
        if node is None or node.value is None:
            return {}
        labels = {}
        if not isinstance(node.value, dict):
            self._findings.refuse(f"`labels` is {kind(node)}; write a mapping", node.position)
            return {}
        for name, child in node.value.items():
            if isinstance(child.value, str):
                labels[name] = child.value
            else:
                self._findings.refuse(
                    f"label `{name}` is {kind(child)}; write text, in quotes if need be",
                    child.position,
                )
        return labels

    def _add_policy(self, policy: Policy, position: Position) -> None:
        if self._claim(policy.id, f"policy `{policy.id}`", position):
            self._places[policy.key] = position
            self._policies.append(policy)

    def _add_link(self, node: Node) -> None:
        known = ("id", "template", "principal", "resource")
        fields = Fields.of(node, self._findings, what="a link", known=known)
        if fields is None:
            return
        id_ = fields.required_text("id", what="a link")
        template = fields.required_text("template", what="a link")
        principal = fields.read("principal", lambda child: values.ref(child, self._findings))
        resource = fields.read("resource", lambda child: values.ref(child, self._findings))
        if id_ is None or template is None:
            return
        if self._claim(id_, f"link `{id_}`", fields.at("id")):
            link = TemplateLink(
                id=id_, template_id=template, principal=principal, resource=resource
            )
            self._places[link.key] = fields.at("id")
            self._links.append(link)

    # --------------------------------------------------------------- entities, schema, settings

    def add_entities(self, node: Node) -> None:
        """Add a list of entities."""
        if not isinstance(node.value, list):
            self._findings.refuse(f"entities are {kind(node)}; write a list", node.position)
            return
        self._lists_entities = True
        for child in node.value:
            entity = values.entity(child, self._findings)
            if entity is not None and self._claim(
                entity.uid, f"entity `{entity.uid}`", child.position
            ):
                self._places[key_of(entity)] = child.position
                self._entities.append(entity)

    def _add_schema_node(self, node: Node | None) -> None:
        if node is None or node.value is None:
            return
        if isinstance(node.value, str):
            self.set_schema(node.value, node.position)
        elif isinstance(node.value, dict):
            self.set_schema(json.dumps(node.plain()), node.position)
        else:
            self._findings.refuse(f"`schema` is {kind(node)}; write a schema", node.position)

    def set_schema(self, text: str, position: Position) -> None:
        """Take the schema, of which there is one."""
        if not text.strip():
            self._findings.refuse("the schema is empty", position)
        elif self._claim(ItemKind.SCHEMA, "a schema", position):
            self._places[ItemKey(ItemKind.SCHEMA)] = position
            self._schema = Schema(text)

    def _set_settings(self, node: Node) -> None:
        fields = Fields.of(node, self._findings, what="`settings`", known=_SETTINGS)
        if fields is None or not self._claim(ItemKind.SETTINGS, "`settings`", node.position):
            return
        self._places[ItemKey(ItemKind.SETTINGS)] = node.position
        self._settings = TenantSettings(
            schema_validation=fields.choice(
                "schema_validation", _VALIDATIONS, SchemaValidation.STRICT
            ),
            jurisdictions=fields.texts("jurisdictions"),
            max_staleness=fields.read("max_staleness", self._duration)
            or fields.read("max_staleness_s", self._seconds),
            allow_empty_ids=fields.truth("allow_empty_ids"),
        )

    def _duration(self, node: Node) -> timedelta | None:
        found = read_duration(node.value) if isinstance(node.value, str) else None
        if found is None:
            self._findings.refuse(
                f"`max_staleness` is `{node.plain()}`; write it like 30s, 1m30s or 500ms",
                node.position,
            )
        return found

    def _seconds(self, node: Node) -> timedelta | None:
        if isinstance(node.value, int | float) and not isinstance(node.value, bool):
            return timedelta(seconds=node.value)
        self._findings.refuse(
            f"`max_staleness_s` is {kind(node)}; write a number of seconds", node.position
        )
        return None

    def _claim(self, name: object, what: str, position: Position) -> bool:
        first = self._taken.setdefault(name, position)
        if first is position:
            return True
        self._findings.refuse(f"{what} is in {place(first)} already; keep one of them", position)
        return False


# What a server takes for an id. It checks again; here it only decides whether a file's name is one.
_ID = re.compile(r"[A-Za-z0-9._/:@#+-]{1,256}")
_SETTINGS = (
    "schema_validation",
    "jurisdictions",
    "max_staleness",
    "max_staleness_s",
    "allow_empty_ids",
)
_LAYERS: Mapping[str, Layer] = {
    layer.name.lower(): layer for layer in Layer if layer is not Layer.UNSPECIFIED
}
_VALIDATIONS: Mapping[str, SchemaValidation] = {
    validation.name.lower(): validation for validation in SchemaValidation
}


def _position(text: PolicyText) -> Position:
    at = text.position
    return Position(file=at.file, line=at.line, column=at.column)


def _start_of(cedar: str, node: Node) -> Position:
    """Return where a policy in a document begins, below the comments above it."""
    found = split_policies(cedar)
    if not found:
        return node.position
    at = found[0].position
    return Position(
        file=node.position.file,
        line=node.position.line + at.line - 1,
        column=at.column + (node.position.column - 1 if at.line == 1 else node.indent),
    )
