"""What a transport costs: one handler, bytes to bytes, behind each front. Needs h2load and Linux.

``python -m bench.fronts`` starts every front on the first core and h2load on the second, goes
round them a few times, and prints calls a second, and calls by second of the server's processor
time: what a core could do that has nothing else to do. The rows of `placet` are the real thing,
with a small policy set: warm is one request over and over, cold is many with a cache of one.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import re
import shutil
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import grpc
import uvloop

import placet
from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.evaluate_stream import AtOnce
from placet_server.front import envoy
from placet_server.front.asgi import EvaluateApp
from placet_server.front.calls import Receive, Scope, Send
from placet_server.front.methods import EVALUATE

_ROUNDS = 3
_RUN_S, _WARM_UP_S = 2, 1
_START_S = 30.0
_ANSWER = b"x" * 64
_TENANT = "bench"
_COLD_CLIENTS = 8
_SERVER_CORES, _CLIENT_CORES = (0,), (1,)
_BOTH_CORES = (0, 1)


# ------------------------------------------------------------------ one handler, each front


class _Fixed:
    """Answers everything with the same bytes."""

    def recall(self, data: bytes, caller: Any = None) -> bytes | None:
        return _ANSWER

    def try_evaluate(self, several: Sequence[tuple[bytes, Any]]) -> list[bytes | Exception | None]:
        return [_ANSWER] * len(several)

    async def evaluate(self, data: bytes, time_left_s: float, caller: Any = None) -> bytes:
        return _ANSWER

    async def evaluate_batch(self, data: bytes, time_left_s: float, caller: Any = None) -> bytes:
        return _ANSWER

    def evaluate_streamed_at_once(self, several: Sequence[bytes], caller: Any = None) -> AtOnce:
        return AtOnce([_ANSWER] * len(several), 0.0)

    async def evaluate_streamed(self, data: bytes, time_left_s: float, caller: Any = None) -> bytes:
        return _ANSWER


class _App:
    """What Envoy's Python runs."""

    def __init__(self) -> None:
        self._app: EvaluateApp | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self._app is not None and scope["type"] == "http":
            await self._app(scope, receive, send)
            return
        for state in ("startup", "shutdown"):
            await receive()
            self._app = EvaluateApp(_Fixed(), AdmissionControl(Limits(), time.monotonic))
            await send({"type": f"lifespan.{state}.complete"})


app = _App()


def _handlers(handle: Callable[[bytes, Any], Any]) -> Any:
    handler: Any = grpc.unary_unary_rpc_method_handler(handle)
    service, method = EVALUATE.removeprefix("/").split("/")
    return grpc.method_handlers_generic_handler(service, {method: handler})


