"""``placet policy push`` and ``placet policy validate``."""

from __future__ import annotations

from typing import Annotated, TypeAlias

import typer

from placet import ChangeSet, Client, ItemKey, NotFound, Validation
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
    Json,
    Paths,
    Platform,
    Tenant,
    Timeout,
    connected,
    owner,
)
from placet.cli.plan import planned_changes
from placet.cli.publishing import (
    change_to_json,
    finding_to_json,
    publish_folder,
    published_changes,
    summary,
)


def push(
    paths: Paths,
    tenant: Tenant = "",
    platform: Platform = False,
    replace: Annotated[
        bool | None,
        typer.Option(
            "--replace/--no-replace",
            help="Remove what is not in the folder. Done when folders are given, not for files.",
            show_default=False,
        ),
    ] = None,
    message: Annotated[
        str, typer.Option("--message", "-m", help="Why, for the history.", metavar="TEXT")
    ] = "",
    expected_revision: Annotated[
        int | None,
        typer.Option(
            min=0, help="Only on top of this revision; 0: only if the tenant is new.", metavar="N"
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and show what would change; change nothing.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Publish a folder of policies, entities, schema and settings as one revision.

    All of it or nothing: what does not compile is not stored. The tenant comes into being with its
    first push.
    """
    whose = owner(tenant, platform=platform)
    with terminal.working("reading"):
        folder = read_policies(paths)
    replace_all = replace if replace is not None else all(path.is_dir() for path in paths)
    change_set = folder.documents.change_set(replace_all=replace_all)
    with folder.quoting(), connected(address, tenant=whose, timeout_s=timeout_s) as client:
        to_engine(folder.documents, whose)
        if dry_run:
            with terminal.working(f"checking {_size(change_set)}"):
                validation, planned = _try(client, change_set, whose)
            return _show_trial(validation, planned, folder, as_json=as_json)
        with terminal.working(f"publishing {_size(change_set)}"):
            publication = publish_folder(
                client, change_set, folder, message=message, expected=expected_revision
            )
            changes = published_changes(client, publication)
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


def _size(change_set: ChangeSet) -> str:
    policies = len(change_set.policies) + len(change_set.template_links)
    entities = terminal.counted(len(change_set.entities), "entity", "entities")
    return f"{terminal.counted(policies, 'policy', 'policies')} and {entities}"


_Planned: TypeAlias = "list[tuple[str, ItemKey]]"


def _try(client: Client, change_set: ChangeSet, whose: str) -> tuple[Validation, _Planned]:
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


def _show_trial(
    validation: Validation, planned: _Planned, folder: Folder, *, as_json: bool
) -> ExitCode:
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
    terminal.line(f"valid: {_size(folder.documents.change_set())}{doubts}")
    return ExitCode.OK


def _validate_at(address: str, whose: str, folder: Folder, timeout_s: float) -> list[Finding]:
    to_engine(folder.documents, whose)
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        validation = client.validate(folder.documents.change_set(replace_all=True))
    findings = findings_of(validation.problems, folder.documents)
    if not validation.valid:
        raise FilesRefused(findings)
    return findings
