"""A policy folder, read whole: documents, test cases, and the texts that messages quote."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from placet.cli.cases import CaseFile, read_cases
from placet.cli.contents import Documents
from placet.cli.documents import read_documents
from placet.cli.failures import ExitCode, Failure
from placet.cli.files import read_files
from placet.cli.findings import FilesRefused, Findings


@dataclass(frozen=True, slots=True, kw_only=True)
class Folder:
    """What some paths hold."""

    documents: Documents
    cases: tuple[CaseFile, ...]
    texts: Mapping[str, tuple[str, str]]
    """For each file as a finding names it: its path as people open it, and its text."""

    def shown(self, file: str) -> str:
        """Return a file as people here can open it."""
        return self.texts.get(file, (file, ""))[0]

    @contextmanager
    def quoting(self) -> Iterator[None]:
        """Let findings that leave the block quote the files."""
        try:
            yield
        except FilesRefused as refused:
            raise FilesRefused(refused.findings, self.texts) from refused


def read_folder(
    paths: Sequence[Path], *, with_cases: bool = False, base: Path | None = None
) -> Folder:
    """Read policy folders and files, named from ``base`` if that is given.

    Raises:
        PathRefused: a path is not there.
        FilesRefused: something is wrong with the files.
    """
    findings = Findings()
    files = read_files(paths, findings, base=base)
    texts = {file.name: (file.shown, file.text) for file in files}
    documents = read_documents(files, findings)
    cases = read_cases(files, findings) if with_cases else []
    findings.finish(texts)
    return Folder(documents=documents, cases=tuple(cases), texts=texts)


def read_policies(paths: Sequence[Path]) -> Folder:
    """Read a folder that has to have something to publish."""
    folder = read_folder(paths)
    if folder.documents.is_empty:
        named = ", ".join(f"`{path}`" for path in paths)
        raise Failure(
            f"there are no policies in {named}; they are in files that end in .cedar, or in .yaml "
            "and .json with `policies`. `placet init` makes a folder to start with",
            ExitCode.USAGE,
        )
    return folder
