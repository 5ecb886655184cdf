"""A terminal that tests sit at: a command in its foreground, keys, and what was drawn.

Run as a program it is the shell of that terminal: it has one job, which can be suspended.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

PATIENCE_S = 60.0
_CONTROLS = re.compile(r"\x1b(?:\[[0-9;?]*[A-Za-z]|[()][A-Z0-9])")


class Terminal:
    """A terminal, with a command in its foreground."""

    def __init__(self, shell: subprocess.Popen[bytes], keyboard: int, line: int, news: int) -> None:
        self.text = ""
        self._shell = shell
        self._keyboard = keyboard
        self._line = line
        self._news = news
        self._before: list[Any] = termios.tcgetattr(line)
        self.pid = int(self._told())

    def is_as_before(self) -> bool:
        """Whether it is in the mode that it was in at first."""
        return termios.tcgetattr(self._line) == self._before

    def press(self, keys: str) -> None:
        """Press keys, one after the other."""
        os.write(self._keyboard, keys.encode())

    def wait_for(self, pattern: str) -> None:
        """Wait until something is drawn that was not there when this was waited for last."""
        deadline = time.monotonic() + PATIENCE_S
        while (found := re.search(pattern, _CONTROLS.sub("", self.text))) is None:
            assert time.monotonic() < deadline, f"no `{pattern}` in {self.text[-4000:]}"
            self._read(0.1)
        self.text = _CONTROLS.sub("", self.text)[found.end() :]

    def wait_until_suspended(self) -> None:
        """Wait until the command is suspended and the shell has the terminal."""
        self._drain()
        assert self._told() == "suspended"

    def go_on(self) -> None:
        """Have the command in the foreground again."""
        assert self._shell.stdin is not None
        self._shell.stdin.write(b"\n")
        self._shell.stdin.flush()

    def end(self) -> int:
        """Wait until the command has ended; return its exit code."""
        deadline = time.monotonic() + PATIENCE_S
        while self._shell.poll() is None:
            assert time.monotonic() < deadline, f"it does not end: {self.text[-4000:]}"
            self._read(0.05)
        self._drain()
        return self._shell.returncode

    def _drain(self) -> None:
        while self._read(0.05):
            pass

    def _read(self, timeout_s: float) -> bool:
        ready, _, _ = select.select([self._keyboard], [], [], timeout_s)
        if ready:
            self.text += os.read(self._keyboard, 65_536).decode("utf-8", "replace")
        return bool(ready)

    def _told(self) -> str:
        """Return what the shell says of its job."""
        deadline = time.monotonic() + PATIENCE_S
        line = b""
        while not line.endswith(b"\n"):
            assert time.monotonic() < deadline, self.text
            if select.select([self._news], [], [], 0.1)[0]:
                line += os.read(self._news, 1)
            self._read(0)
        return line.decode().strip()


@contextmanager
def on_terminal(
    command: Sequence[str | Path],
    *,
    cwd: Path,
    env: Mapping[str, str],
    columns: int = 80,
    lines: int = 24,
) -> Iterator[Terminal]:
    """Run a command in the foreground of a terminal, for the length of the block."""
    keyboard, line = pty.openpty()
    fcntl.ioctl(line, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
    news, news_end = os.pipe()
    shell = subprocess.Popen(
        [sys.executable, __file__, os.ttyname(line), str(news_end), *map(str, command)],
        cwd=cwd,
        env=env,
        stdin=subprocess.PIPE,
        start_new_session=True,
        pass_fds=(news_end,),
    )
    os.close(news_end)
    terminal = None
    try:
        terminal = Terminal(shell, keyboard, line, news)
        yield terminal
    finally:
        if shell.poll() is None:
            if terminal is not None:
                os.kill(terminal.pid, signal.SIGKILL)
            shell.kill()
        shell.wait(PATIENCE_S)
        assert shell.stdin is not None
        shell.stdin.close()
        for file in (keyboard, line, news):
            os.close(file)


def _shell(tty: str, news: int, command: Sequence[str]) -> int:
    """Run one job in the foreground; return its exit code."""
    # The first terminal that the leader of a session opens is the session's.
    line = os.open(tty, os.O_RDWR)
    signal.signal(signal.SIGTTOU, signal.SIG_IGN)
    job = os.fork()
    if not job:
        os.setpgid(0, 0)
        os.tcsetpgrp(line, os.getpgrp())
        signal.signal(signal.SIGTTOU, signal.SIG_DFL)
        for stream in range(3):
            os.dup2(line, stream)
        os.execvp(command[0], list(command))
    os.write(news, b"%d\n" % job)
    while True:
        _, status = os.waitpid(job, os.WUNTRACED)
        if not os.WIFSTOPPED(status):
            return os.waitstatus_to_exitcode(status)
        os.tcsetpgrp(line, os.getpgrp())
        os.write(news, b"suspended\n")
        sys.stdin.readline()
        os.tcsetpgrp(line, job)
        os.killpg(job, signal.SIGCONT)


if __name__ == "__main__":
    sys.exit(_shell(sys.argv[1], int(sys.argv[2]), sys.argv[3:]))
