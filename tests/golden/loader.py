"""The golden cases: policies, and what they have to say about requests, in YAML.

A file is one tenant and what is asked about it, in the form `placet policy test` takes:
`placet.cli.cases` says what a file may hold, and reads it. Policies of layers `platform` and
`jurisdiction` are the platform's. `max_staleness_s: 30` and `approvers` are as good as
`max_staleness: 30s` and `approval_groups`.

How a case is decided is not known here, so that the same files can be put to
the engine, over the wire, in a batch, in a stream and to a cache.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

import placet
from placet.cli.cases import Case, CaseFile, Expectation, differences, read_cases
from placet.cli.compiling import to_engine
from placet.cli.files import FileKind, SourceFile
from placet.cli.findings import Findings
from placet.cli.judges import answer_of, request_to_engine
from placet_engine.items import PLATFORM, Content
from placet_engine.model import Request, Undecidable, Verdict

FOLDER = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenCase:
    """One request and what has to come out."""

    name: str
    """Unique over all files: that of the file, a slash, that of the case."""
    file: GoldenFile
    asked: placet.Request
    """The request as a caller writes it."""
    request: Request
    """The request as the engine takes it."""
    expectation: Expectation

    def differences(self, answer: Verdict | Undecidable) -> list[str]:
        """Say in which ways an answer is not as expected; nothing if it is."""
        return [
            f"{found.field}: expected {found.expected}, is {found.actual}"
            for found in differences(self.expectation, answer_of(answer))
        ]


@dataclass(frozen=True, slots=True, eq=False)
class GoldenFile:
    """One tenant's items, the platform's beside them, and cases. Compares by identity."""

    name: str
    tenant: tuple[Content, ...]
    platform: tuple[Content, ...]
    cases: list[GoldenCase]


@functools.cache
def files() -> tuple[GoldenFile, ...]:
    """Read all golden files of this folder."""
    return tuple(
        parse(path.read_text("utf-8"), name=path.stem) for path in sorted(FOLDER.glob("*.yaml"))
    )


def cases() -> list[GoldenCase]:
    """Return the cases of all golden files of this folder."""
    return [case for file in files() for case in file.cases]


def parse(text: str, *, name: str) -> GoldenFile:
    """Read a golden file's text.

    Raises:
        FilesRefused: it is not one.
    """
    return golden(_read(text, f"{name}.yaml"), name=name)


def golden(read: CaseFile, *, name: str) -> GoldenFile:
    """Return cases that were read, with the documents they bring along, as a golden file."""
    platform, own = read.documents.by_owner()
    file = GoldenFile(
        name=name,
        tenant=to_engine(own, name).upserts,
        platform=to_engine(platform, PLATFORM).upserts,
        cases=[],
    )
    file.cases.extend(_golden(case, file) for case in read.cases)
    return file


def _read(text: str, name: str) -> CaseFile:
    findings = Findings()
    # Of this kind whatever it is called: one without cases is a mistake.
    source = SourceFile(kind=FileKind.CASES, name=name, shown=name, stem=name, text=text)
    found = read_cases([source], findings)
    findings.finish()
    (file,) = found
    return file


def _golden(case: Case, file: GoldenFile) -> GoldenCase:
    request = request_to_engine(case.request)
    # A request the engine is never asked about belongs in the tests of the wire.
    assert isinstance(request, Request), (case.name, request)
    return GoldenCase(
        name=f"{file.name}/{case.name}",
        file=file,
        asked=case.request,
        request=request,
        expectation=case.expect,
    )
