"""gRPC's own Python client in a process of its own, since it reads its bootstrap once a process.

As a script it is that process: commands come in as JSON, one a line, answers go out the same way.
"""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc

from placet.cli.xds_bootstrap import Who, for_grpc
from placet.v1 import evaluate_service_pb2, evaluate_service_pb2_grpc

_ROOT = Path(__file__).parent.parent
_ANSWER_S = 60.0
_THREADS = 4


class StockClient:
    """The process, as a test sees it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process

    async def call(
        self,
        target: str = "xds:///placet",
        *,
        times: int = 1,
        deadline_s: float = 10.0,
        **more: Any,
    ) -> list[dict[str, Any]]:
        """Ask for decisions, one after the other: the node of each answer, or the error."""
        asked = {"do": "call", "target": target, "times": times, "deadline_s": deadline_s, **more}
        found: list[dict[str, Any]] = await self._ask(asked)
        return found

    async def nodes(self, target: str = "xds:///placet", *, times: int = 20) -> Counter[str]:
        """Return which nodes answered how many calls, all of which have to succeed."""
        answers = await self.call(target, times=times)
        assert all("node" in answer for answer in answers), answers
        return Counter(answer["node"] for answer in answers)

    async def begin(self, target: str = "xds:///placet", *, deadline_s: float = 2.0) -> None:
        """Have it call on and on until :meth:`end`; return when somebody answers."""
        await self._ask({"do": "begin", "target": target, "deadline_s": deadline_s})

    async def end(self) -> dict[str, Any]:
        """Return what came of all calls since :meth:`begin`."""
        found: dict[str, Any] = await self._ask({"do": "end"})
        return found

    async def _ask(self, command: Mapping[str, Any]) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps(command).encode() + b"\n")
        async with asyncio.timeout(_ANSWER_S):
            line = await self._process.stdout.readline()
        return json.loads(line)


def bootstrap(*servers: str, **said: str) -> dict[str, Any]:
    """Return a bootstrap that names control planes, in plain text, and says this of the client."""
    return for_grpc(servers, Who(id="a-client", **said))


@asynccontextmanager
async def stock_client(
    given: Mapping[str, Any] | None = None, *, environment: Mapping[str, str] | None = None
) -> AsyncIterator[StockClient]:
    """Run a client with a bootstrap, or with none, for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        __name__,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=_ROOT,
        env={
            **os.environ,
            "GRPC_XDS_BOOTSTRAP_CONFIG": json.dumps(given or {}),
            "GRPC_VERBOSITY": "NONE",
            **(environment or {}),
        },
    )
    try:
        yield StockClient(process)
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


# ------------------------------------------------------------------------------ in the process


_REQUEST = evaluate_service_pb2.EvaluateRequest(
    tenant="acme",
    subject=evaluate_service_pb2.Subject(type="User", id="alice"),
    action=evaluate_service_pb2.Action(name="view"),
    resource=evaluate_service_pb2.Resource(type="Document", id="one"),
)


class _Caller:
    def __init__(self) -> None:
        self._channels: dict[tuple[str, ...], grpc.Channel] = {}
        self._load: _Load | None = None

    def do(self, command: dict[str, Any]) -> Any:
        match command["do"]:
            case "call":
                return [self._call(command) for _ in range(command["times"])]
            case "begin":
                self._load = _Load(self._stub(command), command["deadline_s"])
                self._load.begin()
                return {}
            case "end":
                assert self._load is not None
                return self._load.end()
            case unknown:
                raise ValueError(unknown)

    def _call(self, command: dict[str, Any]) -> dict[str, Any]:
        began_s = time.monotonic()
        try:
            answer = self._stub(command).Evaluate(_REQUEST, timeout=command["deadline_s"])
        except grpc.RpcError as error:
            after_s = time.monotonic() - began_s
            code, details = error.code().name, error.details()
            return {"code": code, "details": details, "after_s": after_s}
        return {"node": answer.decision.node}

    def _stub(self, command: dict[str, Any]) -> Any:
        target, files, name = command["target"], command.get("tls", ()), command.get("name", "")
        channel = self._channels.get((target, *files, name))
        if channel is None:
            options = [("grpc.ssl_target_name_override", name)] if name else []
            if files:
                # CAs, and of a certificate to show the key and the chain, as gRPC has it.
                read = [Path(file).read_bytes() for file in files]
                credentials = grpc.ssl_channel_credentials(*read)
                channel = grpc.secure_channel(target, credentials, options)
            else:
                channel = grpc.insecure_channel(target, options)
            self._channels[target, *files, name] = channel
        return evaluate_service_pb2_grpc.EvaluateServiceStub(channel)


class _Load:
    """Callers in a loop, with a pause of 2 ms."""

    def __init__(self, stub: Any, deadline_s: float) -> None:
        self._stub = stub
        self._deadline_s = deadline_s
        self._is_over = threading.Event()
        self._has_begun = threading.Event()
        self._lock = threading.Lock()
        self._successes: list[float] = []
        self._nodes: Counter[str] = Counter()
        self._errors: list[dict[str, Any]] = []
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(_THREADS)]

    def begin(self) -> None:
        for thread in self._threads:
            thread.start()
        self._has_begun.wait(_ANSWER_S / 2)

    def end(self) -> dict[str, Any]:
        self._is_over.set()
        for thread in self._threads:
            thread.join(_ANSWER_S / 2)
        at = sorted(self._successes)
        gaps = [later - sooner for sooner, later in itertools.pairwise(at)]
        return {
            "calls": len(at) + len(self._errors),
            "nodes": self._nodes,
            "errors": self._errors,
            "longest_gap_s": max(gaps, default=0.0),
        }

    def _run(self) -> None:
        while not self._is_over.is_set():
            began_s = time.monotonic()
            try:
                answer = self._stub.Evaluate(_REQUEST, timeout=self._deadline_s)
            except grpc.RpcError as error:
                with self._lock:
                    self._errors.append(
                        {
                            "code": error.code().name,
                            "details": error.details(),
                            "after_s": time.monotonic() - began_s,
                        }
                    )
            else:
                with self._lock:
                    self._successes.append(time.monotonic())
                    self._nodes[answer.decision.node] += 1
                self._has_begun.set()
            self._is_over.wait(0.002)


def _main() -> None:
    caller = _Caller()
    for line in sys.stdin:
        print(json.dumps(caller.do(json.loads(line))), flush=True)  # noqa: T201


if __name__ == "__main__":
    _main()
