"""Where records go: standard output, or a file that is rotated. Both may block."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol


class SinkFailed(Exception):
    """The sink did not take the lines; they can be offered again."""


class Sink(Protocol):
    """Takes lines in order. Called by one thread at a time, with the same lines until they are
    taken.
    """

    def write(self, lines: Sequence[bytes]) -> None:
        """Take all of the lines, or none and raise :class:`SinkFailed`."""
        ...

    def close(self) -> None:
        """Make what was taken as durable as the sink can, or raise :class:`SinkFailed`."""
        ...


class StdoutSink:
    """Writes lines to standard output, past Python's buffer: what failed must not stay in there."""

    def __init__(self, file: int = 1) -> None:
        self._file = file
        self._done = 0

    def write(self, lines: Sequence[bytes]) -> None:
        """Write. What was written before a failure is not written again with the next try."""
        data = memoryview(b"".join(lines))
        try:
            while self._done < len(data):
                self._done += os.write(self._file, data[self._done :])
        except OSError as error:
            raise SinkFailed(f"standard output takes nothing: {error.strerror}") from error
        self._done = 0

    def close(self) -> None:
        """Leave standard output to the process."""


class FileSink:
    """Appends to a file, and starts a new one when it is full.

    ``path`` is the newest; ``path.1`` was before it, and so on up to ``path.<keep>``. A file is
    flushed to the disk before it is renamed, and renaming is atomic, so that a reader sees each
    line in exactly one file. What a crash of the machine can lose is what the system had not
    written back yet.
    """

    def __init__(self, path: Path, *, max_bytes: int, keep: int) -> None:
        """Open the file, and cut off a line that a crash left without its end.

        Raises:
            SinkFailed: it cannot be opened.
        """
        self._path = path
        self._max_bytes = max_bytes
        self._keep = keep
        try:
            self._open()
        except OSError as error:
            raise SinkFailed(
                f"cannot write the decision log `{path}`: {error.strerror}; check "
                "telemetry.decision_log_path"
            ) from error

    def _open(self) -> None:
        self._file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o640)
        self._size = end_of_last_line(self._file)
        os.ftruncate(self._file, self._size)

    def write(self, lines: Sequence[bytes]) -> None:
        """Append; all of it or, by cutting back, nothing."""
        data = b"".join(lines)
        try:
            if self._size and self._size + len(data) > self._max_bytes:
                self._rotate()
            self._append(data)
        except OSError as error:
            raise SinkFailed(f"cannot write `{self._path}`: {error.strerror}") from error

    def close(self) -> None:
        """Flush to the disk and close."""
        try:
            os.fsync(self._file)
        except OSError as error:
            raise SinkFailed(f"cannot flush `{self._path}`: {error.strerror}") from error
        finally:
            os.close(self._file)

    def _append(self, data: bytes) -> None:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._file, rest) :]
        except OSError:
            os.ftruncate(self._file, self._size)
            raise
        self._size += len(data)

    def _rotate(self) -> None:
        os.fsync(self._file)
        for number in range(self._keep, 0, -1):
            older = self._path.with_name(f"{self._path.name}.{number}")
            newer = (
                self._path.with_name(f"{self._path.name}.{number - 1}")
                if number > 1
                else self._path
            )
            if newer.exists():
                newer.replace(older)
        if not self._keep:
            self._path.unlink()
        former = self._file
        self._open()
        os.close(former)
        sync_folder(self._path)


def end_of_last_line(file: int) -> int:
    """Return the place behind the last line of an open file that has its end."""
    end = os.fstat(file).st_size
    block = 64 * 1024
    while end:
        start = max(end - block, 0)
        at = os.pread(file, end - start, start).rfind(b"\n")
        if at >= 0:
            return start + at + 1
        end = start
    return 0


def sync_folder(path: Path) -> None:
    """Make renames beside ``path`` durable."""
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
