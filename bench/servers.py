"""Servers under test: started as a user would, each a process of its own, bound to its cores."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from bench.failures import CannotStart
from bench.machine import Cores, cpu_seconds, memory_bytes, pinned
from placet_engine import native

_START_TIMEOUT_S = 60.0
_STOP_TIMEOUT_S = 15.0
_POLL_S = 0.02
_LOG_TAIL = 600
_TAKES_ALL = {"PLACET_LIMITS_TARGET_WAIT_S": "0", "PLACET_LIMITS_MAX_CALLS": "0"}
# What the `placet` command runs, by this interpreter.
_PLACET = "import sys; from placet.cli.main import run; sys.exit(run())"


@dataclass(frozen=True, slots=True)
class Server:
    """A server that accepts connections."""

    name: str
    address: str
    """``host:port`` that requests go to."""
    pid: int

    def memory_bytes(self) -> int:
        """Return the memory that it and its children hold."""
        return memory_bytes(self.pid)

    def cpu_seconds(self) -> float:
        """Return the processor time that it and its children have had."""
        return cpu_seconds(self.pid)


@dataclass(frozen=True, slots=True)
class Variant:
    """One way to run Placet."""

    name: str
    about: str
    arguments: tuple[str, ...] = ()
    """For ``placet serve``."""
    environment: Mapping[str, str] = field(default_factory=dict)
    all_cores: bool = False
    """Whether it gets the load generator's core as well."""


VARIANTS: tuple[Variant, ...] = (
    Variant("grpc", "one process, gRPC in Python"),
    Variant("envoy", "one process, Envoy in front", ("--front", "envoy")),
    Variant("workers2", "two worker processes", ("--workers", "2"), all_cores=True),
)

_NO_NATIVE = {native.VARIABLE: "off"}
IN_PYTHON = Variant("grpc-python", "as grpc, without the native path", environment=_NO_NATIVE)
ON_REQUEST: tuple[Variant, ...] = (
    IN_PYTHON,
    Variant(
        "envoy-python",
        "as envoy, without the native path",
        ("--front", "envoy"),
        environment=_NO_NATIVE,
    ),
)
"""Variants that are measured only when they are named."""


@contextmanager
def running_placet(
    variant: Variant, cores: Cores, folder: Path, *, store: str = "sqlite", sheds: bool = False
) -> Iterator[Server]:
    """Run ``placet serve`` for the length of the block.

    Args:
        variant: the way to run it.
        cores: where.
        folder: for its files; must exist.
        store: ``sqlite`` or ``memory``.
        sheds: whether it refuses calls when there are too many, as it does by itself. To find
            out how much it can answer, it must not.

    Raises:
        CannotStart: it did not come up.
    """
    address = free_address()
    command = (
        *(sys.executable, "-c", _PLACET, "serve", "--listen", address),
        *("--store", store, "--store-path", str(folder / "placet.db")),
        *("--log-level", "warning", *variant.arguments),
    )
    with running(
        f"placet {variant.name}",
        command,
        address=address,
        cores=cores.all if variant.all_cores else cores.server,
        folder=folder,
        environment={**variant.environment, **({} if sheds else _TAKES_ALL)},
    ) as server:
        _wait_until_serving(server)
        yield server


@contextmanager
def running_relay(name: str, upstream: str, cores: Cores, folder: Path) -> Iterator[Server]:
    """Run a node that follows another, for the length of the block.

    Raises:
        CannotStart: it did not come up.
    """
    address = free_address()
    command = (
        *(sys.executable, "-c", _PLACET, "serve", "--listen", address, "--upstream", upstream),
        *("--node", name, "--state", str(folder / f"{name}.state"), "--log-level", "warning"),
    )
    with running(
        f"placet {name}",
        command,
        address=address,
        cores=cores.server,
        folder=folder,
        environment=_TAKES_ALL,
    ) as server:
        _wait_until_serving(server)
        yield server


@contextmanager
def running(
    name: str,
    command: Sequence[str],
    *,
    address: str,
    cores: frozenset[int],
    folder: Path,
    environment: Mapping[str, str] | None = None,
) -> Iterator[Server]:
    """Run a server until the end of the block.

    Raises:
        CannotStart: it is not there, ends, or does not listen in time.
    """
    log = folder / f"{name.replace(' ', '-')}.log"
    with log.open("wb") as output, pinned(cores):
        try:
            process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
                cwd=folder,
            )
        except OSError as error:
            raise CannotStart(f"{name}: {error.strerror}: {command[0]}") from error
    try:
        _wait_until_listening(name, process, address, log)
        yield Server(name, address, process.pid)
    finally:
        _stop(process)


def free_address() -> str:
    """Return an address of this machine where nobody listens."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return f"127.0.0.1:{probe.getsockname()[1]}"


def _wait_until_listening(
    name: str, process: subprocess.Popen[bytes], address: str, log: Path
) -> None:
    host, _, port = address.rpartition(":")
    deadline = time.monotonic() + _START_TIMEOUT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise CannotStart(f"{name} ended with code {process.returncode}: {_tail(log)}")
        try:
            socket.create_connection((host, int(port)), timeout=1.0).close()
        except OSError:
            time.sleep(_POLL_S)
        else:
            return
    raise CannotStart(f"{name} does not listen after {_START_TIMEOUT_S:.0f} s: {_tail(log)}")


def _wait_until_serving(server: Server) -> None:
    """Wait until its health says that it decides: what listens may be only what stands in front."""
    deadline = time.monotonic() + _START_TIMEOUT_S
    serving = health_pb2.HealthCheckResponse.SERVING
    request = health_pb2.HealthCheckRequest(service="placet.v1.EvaluateService")
    with grpc.insecure_channel(server.address) as channel:
        # Its stub knows nothing of types.
        stub: Any = health_pb2_grpc.HealthStub(channel)
        while time.monotonic() < deadline:
            try:
                if stub.Check(request, timeout=1.0).status == serving:
                    return
            except grpc.RpcError:
                pass
            time.sleep(_POLL_S)
    raise CannotStart(f"{server.name} listens, and does not serve after {_START_TIMEOUT_S:.0f} s")


def _tail(log: Path) -> str:
    text = log.read_text("utf-8", errors="replace").strip()
    return " ".join(text[-_LOG_TAIL:].split()) or "it printed nothing"


def _stop(process: subprocess.Popen[bytes]) -> None:
    """Ask it to stop, and make it after a while."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(_STOP_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait(_STOP_TIMEOUT_S)
