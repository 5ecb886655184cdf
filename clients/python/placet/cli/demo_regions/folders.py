"""The folder that a demo has its files in, and what is left of demos that could not clean up.

Its name carries the demo's mark and number. While the demo runs it holds a lock on a file in it, so
that another one can tell a folder that is in use from one that is left over: the kernel lets the
lock go with the process, and no number has to be trusted.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

MARK = "placet-demo"
"""Short: nodes have sockets in it, whose paths have 104 characters at most."""
_LOCK = "lock"
_PIDS = "pids"


class Folder:
    """A demo's folder, and the processes that were started for it."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def note(self, pid: int) -> None:
        """Keep the number of a process that was started, for whoever may have to end it.

        Its command line has to name the folder.
        """
        with (self.path / _PIDS).open("a", encoding="ascii") as pids:
            pids.write(f"{pid}\n")


@contextmanager
def folder() -> Iterator[Folder]:
    """Make a folder for the length of the block."""
    path = Path(tempfile.mkdtemp(prefix=f"{MARK}-{os.getpid()}-"))
    try:
        with (path / f"{_LOCK}.new").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            # It is never there without being held.
            (path / f"{_LOCK}.new").rename(path / _LOCK)
            yield Folder(path)
    finally:
        shutil.rmtree(path, ignore_errors=True)


def clean_leftovers() -> int:
    """End and remove what demos of this user left that are gone; return how many had left any."""
    found = 0
    for path in Path(tempfile.gettempdir()).glob(f"{MARK}-*"):
        if _is_own(path) and _is_left(path):
            _end_processes(path)
            shutil.rmtree(path, ignore_errors=True)
            found += 1
    return found


def _is_own(path: Path) -> bool:
    """Whether it is a folder of this user's, and no link to one."""
    with suppress(OSError):
        status = path.lstat()
        return stat.S_ISDIR(status.st_mode) and status.st_uid == os.getuid()
    return False


def _is_left(path: Path) -> bool:
    """Whether nobody holds its lock."""
    try:
        with (path / _LOCK).open("r+") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        # In use; or without a lock, because it is being made or removed right now.
        return False
    return True


def _end_processes(path: Path) -> None:
    with suppress(OSError, ValueError):
        for pid in map(int, (path / _PIDS).read_text("ascii").split()):
            # Numbers are used again; what names this folder was started for it.
            if path.name in _command(pid):
                with suppress(ProcessLookupError, PermissionError):
                    os.kill(pid, signal.SIGKILL)


def _command(pid: int) -> str:
    """Return how a process was started; empty if there is none."""
    with suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_text("utf-8", errors="replace")
    with suppress(OSError, subprocess.SubprocessError):
        command = ("ps", "-ww", "-o", "command=", "-p", str(pid))
        return subprocess.run(command, capture_output=True, text=True, timeout=5.0).stdout  # noqa: S603
    return ""
