"""Shows what a publish came to, or would come to: lines for people, or JSON."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from placet import ItemKey, Publication, Validation
from placet.cli import items, terminal
from placet.cli.compiling import findings_of
from placet.cli.failures import ExitCode
from placet.cli.findings import Finding
from placet.cli.folders import Folder
from placet.cli.publishing import Change


def show_publication(
    publication: Publication,
    changes: Sequence[Change],
    folder: Folder,
    whose: str,
    *,
    as_json: bool,
) -> None:
    """Show what was published."""
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
        return
    terminal.print_findings(warnings, folder.texts)
    for change in changes:
        terminal.line(items.change_line(*change))
    terminal.line(summary(publication, whose))


def show_trial(
    validation: Validation,
    planned: Sequence[tuple[str, ItemKey]],
    folder: Folder,
    *,
    as_json: bool,
) -> ExitCode:
    """Show what would be published, and return how a command ends that has tried it."""
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


def summary(publication: Publication, whose: str) -> str:
    """Say what a publish came to."""
    name = owner_name(whose)
    if not publication.upserts and not publication.deletes:
        return f"nothing to publish: {name} has all of it, at revision {publication.revision}"
    counts = f"{publication.upserts} written, {publication.deletes} removed"
    return f"published revision {publication.revision} of {name}: {counts}"


def owner_name(whose: str) -> str:
    """Name a tenant, or the platform."""
    return f"tenant `{whose}`" if whose else "the platform"


def change_to_json(change: str, key: ItemKey) -> dict[str, str]:
    """Return a change as a document."""
    return {"change": change, "kind": items.kind_word(key.kind), "name": items.name_of(key)}


def finding_to_json(finding: Finding, folder: Folder) -> dict[str, Any]:
    """Return a finding as a document."""
    at = finding.position
    return {
        "severity": "warning" if finding.is_warning else "error",
        "reason": finding.reason,
        "message": finding.message,
        "file": folder.texts.get(at.file, (at.file, ""))[0],
        "line": at.line,
        "column": at.column,
    }
