"""A file where lines wait for a sink that is slow or away, in order and up to a size."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from placet_server.telemetry.decision_log.sinks import SinkFailed, end_of_last_line

_READ_BYTES = 256 * 1024


class Spool:
    """Lines on disk, first in, first out. Not for several threads at once: its owner locks.

    Where reading has got to is kept in memory. After a crash the lines are delivered from the first
    on: some come twice, with the sequence number they had, and none is lost.
    """

    def __init__(self, path: Path, *, max_bytes: int) -> None:
        """Open the file with what an earlier run left in it.

        Raises:
            SinkFailed: it cannot be opened.
        """
        self._max_bytes = max_bytes
        try:
            self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o640)
            self._end = end_of_last_line(self._file)
        except OSError as error:
            raise SinkFailed(
                f"cannot spill decisions to `{path}`: {error.strerror}; check "
                "telemetry.decision_log_spool_path"
            ) from error
        self._start = 0

    @property
    def waiting_bytes(self) -> int:
        """Bytes of lines that wait."""
        return self._end - self._start

    def append(self, lines: Sequence[bytes]) -> int:
        """Take as many of the lines as there is room for; return how many."""
        taken = 0
        for line in lines:
            if self._end + len(line) > self._max_bytes:
                break
            try:
                written = os.pwrite(self._file, line, self._end)
            except OSError:
                break
            if written < len(line):
                break
            self._end += written
            taken += 1
        return taken

    def first(self) -> list[bytes]:
        """Return lines from the front, without taking them away."""
        size = _READ_BYTES
        while True:
            data = os.pread(self._file, min(size, self.waiting_bytes), self._start)
            complete = data[: data.rfind(b"\n") + 1]
            if complete or not data or len(data) < size:
                return complete.splitlines(keepends=True)
            size *= 2

    def take_away(self, lines: Sequence[bytes]) -> None:
        """Forget what :meth:`first` returned. When nothing is left, the file is empty again."""
        self._start += sum(map(len, lines))
        if self._start >= self._end:
            self._start = self._end = 0
            os.ftruncate(self._file, 0)

    def close(self) -> None:
        """Keep what waits, for the next run."""
        left = os.pread(self._file, self.waiting_bytes, self._start) if self._start else b""
        if left:
            # What was delivered must not be again.
            os.pwrite(self._file, left, 0)
            self._start, self._end = 0, len(left)
        os.ftruncate(self._file, self._end)
        os.fsync(self._file)
        os.close(self._file)
