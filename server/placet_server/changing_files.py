"""Files that others replace while the server runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Generic, TypeVar

log = logging.getLogger(__name__)

_T = TypeVar("_T")
_State = tuple[object, ...]


class ChangingFiles(Generic[_T]):
    """Files that together say one thing.

    Args:
        paths: the files.
        read: reads them; raises ValueError for what is no good.
        what: what they are, for the log.
    """

    def __init__(self, paths: Sequence[Path], read: Callable[[], _T], *, what: str) -> None:
        self._paths = paths
        self._read = read
        self._what = what
        self._used: _State | None = None

    def read(self) -> _T:
        """Return what they say now.

        Raises:
            ValueError: it is no good.
        """
        # Looked at first: what changes meanwhile is read again.
        self._used = self._state()
        return self._read()

    async def follow(self, use: Callable[[_T], object], every_s: float) -> None:
        """Hand on whatever they say anew, until cancelled.

        What is no good changes nothing. It is told of when it is the same at two looks in a row:
        several files are hardly ever replaced at the same moment.
        """
        failed = told = None
        while True:
            await asyncio.sleep(every_s)
            now = self._state()
            if now in (self._used, told):
                continue
            try:
                found = self._read()
            except ValueError as error:
                if now == failed:
                    log.error(
                        "%s stays as it was: what is there now is no good",
                        self._what,
                        extra={"reason": str(error)},
                    )
                    told = now
                failed = now
            else:
                use(found)
                self._used, failed, told = now, None, None
                log.info("%s was read anew", self._what)

    def _state(self) -> _State:
        return tuple(map(_state, self._paths))


def _state(path: Path) -> object:
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
