"""Compiles documents in this process, and says what is wrong with them in terms of their files.

What the engine finds and what a server finds is told in the same way.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import TYPE_CHECKING

from placet import InvalidRequest, ItemKey, ItemKind, Position, Problem, Severity, Violation
from placet import _convert as convert
from placet._publishing import change_set_to_wire
from placet.cli.contents import Documents
from placet.cli.findings import FilesRefused, Finding, in_order, place
from placet.wire import Malformed, Reader, problem_to_wire, read_change_set
from placet_engine.changes import ChangeSet, ItemSet, resolve
from placet_engine.items import PLATFORM, Revision
from placet_engine.model import NOWHERE
from placet_engine.source import locate

if TYPE_CHECKING:
    from placet_engine.compiling import Compilation
    from placet_engine.program import Program

TENANT = "local"
"""Whose documents they are when nobody says."""


def compile_documents(documents: Documents) -> tuple[Program, list[Finding]]:
    """Compile documents as a server would that holds nothing else; return also what is doubtful.

    Raises:
        FilesRefused: they do not compile.
    """
    # Its dependencies are an extra of this package.
    from placet_engine.compiling import Compiler

    platform, own = item_sets(documents)
    compiler = Compiler()
    compilation = compiler.check(platform, own)
    if platform.items:
        # Those that keep the tenant's part from being used are found both times.
        of_platform = compiler.check(platform, platform).problems
        problems = tuple(dict.fromkeys((*of_platform, *compilation.problems)))
        compilation = replace(compilation, problems=problems)
    return checked(compilation, documents)


def item_sets(documents: Documents) -> tuple[ItemSet, ItemSet]:
    """Return the platform's items and a tenant's, as if documents were all that was published.

    Raises:
        FilesRefused: they break a rule.
    """
    sets: list[ItemSet] = []
    findings: list[Finding] = []
    for owner, part in zip((PLATFORM, TENANT), documents.by_owner(), strict=True):
        try:
            edits, _ = resolve(to_engine(part, owner), ItemSet(owner=owner))
        except FilesRefused as refused:
            findings.extend(refused.findings)
        else:
            sets.append(ItemSet(owner=owner).editing(edits, Revision(1)))
    if findings:
        raise FilesRefused(findings)
    platform, own = sets
    return platform, own


def checked(compilation: Compilation, documents: Documents) -> tuple[Program, list[Finding]]:
    """Return the program that documents came to, and what is doubtful about them.

    Raises:
        FilesRefused: they do not compile.
    """
    found = findings_of(convert.problems(map(problem_to_wire, compilation.problems)), documents)
    if compilation.program is None:
        raise FilesRefused(found)
    return compilation.program, found


def to_engine(documents: Documents, owner: str, *, replace_all: bool = False) -> ChangeSet:
    """Read documents as the server reads them off the wire: limits, ids and layers are checked.

    Raises:
        FilesRefused: they break a rule.
    """
    reader = Reader()
    try:
        change_set = read_change_set(
            change_set_to_wire(documents.change_set(replace_all=replace_all)), reader, owner=owner
        )
        reader.finish()
    except (Malformed, InvalidRequest) as error:
        violations = [Violation(bad.field, bad.message) for bad in error.violations]
        raise FilesRefused(findings_of_violations(violations, documents)) from error
    return change_set


def findings_of(problems: Iterable[Problem], documents: Documents) -> list[Finding]:
    """Return what the engine or a server found, in order of place."""
    findings = []
    for problem in problems:
        position = _position(problem, documents)
        # The place is told by itself.
        message = problem.message.removesuffix(f" at {place(problem.position)}")
        is_warning = problem.severity is Severity.WARNING
        findings.append(Finding(message, position, is_warning, problem.reason))
    return in_order(findings)


def _position(problem: Problem, documents: Documents) -> Position:
    position = problem.position
    if not position.line:
        start = documents.at_field(problem.field) or documents.at_subject(problem.subject)
        in_schema = start == documents.places.get(ItemKey(ItemKind.SCHEMA))
        return _in_schema(problem, documents, start) if in_schema else start
    policy = documents.places.get(ItemKey(ItemKind.POLICY, problem.subject))
    indent = documents.indents.get(problem.subject, 0)
    starts = next((p.position for p in documents.policies if p.id == problem.subject), policy)
    if indent and position.column and starts is not None and position.line > starts.line:
        # The text the engine has is not indented, the one in the file is.
        return replace(position, column=position.column + indent)
    return position


def _in_schema(problem: Problem, documents: Documents, start: Position) -> Position:
    """Find the word that a message about the schema quotes."""
    assert documents.schema is not None
    found = locate(problem.message, documents.schema.text, NOWHERE)
    if not found.line:
        return start
    # In a document, the schema is as far in as its first line.
    return replace(start, line=start.line + found.line - 1, column=start.column + found.column - 1)


def findings_of_violations(violations: Iterable[Violation], documents: Documents) -> list[Finding]:
    """Return what is wrong with the fields of a change set."""
    findings = []
    for bad in violations:
        position = documents.at_field(bad.field)
        # `change_set.policies[3].id` is `id` to who sees the policy.
        name = bad.field.rpartition("].")[2].removeprefix("change_set.")
        message = f"`{name}` {bad.message}" if bad.field else bad.message
        findings.append(Finding(message, position or Position()))
    return in_order(findings)
