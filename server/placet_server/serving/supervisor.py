"""Several processes that serve on one address, and the one that keeps them."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from placet_engine.items import Revision
from placet_server.clock import SystemClock
from placet_server.config import Config, ConfigError, TlsConfig, for_worker
from placet_server.front import envoy, envoy_tls
from placet_server.listening import AddressUnavailable
from placet_server.serving.control import Assignment, Cause, Failed
from placet_server.serving.ports import HeldPort, held_port
from placet_server.serving.process import Command, WorkerGone, WorkerProcess

log = logging.getLogger(__name__)

_RETRY_FIRST_S, _RETRY_MOST_S = 0.1, 30.0
# A worker that lived this long died of something new.
_SETTLED_S = 60.0


class WorkersFailed(Exception):
    """The workers cannot serve; the message says why."""


@dataclass(frozen=True, slots=True)
class WorkerEntry:
    """How a worker is started: what runs when there is a process for it."""

    python: tuple[str, ...]
    """Command of a worker that is its own front."""
    asgi_app: str
    """``module:attribute`` of a worker inside Envoy."""


@dataclass(frozen=True, slots=True)
class Workers:
    """Workers that serve."""

    address: str
    """``host:port`` they serve on."""
    revision: Revision
    """Revision the store was at when they began."""


@asynccontextmanager
async def running_workers(config: Config, entry: WorkerEntry) -> AsyncIterator[Workers]:
    """Run workers for the length of the block; at its end, drain them.

    One that dies is started again. Callers on its connections have to call again; those of the
    other workers notice nothing.

    Raises:
        ConfigError: the configuration asks for what must not be, or cannot be here.
        AddressUnavailable: the address cannot be listened on.
        WorkersFailed: they cannot start for another reason.
    """
    if config.tls.cert:
        _check_tls(config.tls)
    folder = Path(tempfile.mkdtemp(prefix="placet-"))
    try:
        with held_port(config.server.listen) as port:
            slots = [
                _Slot(_plan(config, entry, port, folder, n)) for n in range(config.server.workers)
            ]
            try:
                revisions = await _start_all(slots)
                log.info("workers serve", extra={"address": port.address, "workers": len(slots)})
                yield Workers(port.address, max(revisions))
            finally:
                await asyncio.gather(*(slot.stop(config.server.drain_s) for slot in slots))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_tls(config: TlsConfig) -> None:
    """Say what is wrong with TLS files before anybody is started who would say less."""
    from placet_server.tls.files import TlsRefused, read_material

    try:
        read_material(config, SystemClock().now())
    except TlsRefused as error:
        raise ConfigError(str(error)) from error


async def _start_all(slots: list[_Slot]) -> list[Revision]:
    starting = [asyncio.create_task(slot.start()) for slot in slots]
    try:
        return list(await asyncio.gather(*starting))
    finally:
        for task in starting:
            task.cancel()
        await asyncio.gather(*starting, return_exceptions=True)


@dataclass(frozen=True, slots=True)
class _Plan:
    """All that it takes to start one worker, any number of times."""

    number: int
    command: Command
    assignment: Assignment


def _plan(config: Config, entry: WorkerEntry, port: HeldPort, folder: Path, number: int) -> _Plan:
    if config.server.workers > 1:
        config = for_worker(config, number)
    if config.server.front == "grpc":
        command = Command(entry.python, dict(os.environ))
        return _Plan(number, command, Assignment(config=config, address=port.address))
    node, admin = folder / f"node-{number}.sock", folder / f"envoy-{number}.sock"
    tls_folder = folder / f"tls-{number}"
    if config.tls.cert:
        envoy_tls.prepare(config.tls, tls_folder)
    front = envoy.Front(
        hosts=port.hosts,
        port=port.port,
        asgi_app=entry.asgi_app,
        node_socket=node,
        admin_socket=admin,
        drain_s=config.server.drain_s,
        max_connection_age_s=(
            config.server.max_connection_age_s if config.server.workers > 1 else 0.0
        ),
        target_wait_s=config.limits.target_wait_s,
        # What Envoy calls information is about itself.
        log_level=config.log.level if config.log.level in ("debug", "error") else "warning",
        log_as_json=config.log.format == "json",
        tls=config.tls,
        tls_folder=tls_folder,
    )
    try:
        command = Command(tuple(envoy.command(front)), envoy.environment())
    except envoy.EnvoyMissing as error:
        raise ConfigError(str(error)) from error
    assignment = Assignment(
        config=config,
        address=port.address,
        node_socket=str(node),
        admin_socket=str(admin),
        tls_folder=str(tls_folder),
    )
    return _Plan(number, command, assignment)


class _Slot:
    """The place of one worker: whoever is in it, there is one."""

    def __init__(self, plan: _Plan) -> None:
        self._plan = plan
        self._process: WorkerProcess | None = None
        self._keeping: asyncio.Task[None] | None = None

    async def start(self) -> Revision:
        """Start the first, and keep the place taken from then on."""
        try:
            revision = await self._start()
        except WorkerGone as gone:
            raise _as_error(gone.failed) from gone
        self._keeping = asyncio.create_task(self._keep(), name=f"worker-{self._plan.number}")
        return revision

    async def stop(self, drain_s: float) -> None:
        """Drain whoever is there, and let the place be empty."""
        if self._keeping is not None:
            self._keeping.cancel()
            await asyncio.gather(self._keeping, return_exceptions=True)
        if self._process is not None:
            await self._process.stop(drain_s)

    async def _start(self) -> Revision:
        self._remove_sockets()
        self._process = await WorkerProcess.start(self._plan.command)
        return await self._process.assign(self._plan.assignment)

    def _remove_sockets(self) -> None:
        """Remove what a worker that died has left."""
        for path in (self._plan.assignment.node_socket, self._plan.assignment.admin_socket):
            if path:
                Path(path).unlink(missing_ok=True)

    async def _keep(self) -> None:
        delay_s, name = _RETRY_FIRST_S, {"worker": self._plan.number}
        while True:
            assert self._process is not None
            began = time.monotonic()
            code = await self._process.ended()
            if time.monotonic() - began > _SETTLED_S:
                delay_s = _RETRY_FIRST_S
            log.error(
                "a worker died; starting another",
                extra={**name, "exit_code": code, "delay_s": round(delay_s, 1)},
            )
            while True:
                await asyncio.sleep(delay_s)
                delay_s = min(delay_s * 2, _RETRY_MOST_S)
                try:
                    revision = await self._start()
                except WorkerGone as gone:
                    log.error("a worker cannot start", extra={**name, "reason": str(gone)})
                    continue
                log.info("a worker serves again", extra={**name, "revision": revision})
                break


def _as_error(failed: Failed) -> Exception:
    match failed.cause:
        case Cause.CONFIG:
            return ConfigError(failed.message)
        case Cause.ADDRESS:
            return AddressUnavailable(failed.message)
        case _:
            return WorkersFailed(failed.message)
