"""Probes: calls of the node to itself, which wait in the line that all calls wait in.

gRPC's core hands calls over one at a time and keeps the others in a line of
its own, of which there is neither a length nor a time of arrival to be had
(reading channelz's counters stops the event loop for a fifth of a millisecond
and more). A probe goes through a socket in a folder only this user can enter,
so that it needs no credentials.
"""

from __future__ import annotations

import asyncio
import logging
import secrets
import sys
import tempfile
from pathlib import Path

import grpc

from placet_server.admission.control import AdmissionControl

log = logging.getLogger(__name__)

# Longer than any line: that a probe waits is what it is sent to find out.
_TIMEOUT_S = 30.0


class Prober:
    """Sends probes, at most one at a time."""

    def __init__(self, control: AdmissionControl) -> None:
        self.method = f"/placet.probe/{secrets.token_hex(16)}"
        """Nobody else can know it, and so pretend that calls wait less than they do."""
        self._control = control
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._channel: grpc.aio.Channel | None = None
        self._call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] | None = None
        self._probe: asyncio.Task[None] | None = None

    def listen(self, server: grpc.aio.Server) -> None:
        """Have the server listen for probes. Without them only numbers of calls are limited."""
        if sys.platform == "win32":
            return
        self._folder = tempfile.TemporaryDirectory(prefix="placet-")
        address = f"unix:{Path(self._folder.name) / 'probe'}"
        try:
            server.add_insecure_port(address)
        except RuntimeError:
            log.warning("no probes: overload is not noticed", extra={"address": address})
            return
        self._channel = grpc.aio.insecure_channel(address)
        self._call = self._channel.unary_unary(self.method)

    def send_if_due(self) -> None:
        """Send a probe if it is time for one."""
        if self._call is None or not self._control.backlog.probe_is_due:
            return
        self._control.probe_sent()
        self._probe = asyncio.create_task(self._send(self._call), name="probe")

    def arrived(self) -> None:
        """Note that the server was handed the probe."""
        self._control.probe_arrived()

    async def aclose(self) -> None:
        """Send no more."""
        self._call = None
        if self._probe is not None:
            self._probe.cancel()
            await asyncio.gather(self._probe, return_exceptions=True)
        if self._channel is not None:
            await self._channel.close()
        if self._folder is not None:
            self._folder.cleanup()

    async def _send(self, call: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes]) -> None:
        try:
            await call(b"", timeout=_TIMEOUT_S)
        except grpc.aio.AioRpcError as error:
            # What answers a probe that arrived is no message either.
            if error.code() is not grpc.StatusCode.ABORTED:
                self._control.backlog.probe_lost()
