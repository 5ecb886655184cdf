"""Tries a candidate: on what a server has, or on the policies of a folder."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TypeAlias

from placet import PLATFORM, Client
from placet.cli import credentials, terminal
from placet.cli.compiling import findings_of, to_engine
from placet.cli.findings import FilesRefused, Finding
from placet.cli.folders import Folder
from placet.cli.options import connected
from placet.cli.replay.case_impact import CasesImpact, try_cases
from placet.cli.replay.crosscheck import crosscheck
from placet.cli.replay.impact import Impact
from placet.cli.replay.reading import records_with_progress
from placet.cli.replay.recordings import PassedOver, Recordings
from placet.cli.replay.replaying import Replay
from placet.cli.replay.versions import Candidate, Compiling, Sets, Version, Versions
from placet.local._published import published_sets


@dataclass(frozen=True, slots=True, kw_only=True)
class OnServer:
    """Stable is what a tenant has on a server."""

    address: str
    tenant: str
    is_platform: bool
    """Whether the candidate is the platform's."""
    timeout_s: float


@dataclass(frozen=True, slots=True)
class OnFolder:
    """Stable is what a folder holds."""

    folder: Folder


Stable: TypeAlias = OnServer | OnFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class Trial:
    """What to try, and on what."""

    candidate: Folder
    replaces_all: bool
    stable: Stable
    recordings: Recordings | None
    cases: Folder | None
    examples: int


@dataclass(slots=True, kw_only=True)
class Tried:
    """What came out."""

    versions: Versions
    warnings: tuple[Finding, ...]
    revision: int | None
    """The one the candidate was tried on, of a server."""
    impact: Impact
    passed_over: PassedOver
    cases: CasesImpact = field(default_factory=CasesImpact)
    confirmed: int = 0
    """Requests that a server answers the same way."""


def try_candidate(trial: Trial) -> Tried:
    """Decide everything by both versions.

    Raises:
        FilesRefused: files do not compile.
        Failure: a log cannot be read, or the server answers otherwise than this release.
        PlacetError: the server does not answer.
    """
    stable = trial.stable
    if isinstance(stable, OnFolder):
        candidate = Candidate(documents=trial.candidate.documents, replaces_all=trial.replaces_all)
        compiling = Compiling()
        with stable.folder.quoting():
            documents = stable.folder.documents
            base = compiling.version(Sets.of(documents), documents)
        return _tried(trial, compiling, base, candidate)
    with connected(stable.address, tenant=stable.tenant, timeout_s=stable.timeout_s) as client:
        return _tried_on_server(trial, stable, client)


def _tried_on_server(trial: Trial, stable: OnServer, client: Client) -> Tried:
    owner = PLATFORM if stable.is_platform else stable.tenant
    documents = trial.candidate.documents
    candidate = Candidate(documents=documents, replaces_all=trial.replaces_all, owner=owner)
    change_set = documents.change_set(replace_all=trial.replaces_all)
    with trial.candidate.quoting():
        to_engine(documents, owner)
        with terminal.working("fetching what is published"):
            # The server knows what else there is: it is asked first.
            validation = client.validate(change_set, tenant=owner)
            if not validation.valid:
                raise FilesRefused(findings_of(validation.problems, documents))
            sets = Sets(
                *published_sets(
                    stable.address,
                    tenant=stable.tenant,
                    timeout_s=stable.timeout_s,
                    credentials=credentials.current(),
                )
            )
    compiling = Compiling()
    base = compiling.version(sets, documents)
    tried = _tried(trial, compiling, base, candidate)
    tried.revision = int(sets.own.revision)
    with terminal.working("asking the server about some of them"):
        tried.confirmed = crosscheck(
            client, None if stable.is_platform else change_set, tried.impact
        )
    return tried


def _tried(trial: Trial, compiling: Compiling, base: Version, candidate: Candidate) -> Tried:
    with trial.candidate.quoting():
        after = compiling.version(base.sets.applying(candidate), candidate.documents, base)
    versions = Versions(base, after)
    tried = Tried(
        versions=versions,
        warnings=tuple(after.warnings),
        revision=None,
        impact=Impact(examples=trial.examples),
        passed_over=PassedOver(),
    )
    if trial.cases is not None:
        with trial.cases.quoting():
            tried.cases = try_cases(trial.cases.cases, compiling, base, after)
    if trial.recordings is not None:
        replay = Replay(versions, tried.impact)
        for record in records_with_progress(trial.recordings):
            replay.take(record)
        tried.passed_over = trial.recordings.passed_over
    return tried
