"""A branch of a git repository as a source: fetched, never written to.

What is fetched goes into a repository of our own in a temporary folder, and is gone at the end.
The first fetch takes the newest commit alone, later ones what came since: enough to tell whether
the branch went on or was rewritten.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path, PurePosixPath

from placet.cli.failures import Failure
from placet.cli.files import PathRefused
from placet.cli.findings import FilesRefused
from placet.cli.folders import Folder
from placet.cli.git import (
    Commit,
    GitFailed,
    git,
    read_commit,
    without_credentials,
    without_questions,
)
from placet.cli.sources import SourceAway, State, read_whole

_OURS = "refs/placet/head"


@contextmanager
def opened_repository(
    address: str, *, ref: str, within: PurePosixPath, timeout_s: float, verify: bool
) -> Iterator[RepositorySource]:
    """Follow a repository for the length of the block.

    Args:
        address: as git takes it.
        ref: branch, tag or commit; empty for the remote's default branch.
        within: folder within it that holds the policies.
        timeout_s: how long one git command may take.
        verify: whether commits have to be signed by a key that git trusts.

    Raises:
        GitMissing: there is no git.
        Failure: there is no room for it.
    """
    try:
        room = tempfile.TemporaryDirectory(prefix="placet-sync-", ignore_cleanup_errors=True)
    except OSError as error:
        raise Failure(f"no temporary folder can be made: {error.strerror}") from error
    with room as name:
        source = RepositorySource(
            address, Path(name), ref=ref, within=within, timeout_s=timeout_s, verify=verify
        )
        try:
            source.prepare()
        except GitFailed as error:
            raise Failure(f"git cannot be used: {error}") from error
        yield source


class RepositorySource:
    """One branch, as it is at the remote."""

    interval_s = 10.0

    def __init__(
        self,
        address: str,
        room: Path,
        *,
        ref: str,
        within: PurePosixPath,
        timeout_s: float,
        verify: bool,
    ) -> None:
        self._address = address
        self._repository = room / "repository"
        self._tree = room / "tree"
        self._ref = ref
        self._within = within
        self._timeout_s = timeout_s
        self._verify = verify
        self._variables: dict[str, str] = {}
        self.state = State(mark="")

    @property
    def shown(self) -> str:
        """Branch and address."""
        of = f"{self._ref} of " if self._ref else ""
        return f"{of}{without_credentials(self._address)}"

    def prepare(self) -> None:
        """Make the repository that is fetched into."""
        git("init", "--quiet", "--bare", "--template=", str(self._repository), timeout_s=30.0)
        self._variables = without_questions(timeout_s=30.0)

    def look(self) -> State:
        """Fetch the branch, and return what it is at."""
        before = self.state.commit
        try:
            self._fetch(is_first=before is None)
            commit = self._read_commit(_OURS)
            remark = ""
            if before is not None and before.hash != commit.hash and not self._follows(before):
                remark = (
                    f"history was rewritten: {commit.short} does not follow {before.short}, "
                    "and is taken in its place"
                )
        except GitFailed as error:
            raise SourceAway(f"cannot fetch {self.shown}: {error}") from error
        self.state = State(mark=commit.hash, commit=commit, remark=remark)
        return self.state

    def _fetch(self, *, is_first: bool) -> None:
        refspec = f"+{self._ref or 'HEAD'}:{_OURS}"
        command = ("fetch", "--quiet", "--no-tags", "--no-recurse-submodules")
        target = ("--end-of-options", self._address, refspec)
        if not is_first:
            self._git(*command, *target)
            return
        try:
            self._git(*command, "--depth=1", *target)
        except GitFailed as error:
            if "shallow" not in str(error):
                raise
            # A web server that has only files cannot give a part.
            self._git(*command, *target)

    def _read_commit(self, name: str) -> Commit:
        where = ("--git-dir", str(self._repository))
        return read_commit(where, f"{name}^{{commit}}", timeout_s=self._timeout_s)

    def _follows(self, before: Commit) -> bool:
        """Whether what was fetched has an earlier commit in its history."""
        return not self._git("rev-list", "--max-count=1", before.hash, f"^{_OURS}")

    def read(self) -> Folder:
        """Check the commit out, and read it."""
        commit = self.state.commit
        assert commit is not None
        if self._verify:
            self._check_signature(commit)
        self._check_out(commit)
        try:
            folder = read_whole(
                self._tree / self._within,
                shown=f"`{self._within}` of {commit.short}",
                base=self._tree,
            )
        except PathRefused as error:
            raise Failure(f"there is no folder `{self._within}` in {commit.short}") from error
        except FilesRefused as refused:
            raise FilesRefused(refused.findings, _as_in_repository(refused.texts)) from refused
        return replace(folder, texts=_as_in_repository(folder.texts))

    def _check_signature(self, commit: Commit) -> None:
        """Refuse a commit unless git finds it signed by a key that is trusted here."""
        try:
            git("config", "--get", "gpg.minTrustLevel", timeout_s=self._timeout_s)
            least: tuple[str, ...] = ()
        except GitFailed:
            # By itself git takes any key of the key ring for good.
            least = ("-c", "gpg.minTrustLevel=marginal")
        try:
            self._git(*least, "verify-commit", commit.hash)
        except GitFailed as error:
            raise Failure(
                f"{commit.short} by {commit.author} has no good signature of a key that git "
                f"trusts here: {error}"
            ) from error

    def _check_out(self, commit: Commit) -> None:
        try:
            shutil.rmtree(self._tree, ignore_errors=True)
            self._tree.mkdir()
            self._git(
                # A link could lead out of the repository, to what is not for publishing.
                *("-c", "core.symlinks=false"),
                *("--literal-pathspecs", "--work-tree", str(self._tree)),
                *("checkout", "--quiet", "--force", commit.hash, "--", str(self._within)),
            )
        except GitFailed as error:
            if "did not match any file" in str(error):
                # What is read then is not there, and said to be missing.
                return
            raise SourceAway(f"cannot check out {commit.short}: {error}") from error
        except OSError as error:
            raise SourceAway(f"cannot check out {commit.short}: {error.strerror}") from error

    def _git(self, *arguments: str) -> str:
        return git(
            *("--git-dir", str(self._repository)),
            *arguments,
            timeout_s=self._timeout_s,
            variables=self._variables,
        )


def _as_in_repository(texts: Mapping[str, tuple[str, str]]) -> dict[str, tuple[str, str]]:
    """Call files what they are called there: where they were checked out to is soon gone."""
    return {name: (name, text) for name, (_, text) in texts.items()}
