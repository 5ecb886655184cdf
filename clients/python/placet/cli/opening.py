"""Finds out what kind of source a text names, and opens it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from placet.cli.failures import ExitCode, Failure
from placet.cli.folder_source import FolderSource
from placet.cli.repository_source import opened_repository
from placet.cli.sources import Source


@contextmanager
def opened(
    text: str, *, ref: str = "", within: str = "", verify: bool = False, timeout_s: float
) -> Iterator[Source]:
    """Give the source that a text names.

    Args:
        text: a folder, or the address or path of a repository.
        ref: branch, tag or commit; empty for the default branch of a repository. Without, and
            without ``verify``, a folder is read as it is, whether it is in git or not.
        within: folder within it that holds the policies; empty for all of it.
        verify: whether only commits with good signatures are read.
        timeout_s: how long one git command may take.

    Raises:
        Failure: it names none.
        GitMissing: it is a repository, and there is no git.
    """
    inner = _inner_folder(within)
    _check_ref(ref)
    if not text or text.startswith("-"):
        raise Failure(f"`{text}` is no folder and no repository", ExitCode.USAGE)
    folder = Path(text)
    if not _is_address(text) and not folder.is_dir():
        what = "no folder" if folder.exists() else "not there"
        raise Failure(
            f"`{text}` is {what}; name a folder, or the address of a git repository", ExitCode.USAGE
        )
    if _is_address(text) or ref or verify or _is_bare(folder):
        address = text if _is_address(text) else str(folder.resolve())
        with opened_repository(
            address, ref=ref, within=inner, timeout_s=timeout_s, verify=verify
        ) as repository:
            yield repository
        return
    yield FolderSource(folder / inner, git_timeout_s=timeout_s)


# `host:path` is an address as git takes it, `./host:path` a folder. No address has less before
# its colon than two letters: that would be a drive.
_URL = re.compile(r"(?:file|git|https?|ssh)://.+", re.IGNORECASE)
_SCP_LIKE = re.compile(r"(?:[\w.+-]+@)?[\w.-]{2,}:(?!//)[^:]+")


def _is_address(text: str) -> bool:
    if _URL.fullmatch(text):
        return True
    return bool(_SCP_LIKE.fullmatch(text)) and not Path(text).exists()


def _is_bare(folder: Path) -> bool:
    """Whether a folder is a repository without files beside it."""
    return (folder / "HEAD").is_file() and (folder / "objects").is_dir()


def _inner_folder(within: str) -> PurePosixPath:
    inner = PurePosixPath(within)
    if inner.is_absolute() or ".." in inner.parts:
        raise Failure(f"`--path` is `{within}`; name a folder within the source", ExitCode.USAGE)
    return inner


_REF = re.compile(r"(?!-)(?!.*\.\.)[^\s~^:?*\[\\+\x00-\x1f\x7f]+")


def _check_ref(ref: str) -> None:
    if ref and not _REF.fullmatch(ref):
        raise Failure(f"`--ref` is `{ref}`; name a branch, a tag or a commit", ExitCode.USAGE)
