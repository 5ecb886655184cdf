"""The command line as tests use it: in this process, or as a process of its own."""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
PATIENCE_S = 60.0


@dataclass(frozen=True, slots=True)
class Result:
    """What a command printed, and how it ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Standard output, which has to be one JSON document."""
        return json.loads(self.out)

    @property
    def lines(self) -> list[Any]:
        """Standard output, which has to be one JSON document a line."""
        return [json.loads(line) for line in self.out.splitlines()]


Shell = Callable[..., Result]
"""Runs one command in this process: ``shell("policy", "push", ".")``."""


def is_setting(name: str) -> bool:
    """Whether a variable of the environment changes what commands do or print."""
    return name.startswith("PLACET_") or name in (
        "COLUMNS",
        "FORCE_COLOR",
        "LINES",
        "NO_COLOR",
        "TTY_COMPATIBLE",
    )


def environment(**changes: str) -> dict[str, str]:
    """Return the environment without what would change what is printed, and with changes."""
    kept = {name: value for name, value in os.environ.items() if not is_setting(name)}
    path = f"{BIN}{os.pathsep}{kept.get('PATH', '')}"
    return {**kept, "PATH": path, "PYTHONUNBUFFERED": "1", **changes}


class Process:
    """``placet`` as a process: its lines can be waited for."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process
        self._events: queue.Queue[tuple[str, str | None]] = queue.Queue()
        self.texts = {"out": "", "err": ""}
        for name, stream in (("out", process.stdout), ("err", process.stderr)):
            threading.Thread(target=self._read, args=(name, stream), daemon=True).start()
        self._open_streams = 2

    def _read(self, name: str, stream: Any) -> None:
        for line in stream:
            self._events.put((name, line))
        self._events.put((name, None))

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    @property
    def out(self) -> str:
        """What it printed so far, as far as it was waited for."""
        return self.texts["out"]

    @property
    def err(self) -> str:
        """The same of standard error."""
        return self.texts["err"]

    def wait_for(self, text: str, *, in_: str = "out", after: str = "") -> str:
        """Wait until it printed a text, behind another; return the line with it."""
        deadline = time.monotonic() + PATIENCE_S
        while text not in self.texts[in_].partition(after or "\0")[2 if after else 0]:
            self._take(deadline, f"`{text}`")
        start = self.texts[in_].index(after) if after else 0
        at = self.texts[in_].index(text, start)
        start = self.texts[in_].rfind("\n", 0, at) + 1
        return self.texts[in_][start:].partition("\n")[0]

    def _take(self, deadline: float, what: str) -> None:
        try:
            name, line = self._events.get(timeout=max(0.0, deadline - time.monotonic()))
        except queue.Empty:
            raise AssertionError(f"no {what} in time; got {self.texts}") from None
        if line is not None:
            self.texts[name] += line
            return
        self._open_streams -= 1
        assert self._open_streams, f"it ended without {what}: {self.texts}"

    def send(self, number: signal.Signals) -> None:
        """Send a signal."""
        self._process.send_signal(number)

    def end(self, number: signal.Signals | None = signal.SIGINT) -> Result:
        """Send a signal, unless it ends by itself, and wait for the end."""
        if number is not None:
            self.send(number)
        code = self._process.wait(PATIENCE_S)
        while self._open_streams:
            name, line = self._events.get(timeout=PATIENCE_S)
            if line is None:
                self._open_streams -= 1
            else:
                self.texts[name] += line
        return Result(code, self.out, self.err)


@contextmanager
def running(*arguments: str, cwd: Path, env: Mapping[str, str] | None = None) -> Iterator[Process]:
    """Run ``placet`` as a process of its own for the length of the block."""
    process = subprocess.Popen(
        [str(BIN / "placet"), *arguments],
        cwd=cwd,
        env=env if env is not None else environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with process:
            try:
                yield Process(process)
            finally:
                if process.poll() is None:
                    process.kill()
    finally:
        process.wait(PATIENCE_S)


@contextmanager
def serving(cwd: Path, *arguments: str) -> Iterator[tuple[str, Process]]:
    """Run ``placet serve`` on a free port; give its address."""
    with running("serve", "--listen", "127.0.0.1:0", *arguments, cwd=cwd) as process:
        line = process.wait_for("placet serves on ")
        yield line.split()[3].rstrip(","), process
