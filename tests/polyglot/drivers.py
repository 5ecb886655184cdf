"""Drivers as processes: started, spoken with, ended."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

PROJECT = Path(__file__).resolve().parents[2]
_ANSWER_TIMEOUT_S = 30.0
_END_TIMEOUT_S = 20.0
_LONGEST_LINE = 16 * 1024 * 1024


class Driver:
    """A driver that runs."""

    def __init__(self, name: str, process: asyncio.subprocess.Process) -> None:
        self._name = name
        self._process = process

    async def line(self, *, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any] | None:
        """Return what it says next; None when it has ended."""
        assert self._process.stdout is not None
        async with asyncio.timeout(timeout_s):
            line = await self._process.stdout.readline()
        if not line:
            return None
        told = json.loads(line)
        assert isinstance(told, dict), (self._name, line)
        return told

    async def event(self, *names: str, timeout_s: float = _ANSWER_TIMEOUT_S) -> dict[str, Any]:
        """Return the next event of one of these names; what comes before it is left out."""
        async with asyncio.timeout(timeout_s):
            while True:
                told = await self.line(timeout_s=timeout_s)
                assert told is not None, f"the {self._name} driver ended before {names}"
                if told["event"] in names:
                    return told

    async def ask(self, id_: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Put a request to `golden`, and return its answer."""
        assert self._process.stdin is not None
        line = json.dumps({"id": id_, "request": request})
        self._process.stdin.write(line.encode() + b"\n")
        await self._process.stdin.drain()
        told = await self.line()
        assert told is not None, f"the {self._name} driver ended before it answered `{id_}`"
        assert told["id"] == id_, (self._name, told)
        return told

    def end_input(self) -> None:
        """Say that it is over."""
        assert self._process.stdin is not None
        self._process.stdin.close()

    async def finish(self) -> list[dict[str, Any]]:
        """Say that it is over, and return what it still has to say. It has to end well."""
        self.end_input()
        rest = []
        while (told := await self.line(timeout_s=_END_TIMEOUT_S)) is not None:
            rest.append(told)
        async with asyncio.timeout(_END_TIMEOUT_S):
            code = await self._process.wait()
        assert code == 0, f"the {self._name} driver ended with {code}"
        return rest


@asynccontextmanager
async def driving(
    command: Sequence[str],
    *arguments: str,
    name: str,
    environment: Mapping[str, str] | None = None,
) -> AsyncIterator[Driver]:
    """Run a driver for the length of the block."""
    process = await asyncio.create_subprocess_exec(
        *command,
        *arguments,
        cwd=PROJECT,
        env={**os.environ, **(environment or {})},
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        limit=_LONGEST_LINE,
    )
    try:
        yield Driver(name, process)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
