"""``placet policy push`` and ``placet policy validate``."""

from __future__ import annotations

from typing import Annotated

import typer

from placet.cli import terminal
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
from placet.cli.publish_reports import (
    finding_to_json,
    show_publication,
    show_trial,
    size_text,
)
from placet.cli.publishing import has_other_entities, publish_folder, published_changes, try_folder


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

    What is no longer in a folder is removed. Entities and the schema are left to others where the
    folder says nothing of them; an empty list, `entities: []`, says that there are none.
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
                validation, planned = try_folder(client, change_set, whose)
            return show_trial(validation, planned, folder, as_json=as_json)
        with terminal.working(f"publishing {size_text(change_set)}"):
            publication = publish_folder(
                client, change_set, folder, message=message, expected=expected_revision
            )
            changes = published_changes(client, publication)
        keeps_entities = replace_all and has_other_entities(client, folder)
    show_publication(publication, changes, folder, whose, as_json=as_json)
    if keeps_entities and not as_json:
        terminal.note(
            "the folder says nothing of entities: those that are there stay; "
            "`entities: []` in a document removes them"
        )
    return ExitCode.OK


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
