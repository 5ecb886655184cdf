"""The example that ships: the files of the starter folder, and the documents in them."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from importlib.resources.abc import Traversable
from pathlib import PurePosixPath

from placet.cli.contents import Documents
from placet.cli.documents import read_documents
from placet.cli.files import SourceFile, kind_of, suffix_of
from placet.cli.findings import Findings


def starter_files() -> Iterator[tuple[str, str]]:
    """Go through the files of the starter folder: paths and texts."""
    return _files(resources.files("placet.cli") / "starter", "")


def _files(folder: Traversable, prefix: str) -> Iterator[tuple[str, str]]:
    for entry in sorted(folder.iterdir(), key=lambda entry: entry.name):
        # Kept under another name, for it would count here as well.
        name = prefix + (f".{entry.name[4:]}" if entry.name.startswith("dot-") else entry.name)
        if entry.is_dir():
            yield from _files(entry, f"{name}/")
        else:
            yield name, entry.read_text("utf-8")


def starter_documents() -> Documents:
    """Return what `placet policy push` would publish of the starter folder."""
    findings = Findings()
    documents = read_documents(_sources(), findings)
    findings.finish()
    return documents


def _sources() -> Iterator[SourceFile]:
    for name, text in starter_files():
        path = PurePosixPath(name)
        kind = kind_of(path)
        if kind is not None and path.parts[0] == "policies":
            stem = path.relative_to("policies").as_posix().removesuffix(suffix_of(path.name))
            yield SourceFile(kind=kind, name=name, shown=name, stem=stem, text=text)
