"""Keeps the state file: read at the start, written while the node follows and when it stops.

What is written is taken on the event loop, at one moment, and written in a thread. The loop goes
on; with it the decisions, which share the interpreter with that thread.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import math
import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import TypeVar

from placet_server.clock import Clock
from placet_server.config import ConfigError
from placet_server.upstream import state
from placet_server.upstream.copy import UpstreamCopy
from placet_server.upstream.state import Kept, State, StateDamaged

log = logging.getLogger(__name__)

_T = TypeVar("_T")

_LOOK_EVERY_S = 0.5
_HASTE_S = 1.0
"""How soon what this node may no longer hold is gone from the file."""
_WRITING_SHARE = 20
"""Of how much time writing may take one part: large states are written less often."""
_SLACK_S = 1.0
"""A clock that went back by less was corrected, and not set."""


class StateKeeper:
    """One state file.

    Args:
        path: where it is. None: nothing is kept.
        copy: what is kept in it.
        region: this node's. What another region's node has written is not read.
        every_s: how often it is written at most, in seconds. 0: never, it is only read.
        clock: the time.
    """

    def __init__(
        self, path: Path | None, *, copy: UpstreamCopy, region: str, every_s: float, clock: Clock
    ) -> None:
        self._path = path
        # One thread, so that there is one writing at a time, whoever gave up waiting for it.
        self._writing = ThreadPoolExecutor(1, thread_name_prefix="state")
        self._copy = copy
        self._region = region
        self._every_s = every_s
        self._clock = clock
        self._written_changes = copy.changes
        self._written_withdrawals = copy.withdrawals
        self._written_at_s = -math.inf
        self._took_s = 0.0
        self._failure = ""
        self.bytes = 0
        """Size of the file when it was last written."""

    @property
    def writes(self) -> bool:
        """Whether there is a file, and it is this node that writes it."""
        return self._path is not None and self._every_s > 0

    @property
    def age_s(self) -> float:
        """How long ago the file was last written to, in seconds; infinite if it never was."""
        return self._clock.monotonic() - self._written_at_s

    @contextmanager
    def held(self) -> Iterator[None]:
        """Keep other processes from writing the same file for the length of the block.

        Raises:
            ConfigError: one does, or the folder is not there.
        """
        if self._path is None or not self._every_s:
            yield
            return
        lock = self._path.with_name(f"{self._path.name}.lock")
        try:
            descriptor = os.open(lock, os.O_CREAT | os.O_RDWR, 0o600)
        except OSError as error:
            raise ConfigError(
                f"cannot write `{lock}`: {error.strerror}; choose another place with --state"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            raise ConfigError(
                f"`{self._path}` is another node's that runs; give each its own with --state"
            ) from None
        try:
            yield
        finally:
            os.close(descriptor)

    # -------------------------------------------------------------------------------- read

    async def read(self) -> None:
        """Begin with what is in the file, if it can be used; say so if it cannot."""
        if self._path is None:
            return
        where = {"path": str(self._path)}
        try:
            kept, mirror = await self._in_thread(partial(state.read, self._path))
        except FileNotFoundError:
            return
        except (StateDamaged, OSError) as error:
            log.error("the state file cannot be used", extra={**where, "reason": str(error)})
            return
        if kept.region != self._region:
            log.error(
                "the state file is of another region, which may hold other tenants; it is left out",
                extra={**where, "region": kept.region},
            )
            return
        known_ago_s = self._clock.now().timestamp() - kept.known_time_s
        if known_ago_s < -_SLACK_S:
            log.error(
                "the state file is of a time to come, so that nobody can tell how old it is: "
                "tenants who bound that are refused until an upstream is there",
                extra={**where, "known_ago_s": round(known_ago_s, 1)},
            )
            known_ago_s = math.inf
        self._copy.adopt(kept.store_id, mirror, max(known_ago_s, 0.0))
        self._written_changes = self._copy.changes
        log.info(
            "starting from the state file",
            extra={**where, "revision": mirror.revision, "known_ago_s": round(known_ago_s, 1)},
        )

    # ------------------------------------------------------------------------------- write

    async def run(self) -> None:
        """Write what has changed, now and then, until cancelled."""
        while True:
            await asyncio.sleep(min(_LOOK_EVERY_S, self._every_s or _LOOK_EVERY_S))
            if self._is_due():
                await self.write()

    def _is_due(self) -> bool:
        if self._copy.withdrawals != self._written_withdrawals:
            return self.age_s >= _HASTE_S
        return self.age_s >= max(self._every_s, self._took_s * _WRITING_SHARE)

    async def write(self) -> None:
        """Write what there is, or if it has not changed, that it was known to be current."""
        path = self._path
        if path is None or not self._every_s or not self._copy.has_state:
            return
        began_s = self._clock.monotonic()
        changes, withdrawals = self._copy.changes, self._copy.withdrawals
        try:
            if changes == self._written_changes and path.exists():
                await self._write_known_time(path)
            else:
                taken = State.of(self._copy.mirror, self._kept())
                self.bytes = await self._in_thread(partial(state.write, path, taken))
        except OSError as error:
            self._tell(error)
        else:
            self._failure = ""
            self._written_changes, self._written_withdrawals = changes, withdrawals
        # A disk that is full is not tried again at once either.
        self._written_at_s = self._clock.monotonic()
        self._took_s = self._written_at_s - began_s

    async def aclose(self) -> None:
        """Write for the last time."""
        await self.write()
        self._writing.shutdown()

    async def _in_thread(self, work: Callable[[], _T]) -> _T:
        return await asyncio.get_running_loop().run_in_executor(self._writing, work)

    async def _write_known_time(self, path: Path) -> None:
        known_time_s = self._kept().known_time_s
        if math.isfinite(known_time_s):
            await self._in_thread(partial(state.write_known_time, path, known_time_s))

    def _kept(self) -> Kept:
        return Kept(
            store_id=self._copy.store_id,
            region=self._region,
            known_time_s=self._clock.now().timestamp() - self._copy.staleness_s(),
        )

    def _tell(self, error: OSError) -> None:
        """Say once why the file is not written."""
        if str(error) != self._failure:
            self._failure = str(error)
            log.error(
                "the state file cannot be written; it has what it had",
                extra={"path": str(self._path), "reason": str(error)},
            )