def _serve_sync(port: int) -> None:
    server = grpc.server(ThreadPoolExecutor(4))
    server.add_generic_rpc_handlers((_handlers(lambda request, context: _ANSWER),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    server.start()
    server.wait_for_termination()


async def _serve_aio(port: int) -> None:
    async def handle(request: bytes, context: Any) -> bytes:
        return _ANSWER

    server = grpc.aio.server(options=[("grpc.so_reuseport", 1)])
    server.add_generic_rpc_handlers((_handlers(handle),))
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


def _serve(kind: str, port: int) -> None:
    if kind == "sync":
        _serve_sync(port)
    else:
        factory = uvloop.new_event_loop if kind == "uvloop" else asyncio.new_event_loop
        with asyncio.Runner(loop_factory=factory) as runner:
            runner.run(_serve_aio(port))


# ------------------------------------------------------------------------------ what is run


_Start = Callable[[ExitStack, int, Sequence[int]], list[int]]
"""Starts a front on a port, on some cores; returns its processes."""


@dataclass(frozen=True, slots=True)
class _Measured:
    calls_per_s: float
    calls_per_cpu_s: float


@dataclass(frozen=True, slots=True)
class _Row:
    name: str
    start: _Start
    cores: tuple[int, ...] = _SERVER_CORES
    clients: int = 1
    measured: list[_Measured] = field(default_factory=list)


def _handler_only(kind: str, processes: int = 1) -> _Start:
    def start(stack: ExitStack, port: int, cores: Sequence[int]) -> list[int]:
        command = [sys.executable, "-m", "bench.fronts", "--serve", kind, "--port", str(port)]
        return [stack.enter_context(_running(command, cores, os.environ)) for _ in range(processes)]

    return start


def _in_envoy(count: int = 1) -> _Start:
    def start(stack: ExitStack, port: int, cores: Sequence[int]) -> list[int]:
        folder, processes = Path(stack.enter_context(tempfile.TemporaryDirectory())), []
        for number in range(count):
            front = envoy.Front(
                hosts=("127.0.0.1",),
                port=port,
                asgi_app="bench.fronts:app",
                node_socket=folder / "none.sock",
                admin_socket=folder / f"{number}.sock",
                drain_s=1,
                max_connection_age_s=0,
                target_wait_s=0,
                log_level="error",
                log_as_json=False,
            )
            command, environment = envoy.command(front), envoy.environment()
            processes.append(stack.enter_context(_running(command, cores, environment)))
        return processes

    return start


def _placet(*arguments: str) -> _Start:
    def start(stack: ExitStack, port: int, cores: Sequence[int]) -> list[int]:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        command = [
            *(sys.executable, "-c", _PLACET),
            *("serve", "--listen", f"127.0.0.1:{port}", "--store-path", str(folder / "bench.db")),
            *("--log-level", "error", *arguments),
        ]
        process = stack.enter_context(_running(command, cores, {**os.environ, **_COLD}))
        _publish(port)
        return [process]

    return start


_PLACET = "import sys; from placet.cli.main import run; sys.exit(run(sys.argv[1:]))"
_COLD = {"PLACET_CACHE_MAX_ENTRIES": "1"}


def _rows(quick: bool) -> list[_Row]:
    rows = [
        _Row("handler: grpcio, 4 threads", _handler_only("sync")),
        _Row("handler: grpc.aio, asyncio", _handler_only("asyncio")),
        _Row("handler: grpc.aio, uvloop", _handler_only("uvloop")),
        _Row("handler: envoy", _in_envoy()),
        _Row("handler: grpc.aio, uvloop, 2 cores", _handler_only("uvloop", 2), _BOTH_CORES),
        _Row("handler: envoy, 2 cores", _in_envoy(2), _BOTH_CORES),
    ]
    if not quick:
        rows += [
            _Row("placet: grpc, warm", _placet()),
            _Row("placet: envoy, warm", _placet("--front", "envoy")),
            _Row("placet: grpc, cold", _placet(), clients=_COLD_CLIENTS),
            _Row("placet: envoy, cold", _placet("--front", "envoy"), clients=_COLD_CLIENTS),
            _Row("placet: grpc, 2 workers, warm", _placet("--workers", "2"), _BOTH_CORES),
            _Row(
                "placet: envoy, 2 workers, warm",
                _placet("--front", "envoy", "--workers", "2"),
                _BOTH_CORES,
            ),
        ]
    return rows


@contextmanager
def _running(
    command: Sequence[str], cores: Sequence[int], environment: Mapping[str, str]
) -> Iterator[int]:
    process = subprocess.Popen(
        ["taskset", "-c", ",".join(map(str, cores)), *command],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env=dict(environment),
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(_START_S)
        process.kill()
        process.wait()


def _publish(port: int) -> None:
    policies = [
        placet.Policy(
            id=f"p{number}",
            cedar=f'permit(principal == User::"u{number}", action == Action::"view", resource);',
        )
        for number in range(10)
    ]
    _until_listening(port)
    with placet.Client(f"127.0.0.1:{port}", tenant=_TENANT, timeout_s=_START_S) as client:
        client.publish(placet.ChangeSet(policies=policies))


def _until_listening(port: int) -> None:
    give_up = time.monotonic() + _START_S
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1.0).close()
            return
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.05)


# ------------------------------------------------------------------------------ measuring


def _bodies(folder: Path) -> list[Path]:
    """Write the framed requests that clients send, one a client."""
    paths = []
    for number in range(_COLD_CLIENTS):
        message = evaluate_pb2.EvaluateRequest(
            tenant=_TENANT,
            subject=evaluate_pb2.Subject(type="User", id=f"u{number}"),
            action=evaluate_pb2.Action(name="view"),
            resource=evaluate_pb2.Resource(type="Document", id=f"d{number}"),
        ).SerializeToString()
        path = folder / f"{number}.bin"
        path.write_bytes(struct.pack(">BI", 0, len(message)) + message)
        paths.append(path)
    return paths


def _calls(port: int, bodies: Sequence[Path], duration_s: int) -> int:
    """Return how many calls closed-loop clients made, one client for each body."""
    connections = max(1, 8 // len(bodies))
    commands = [
        [
            *("taskset", "-c", ",".join(map(str, _CLIENT_CORES)), "h2load"),
            *("-D", str(duration_s), "-c", str(connections), "-m", "8", "-d", str(body)),
            *("-H", "content-type: application/grpc", "-H", "te: trailers"),
            f"http://127.0.0.1:{port}{EVALUATE}",
        ]
        for body in bodies
    ]
    running = [subprocess.Popen(each, stdout=subprocess.PIPE, text=True) for each in commands]
    total = 0
    for process in running:
        out, _ = process.communicate(timeout=_START_S)
        found = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", out)
        if found is None or found.groups()[1:] != ("0", "0"):
            raise SystemExit(f"calls failed:\n{out}")
        total += int(found[1])
    return total


def _cpu_s(pids: Sequence[int]) -> float:
    """Return the processor time that processes and those they started have used."""
    total, ticks = 0.0, os.sysconf("SC_CLK_TCK")
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += (int(fields[11]) + int(fields[12])) / ticks
        children = Path(f"/proc/{pid}/task").glob("*/children")
        total += _cpu_s([int(child) for path in children for child in path.read_text().split()])
    return total


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _measure(rows: list[_Row], rounds: int) -> None:
    for _ in range(rounds):
        for row in rows:
            with ExitStack() as stack:
                folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
                port = _free_port()
                processes = row.start(stack, port, row.cores)
                _until_listening(port)
                bodies = _bodies(folder)[: row.clients]
                _calls(port, bodies, _WARM_UP_S)
                cpu_s = _cpu_s(processes)
                calls = _calls(port, bodies, _RUN_S)
                cpu_s = _cpu_s(processes) - cpu_s
                if not cpu_s:
                    raise SystemExit(f"{row.name} did nothing: does another answer on {port}?")
                row.measured.append(_Measured(calls / _RUN_S, calls / cpu_s))


def _print(rows: list[_Row]) -> None:
    print(f"{'front':36} {'calls/s':>9} {'calls/CPU s':>12} {'lowest':>9} {'highest':>9}")
    for row in rows:
        by_cpu = [each.calls_per_cpu_s for each in row.measured]
        rate = statistics.median(each.calls_per_s for each in row.measured)
        print(
            f"{row.name:36} {rate:9,.0f} {statistics.median(by_cpu):12,.0f} "
            f"{min(by_cpu):9,.0f} {max(by_cpu):9,.0f}"
        )


def main() -> None:
    """Serve as one of the fronts, or measure them all."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--serve", choices=("sync", "asyncio", "uvloop"))
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--rounds", type=int, default=_ROUNDS)
    parser.add_argument("--quick", action="store_true", help="the bare handler only")
    parser.add_argument("--json", action="store_true", help="the raw numbers")
    options = parser.parse_args()
    if options.serve:
        _serve(options.serve, options.port)
        return
    if missing := [tool for tool in ("h2load", "taskset") if shutil.which(tool) is None]:
        raise SystemExit(
            f"{' and '.join(missing)} not found; on Debian: nghttp2-client, util-linux"
        )
    rows = _rows(options.quick)
    _measure(rows, options.rounds)
    if options.json:
        print(json.dumps({row.name: [asdict(each) for each in row.measured] for row in rows}))
    else:
        _print(rows)


if __name__ == "__main__":
    main()
