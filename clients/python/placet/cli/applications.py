"""Templates as the commands handle them: found by name, filled in, as documents, with their cases.

What templates are, and how they are filled in, is for ``placet.templates``.
"""

from __future__ import annotations

from dataclasses import replace

import yaml

from placet import NotFound, Policy, Position, templates
from placet.cli.cases import read_cases
from placet.cli.contents import Documents
from placet.cli.failures import ExitCode, Failure
from placet.cli.files import FileKind, SourceFile
from placet.cli.findings import Findings, did_you_mean
from placet.cli.folders import Folder
from placet.templates import Application, Template
from placet_engine.source import split_policies


def named(name: str) -> Template:
    """Return the template of a name; say what may have been meant if there is none."""
    try:
        return templates.load(name)
    except NotFound as error:
        hint = did_you_mean(name, templates.names())
        raise Failure(f"no template `{name}`; {hint}", ExitCode.USAGE) from error


def folder_of(application: Application) -> Folder:
    """Return what is published as if it were a folder, so that messages can quote it."""
    starts = {policy.id: _start(policy) for policy in application.policies}
    places = {policy.key: starts[policy.id] for policy in application.policies}
    places |= {link.key: starts[link.template_id] for link in application.links}
    documents = Documents(policies=application.policies, links=application.links, places=places)
    texts = {
        policy.position.file: (policy.position.file, policy.cedar)
        for policy in application.policies
    }
    return Folder(documents=documents, cases=(), texts=texts)


def _start(policy: Policy) -> Position:
    """Return where a policy begins, below the comments above it."""
    (text,) = split_policies(policy.cedar)
    at = text.position
    return Position(file=policy.position.file, line=at.line, column=at.column)


def with_cases(template: Template) -> Folder:
    """Fill a template's examples in; return the cases it ships with, which bring that along."""
    folder = folder_of(template.apply(template.examples))
    file = f"{template.name}/cases.yaml"
    source = SourceFile(
        kind=FileKind.CASES, name=file, shown=file, stem=template.name, text=template.cases
    )
    findings = Findings()
    (cases,) = read_cases([source], findings)
    texts = {**folder.texts, file: (file, template.cases)}
    findings.finish(texts)
    # What the cases have of their own stands beside the template.
    cases = replace(cases, documents=folder.documents.under(cases.documents))
    return replace(folder, cases=(cases,), texts=texts)


def as_document(application: Application) -> str:
    """Write an application as a YAML document for a policy folder."""
    policies = [
        {
            "id": policy.id,
            **({"layer": policy.layer.name.lower()} if policy.layer.value else {}),
            **({"jurisdiction": policy.jurisdiction} if policy.jurisdiction else {}),
            "description": policy.description,
            "labels": dict(policy.labels),
            "cedar": f"{policy.cedar}\n",
        }
        for policy in application.policies
    ]
    links = [
        {
            "id": link.id,
            "template": link.template_id,
            **({"principal": str(link.principal)} if link.principal else {}),
            **({"resource": str(link.resource)} if link.resource else {}),
        }
        for link in application.links
    ]
    document = {"policies": policies, **({"links": links} if links else {})}
    return yaml.dump(document, Dumper=_Dumper, sort_keys=False, width=100)


class _Dumper(yaml.SafeDumper):
    """Writes texts of several lines as they are."""


def _text(dumper: yaml.SafeDumper, text: str) -> yaml.ScalarNode:
    # Between quotes, unless no reader could take it for anything but text.
    style = "|" if "\n" in text else None if text[:1].isalpha() else '"'
    return dumper.represent_scalar("tag:yaml.org,2002:str", text, style=style)


_Dumper.add_representer(str, _text)
