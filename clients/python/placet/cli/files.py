"""Finds the files of a policy folder and says what each of them is for.

A folder is read whole, in order of name. What is hidden is left alone, and so is what has none of
the suffixes below. Where a folder has a folder `policies`, that one holds the policies; test cases
are in folders `tests`, and in files such as `orders_test.yaml` and `orders.test.yaml`.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path, PurePath

from placet import Position
from placet.cli.findings import Findings, did_you_mean


class FileKind(Enum):
    """What a file is for."""

    CEDAR = "policies"
    SCHEMA = "a schema"
    ENTITIES = "entities"
    DOCUMENT = "a document"
    CASES = "test cases"


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceFile:
    """One file and what is in it."""

    kind: FileKind
    name: str
    """As the server is told: the same wherever the folder is checked out."""
    shown: str
    """As people here can open it."""
    stem: str
    """Its path within the folder, without suffix."""
    text: str

    @property
    def is_json(self) -> bool:
        """Whether it is read as JSON, not as YAML."""
        return self.name.lower().endswith(".json")


class PathRefused(Exception):
    """A path that nothing can be read from; the message says what to do."""


def read_files(
    paths: Sequence[Path], findings: Findings, *, base: Path | None = None
) -> list[SourceFile]:
    """Read policy folders and files.

    Args:
        paths: folders and files.
        findings: gets what cannot be read.
        base: what files are named from; without, from the folder they are found in.

    Raises:
        PathRefused: a path is not there, or is a file of no kind we know.
    """
    found: dict[str, SourceFile] = {}
    for path in paths:
        for file in _files_at(path, base):
            text = _text(file, findings)
            if text is None:
                continue
            # Two folders may have files of one name.
            name = file.name if file.name not in found else file.shown
            found[name] = SourceFile(
                kind=file.kind, name=name, shown=file.shown, stem=file.stem, text=text
            )
    return list(found.values())


def list_files(folder: Path) -> list[Path]:
    """Return the files that :func:`read_files` would read of a folder, without looking into them.

    Raises:
        PathRefused: the folder is not there.
    """
    if not folder.is_dir():
        raise PathRefused(f"`{folder}` is not there; {_instead_of(folder)}")
    return [path for root in _roots(folder) for path, _ in _paths_in(root)]


@dataclass(frozen=True, slots=True, kw_only=True)
class _File:
    path: Path
    kind: FileKind
    name: str
    shown: str
    stem: str


def _files_at(path: Path, base: Path | None) -> Iterator[_File]:
    if not path.exists():
        raise PathRefused(f"`{path}` is not there; {_instead_of(path)}")
    if path.is_dir():
        for root in _roots(path):
            yield from _files_in(root, base)
        return
    kind = kind_of(PurePath(path.name))
    if kind is None:
        raise PathRefused(
            f"`{path}` is no policy file; they end in .cedar, .cedarschema, .yaml, .yml or .json"
        )
    yield _file(path, path.parent, kind, _folder_name(path.parent, base))


def _instead_of(path: Path) -> str:
    try:
        beside = [other.name for other in path.parent.iterdir()]
    except OSError:
        beside = []
    hint = did_you_mean(path.name, beside) if beside else ""
    return hint if hint.startswith("did you mean") else "name a folder of policies, or a file"


def _roots(folder: Path) -> list[Path]:
    """Return where a folder's policies and tests are."""
    if (folder / "policies").is_dir():
        return [root for root in (folder / "policies", folder / "tests") if root.is_dir()]
    return [folder]


def _files_in(root: Path, base: Path | None) -> Iterator[_File]:
    folder_name = _folder_name(root, base)
    for path, kind in _paths_in(root):
        yield _file(path, root, kind, folder_name)


def _paths_in(root: Path) -> Iterator[tuple[Path, FileKind]]:
    own_name = root.resolve().name
    paths: list[Path] = []
    for folder, folders, names in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths.extend(Path(folder, name) for name in names if not name.startswith("."))
    for path in sorted(paths, key=lambda path: path.relative_to(root).as_posix()):
        kind = kind_of(PurePath(own_name, path.relative_to(root)))
        if kind is not None and path.is_file():
            yield path, kind


def _file(path: Path, root: Path, kind: FileKind, folder_name: PurePath) -> _File:
    within = path.relative_to(root)
    return _File(
        path=path,
        kind=kind,
        name=(folder_name / within).as_posix(),
        shown=_shown(path),
        stem=within.as_posix().removesuffix(suffix_of(within.name)),
    )


def _folder_name(root: Path, base: Path | None) -> PurePath:
    """Name a folder, not by where this machine keeps it, only by what it is called."""
    if base is not None and root.resolve().is_relative_to(base.resolve()):
        return root.resolve().relative_to(base.resolve())
    return root if _is_plain(root) else PurePath(root.resolve().name)


def _is_plain(root: Path) -> bool:
    return not root.is_absolute() and ".." not in root.parts


def _shown(path: Path) -> str:
    try:
        return path.resolve().relative_to(Path.cwd()).as_posix()
    except ValueError:
        return str(path)


# Longer ones first: `.cedarschema.json` is a `.json`, too.
_SUFFIXES = {
    ".cedarschema.json": FileKind.SCHEMA,
    ".cedarschema": FileKind.SCHEMA,
    ".cedar": FileKind.CEDAR,
    ".yaml": FileKind.DOCUMENT,
    ".yml": FileKind.DOCUMENT,
    ".json": FileKind.DOCUMENT,
}


def suffix_of(name: str) -> str:
    """Return the part of a file's name that says what it is; empty for what is not ours."""
    return next((suffix for suffix in _SUFFIXES if name.lower().endswith(suffix)), "")


def kind_of(path: PurePath) -> FileKind | None:
    """Return what a file is for, by its name and by the folders it is in. None: not for us."""
    suffix = suffix_of(path.name)
    if not suffix:
        return None
    kind, stem = _SUFFIXES[suffix], path.name.lower().removesuffix(suffix)
    if kind is not FileKind.DOCUMENT:
        return kind
    if "tests" in path.parts[:-1] or stem.endswith(("_test", ".test")):
        return FileKind.CASES
    if suffix == ".json" and (stem == "entities" or stem.endswith(".entities")):
        return FileKind.ENTITIES
    return kind


def _text(file: _File, findings: Findings) -> str | None:
    """Read a file as text, whatever ends its lines."""
    try:
        return file.path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        findings.refuse(
            f"byte {error.start} is not UTF-8; save the file as UTF-8", Position(file=file.name)
        )
    except OSError as error:
        findings.refuse(f"cannot be read: {error.strerror}", Position(file=file.name))
    return None
