"""``placet policy push`` and ``placet policy validate``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated, Any, TypeAlias

import typer

from placet import (
    ChangeSet,
    Client,
    InvalidRequest,
    ItemKey,
    NotFound,
    OutOfRange,
    Publication,
    Validation,
)
from placet.cli import items, terminal
from placet.cli.compiling import compile_documents, findings_of, to_engine
from placet.cli.contents import Documents
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode
from placet.cli.findings import FilesRefused, Finding
from placet.cli.folders import Folder, read_policies
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    DryRun,
    ExpectedRevision,
    Json,
    Message,
    Paths,
    Platform,
    Replace,
    Tenant,
    Timeout,
    connected,
    owner,
)
from placet.cli.plan import planned_changes


def push(
    paths: Paths,
    tenant: Tenant = "",
    platform: Platform = False,
    replace: Replace = None,
    message: Message = "",
    expected_revision: ExpectedRevision = None,
    dry_run: DryRun = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Publish a folder of policies, entities, schema and settings as one revision.

    All of it or nothing: what does not compile is not stored. The tenant comes into being with its
    first push. What is pushed decides at once; to go step by step: `placet rollout start`.
    """
    whose = owner(tenant, platform=platform)
    with terminal.working("reading"):
        folder = read_policies(paths)
    replace_all = replace if replace is not None else all(path.is_dir() for path in paths)
    change_set = folder.documents.change_set(replace_all=replace_all)
    with folder.quoting(), connected(address, tenant=whose, timeout_s=timeout_s) as client:
        to_engine(folder.documents, whose)
        if dry_run:
            with terminal.working(f"checking {size_text(change_set)}"):
                validation, planned = try_at(client, change_set, whose)
            return show_trial(validation, planned, folder, as_json=as_json)
        with terminal.working(f"publishing {size_text(change_set)}"):
            publication = publish(client, change_set, folder, message, expected_revision)
            changes = _changes(client, publication)
    warnings = findings_of(publication.warnings, folder.documents)
    if as_json:
        terminal.print_json(
            {
                "revision": publication.revision,
                "upserts": publication.upserts,
                "deletes": publication.deletes,
                "changes": [change_to_json(change, key) for change, key, _ in changes],
                "warnings": [finding_to_json(finding, folder) for finding in warnings],
            }
        )
        return ExitCode.OK
    terminal.print_findings(warnings, folder.texts)
    for change in changes:
        terminal.line(items.change_line(*change))
    terminal.line(summary(publication, whose))
    return ExitCode.OK


def size_text(change_set: ChangeSet) -> str:
    """Say how much a change set brings."""
    policies = len(change_set.policies) + len(change_set.template_links)
    entities = terminal.counted(len(change_set.entities), "entity", "entities")
    return f"{terminal.counted(policies, 'policy', 'policies')} and {entities}"


def publish(
    client: Client, change_set: ChangeSet, folder: Folder, message: str, expected: int | None
) -> Publication:
    """Publish what a folder has; what does not compile is told with its places in there."""
    with naming_places(client, change_set, folder):
        return client.publish(change_set, message=message, expected_revision=expected)


@contextmanager
def naming_places(client: Client, change_set: ChangeSet, folder: Folder) -> Iterator[None]:
    """Let a change set's problems that leave the block name the places in its files."""
    try:
        yield
    except InvalidRequest as error:
        # Publish names fields, validate names places.
        problems = client.validate(change_set).problems
        findings = findings_of(problems, folder.documents)
        if not findings:
            raise
        raise FilesRefused(findings) from error


def _changes(client: Client, publication: Publication) -> list[tuple[str, ItemKey, str]]:
    """Return what the publish changed, as far as the server can still tell."""
    if not publication.upserts and not publication.deletes:
        return []
    try:
        diff = client.diff(publication.revision - 1, publication.revision)
    except OutOfRange:
        return []
    found = []
    for change in diff.items:
        item = change.after or change.before
        assert item is not None
        remark = ""
        if change.before is not None and change.after is not None:
            remark = items.changed_parts(change.before.body, change.after.body)
        found.append((items.change_word(change.before, change.after), item.key, remark))
    return found


