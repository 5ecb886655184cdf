"""A lock that one process has: on a file beside the store's, which the system ends with it."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import os
import random
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from placet_server.store.contract import StoreUnavailable
from placet_server.store.leading import HEARTBEAT_S, SILENT_S
from placet_server.store.sql_store import Held

_RETRY_S = 0.1


@asynccontextmanager
async def holding(path: Path, role: str) -> AsyncIterator[Held]:
    """Have a lock for the length of the block, once nobody else has it.

    The holder touches the file again and again. One that does not, hangs: the others then lock a
    new file in the old one's place.

    Raises:
        StoreUnavailable: there cannot be a file.
    """
    name = hashlib.sha256(role.encode()).hexdigest()[:8]
    lock = path.with_name(f"{path.name}-lead-{name}")
    file = await _lock(lock)
    try:
        yield lambda: _beat(lock, file)
    finally:
        os.close(file)


async def _lock(lock: Path) -> int:
    while True:
        try:
            file = _try(lock)
        except OSError as error:
            raise StoreUnavailable(
                f"`{lock}`: {error.strerror}; see that its directory may be written to"
            ) from error
        if file is not None:
            return file
        await asyncio.sleep(_RETRY_S * random.uniform(0.5, 1.5))  # noqa: S311  # jitter


def _try(lock: Path) -> int | None:
    """Lock the file, unless somebody else has it and is alive."""
    file = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if _is_it(lock, file):
            os.utime(file)
            return file
    except BlockingIOError:
        if time.time() - os.fstat(file).st_mtime > SILENT_S and _is_it(lock, file):
            lock.unlink(missing_ok=True)
    except BaseException:
        os.close(file)
        raise
    os.close(file)
    return None


def _is_it(lock: Path, file: int) -> bool:
    """Whether the file is still the one at the path."""
    with suppress(FileNotFoundError):
        return os.path.samestat(lock.stat(), os.fstat(file))
    return False


async def _beat(lock: Path, file: int) -> None:
    """Say on and on that this process is there; return when the lock is lost."""
    while _is_it(lock, file):
        os.utime(file)
        await asyncio.sleep(HEARTBEAT_S)
