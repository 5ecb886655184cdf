"""Requests as they stand in a file, or are typed at a shell."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TypeVar

from placet import Action, Position, Request, Resource, Subject, Value
from placet._values import Attributes
from placet.cli import values
from placet.cli.failures import ExitCode, Failure
from placet.cli.fields import Fields, kind
from placet.cli.findings import FilesRefused, Findings
from placet.cli.tree import Node, TreeError, read_json, read_yaml

T = TypeVar("T")

REQUEST_KEYS = ("subject", "action", "resource", "context", "entities")
"""What a request may have."""


def parts(request: Request) -> tuple[Subject, Action, Resource]:
    """Return who, what and what to."""
    subject, action, resource = request.subject, request.action, request.resource
    assert isinstance(subject, Subject)
    assert isinstance(action, Action)
    assert isinstance(resource, Resource)
    return subject, action, resource


# --------------------------------------------------------------------------------- nodes


def request_of(fields: Fields, findings: Findings, *, what: str) -> Request | None:
    """Read the parts of a request. None, and findings, if one is missing or wrong."""
    for required in ("subject", "action", "resource"):
        if fields.node(required) is None:
            findings.refuse(f"{what} needs `{required}`", fields.position)
    subject = fields.read("subject", lambda child: _subject(child, findings))
    action = fields.read("action", lambda child: _action(child, findings))
    resource = fields.read("resource", lambda child: _resource(child, findings))
    context = values.attributes(fields.node("context"), findings, what="context")
    entities = [values.entity(child, findings) for child in fields.elements("entities")]
    if subject is None or action is None or resource is None:
        return None
    return Request(
        subject=subject,
        action=action,
        resource=resource,
        context=context,
        entities=tuple(entity for entity in entities if entity is not None),
    )


def _subject(node: Node, findings: Findings) -> Subject | None:
    named = _entity_with_properties(node, "the subject", findings)
    return Subject(*named) if named else None


def _resource(node: Node, findings: Findings) -> Resource | None:
    named = _entity_with_properties(node, "the resource", findings)
    return Resource(*named) if named else None


def _entity_with_properties(
    node: Node, what: str, findings: Findings
) -> tuple[str, str, Attributes] | None:
    if isinstance(node.value, str):
        ref = values.ref_from_text(node.value, node.position, findings)
        return (ref.type, ref.id, {}) if ref else None
    fields = Fields.of(node, findings, what=what, known=("type", "id", "properties"))
    if fields is None:
        return None
    type_ = fields.required_text("type", what=what)
    if fields.node("id") is None:
        findings.refuse(f"{what} needs `id`", node.position)
    id_ = fields.text("id")
    properties = values.attributes(fields.node("properties"), findings, what="properties")
    return None if type_ is None or id_ is None else (type_, id_, properties)


def _action(node: Node, findings: Findings) -> Action | None:
    if isinstance(node.value, str):
        if "::" not in node.value:
            return Action(node.value)
        ref = values.ref_from_text(node.value, node.position, findings)
        return Action(ref.id, ref.type) if ref else None
    fields = Fields.of(
        node, findings, what="the action", known=("name", "id", "type", "properties")
    )
    if fields is None:
        return None
    if fields.node("name", "id") is None:
        findings.refuse("the action needs `name`", node.position)
    # It may be empty: what comes of that is for the policies to say.
    name = fields.text("name", "id")
    properties = values.attributes(fields.node("properties"), findings, what="properties")
    return None if name is None else Action(name, fields.text("type") or "", properties)


# ------------------------------------------------------------------------------- options


def from_options(
    subject: str | None,
    action: str | None,
    resource: str | None,
    context: Sequence[str] | None,
    context_json: str | None,
    properties: Sequence[str] | None,
) -> Request:
    """Read a request that was given in options.

    Raises:
        Failure: an option is missing, or says nothing that can be asked.
    """
    for name, given in (("subject", subject), ("action", action), ("resource", resource)):
        if not given:
            raise Failure(f"`--{name}` is missing; see --help for an example", ExitCode.USAGE)
    known = _properties(properties or ())
    who = _option("--subject", subject, _subject)
    what = _option("--action", action, _action)
    to = _option("--resource", resource, _resource)
    return Request(
        subject=Subject(who.type, who.id, known["subject"]),
        action=Action(what.name, what.type, known["action"]),
        resource=Resource(to.type, to.id, known["resource"]),
        context={**_json_attributes(context_json), **_assigned("--context", context or ())},
    )


def _option(name: str, text: str | None, read: Callable[[Node, Findings], T | None]) -> T:
    findings = Findings()
    found = read(Node(text, Position()), findings)
    _refuse(name, findings)
    assert found is not None
    return found


def _refuse(name: str, findings: Findings) -> None:
    try:
        findings.finish()
    except FilesRefused as refused:
        message = "; ".join(finding.message for finding in refused.findings)
        raise Failure(f"{name}: {message}", ExitCode.USAGE) from refused


def _assigned(option: str, assignments: Sequence[str]) -> dict[str, Value]:
    """Read ``name=value``. What reads as JSON is JSON, all else is text."""
    found: dict[str, Value] = {}
    for assignment in assignments:
        name, equals, text = assignment.partition("=")
        if not (name and equals):
            message = f"{option} is `{assignment}`; write it as name=value"
            raise Failure(message, ExitCode.USAGE)
        if name in found:
            raise Failure(f"{option} names `{name}` twice; keep one", ExitCode.USAGE)
        findings = Findings()
        read = values.value(_json_or_text(text), findings)
        _refuse(f"{option} {name}", findings)
        assert read is not None
        found[name] = read
    return found


def _json_or_text(text: str) -> Node:
    try:
        return read_json(text)
    except TreeError:
        return Node(text, Position())


def _json_attributes(text: str | None) -> Attributes:
    if text is None:
        return {}
    file = ""
    if text.startswith("@"):
        file = text[1:]
        text = _text_of(file)
    try:
        node = read_json(text, file=file)
    except TreeError as error:
        raise Failure(f"--context-json {error.message}", ExitCode.USAGE) from error
    findings = Findings()
    read = values.attributes(node, findings, what="context")
    _refuse("--context-json", findings)
    return read


def _properties(assignments: Sequence[str]) -> Mapping[str, Attributes]:
    known: dict[str, list[str]] = {"subject": [], "action": [], "resource": []}
    for assignment in assignments:
        part, dot, rest = assignment.partition(".")
        if part not in known or not dot:
            raise Failure(
                f"--property is `{assignment}`; write it like subject.level=3 or "
                "resource.owner=alice",
                ExitCode.USAGE,
            )
        known[part].append(rest)
    return {part: _assigned(f"--property {part}", given) for part, given in known.items()}


# --------------------------------------------------------------------------------- files


def from_file(name: str) -> list[Request]:
    """Read requests from a file, or from standard input for ``-``.

    Raises:
        Failure: there is no such file.
        FilesRefused: it holds something else.
    """
    text, file = _text_of(name), "standard input" if name == "-" else name
    findings = Findings()
    found = []
    try:
        nodes = _request_nodes(text, file)
    except TreeError as error:
        findings.refuse(error.message, error.position)
        nodes = []
    for node in nodes:
        fields = Fields.of(node, findings, what="a request", known=("name", *REQUEST_KEYS))
        request = request_of(fields, findings, what="a request") if fields else None
        if request is not None:
            found.append(request)
    findings.finish({file: (file, text)})
    return found


def _text_of(name: str) -> str:
    try:
        return sys.stdin.read() if name == "-" else Path(name).read_text("utf-8-sig")
    except OSError as error:
        raise Failure(f"`{name}` cannot be read: {error.strerror}", ExitCode.USAGE) from error
    except UnicodeDecodeError as error:
        raise Failure(f"`{name}` is not UTF-8 text", ExitCode.USAGE) from error


def _request_nodes(text: str, file: str) -> list[Node]:
    """Find the requests: a list, one alone, or one on each line."""
    is_yaml = file.lower().endswith((".yaml", ".yml"))
    if is_yaml or not text.lstrip().startswith(("{", "[")):
        root = read_yaml(text, file=file)
    else:
        try:
            root = read_json(text, file=file)
        except TreeError:
            lines = [number for number, line in enumerate(text.split("\n")) if line.strip()]
            if len(lines) < 2:
                raise
            return [_json_line(text.split("\n"), number, file) for number in lines]
    if isinstance(root.value, dict) and root.value.keys() == {"requests"}:
        root = root.value["requests"]
    if isinstance(root.value, list):
        return root.value
    if root.value is None:
        return []
    if not isinstance(root.value, dict):
        raise TreeError(f"is {kind(root)}; write a list of requests", root.position)
    return [root]


def _json_line(lines: Sequence[str], number: int, file: str) -> Node:
    # The lines above, empty, so that places are right.
    return read_json("\n" * number + lines[number], file=file)