def summary(publication: Publication, whose: str) -> str:
    """Say in a line what a publish came to."""
    name = f"tenant `{whose}`" if whose else "the platform"
    if not publication.upserts and not publication.deletes:
        return f"nothing to publish: {name} has all of it, at revision {publication.revision}"
    counts = f"{publication.upserts} written, {publication.deletes} removed"
    return f"published revision {publication.revision} of {name}: {counts}"


Planned: TypeAlias = "list[tuple[str, ItemKey]]"


def try_at(client: Client, change_set: ChangeSet, whose: str) -> tuple[Validation, Planned]:
    """Return what a server says of a change set, and what it would change."""
    validation = client.validate(change_set)
    if not validation.valid:
        return validation, []
    try:
        current = list(client.list_items(page_size=1000))
    except NotFound:
        # It would come into being.
        current = []
    return validation, planned_changes(change_set, current, owner=whose)


def show_trial(
    validation: Validation, planned: Planned, folder: Folder, *, as_json: bool
) -> ExitCode:
    """Show what a dry run found, and return how the command ends."""
    findings = findings_of(validation.problems, folder.documents)
    code = ExitCode.OK if validation.valid else ExitCode.FAILED
    if as_json:
        terminal.print_json(
            {
                "valid": validation.valid,
                "changes": [change_to_json(change, key) for change, key in planned],
                "problems": [finding_to_json(finding, folder) for finding in findings],
            }
        )
        return code
    terminal.print_findings(findings, folder.texts)
    for change, key in planned:
        terminal.line(items.change_line(change, key))
    if not validation.valid:
        return code
    what = terminal.counted(len(planned), "change", "changes") if planned else "no changes"
    terminal.line(f"dry run: {what}; nothing was published")
    return code


def change_to_json(change: str, key: ItemKey) -> dict[str, str]:
    """Return one change as a document."""
    return {"change": change, "kind": items.kind_word(key.kind), "name": items.name_of(key)}


def finding_to_json(finding: Finding, folder: Folder) -> dict[str, Any]:
    """Return a finding as a document."""
    at = finding.position
    return {
        "severity": "warning" if finding.is_warning else "error",
        "message": finding.message,
        "file": folder.texts.get(at.file, (at.file, ""))[0],
        "line": at.line,
        "column": at.column,
    }


def validate(
    paths: Paths,
    server: Annotated[
        bool,
        typer.Option(
            "--server", help="Ask a server, which also knows what the tenant has already."
        ),
    ] = False,
    tenant: Tenant = "",
    platform: Platform = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Check that policies, entities and schema are right, without publishing them.

    In this process, unless --server is given.
    """
    try:
        folder = read_policies(paths)
        with folder.quoting():
            if server:
                whose = owner(tenant, platform=platform)
                findings = _validate_at(address, whose, folder, timeout_s)
            else:
                with needs_extra("local", "validating without --server"):
                    _, findings = compile_documents(folder.documents)
    except FilesRefused as refused:
        if not as_json:
            raise
        broken = Folder(documents=Documents(), cases=(), texts=refused.texts)
        problems = [finding_to_json(finding, broken) for finding in refused.findings]
        terminal.print_json({"valid": False, "problems": problems})
        return ExitCode.FAILED
    if as_json:
        problems = [finding_to_json(finding, folder) for finding in findings]
        terminal.print_json({"valid": True, "problems": problems})
        return ExitCode.OK
    terminal.print_findings(findings, folder.texts)
    doubts = f", {terminal.counted(len(findings), 'warning', 'warnings')}" if findings else ""
    terminal.line(f"valid: {size_text(folder.documents.change_set())}{doubts}")
    return ExitCode.OK


def _validate_at(address: str, whose: str, folder: Folder, timeout_s: float) -> list[Finding]:
    to_engine(folder.documents, whose)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        validation = client.validate(folder.documents.change_set(replace_all=True))
    findings = findings_of(validation.problems, folder.documents)
    if not validation.valid:
        raise FilesRefused(findings)
    return findings
