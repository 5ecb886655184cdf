"""Gives the page's commands one after the other, as somebody would who reads it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.cli.shell import PATIENCE_S, environment
from tests.grpcurl.page import Command
from tests.grpcurl.world import World


@dataclass(frozen=True, slots=True)
class Played:
    """What a command really printed."""

    command: str
    """As it was given."""
    printed: str
    """Both streams, as a terminal shows them, with the page's addresses."""
    code: int
    is_as_shown: bool


def play(commands: Iterable[Command], grpcurl: Path, world: World) -> Iterator[Played]:
    """Give commands with one grpcurl, each with what those before it printed."""
    folder = world.folder / "bin"
    folder.mkdir()
    (folder / "grpcurl").symlink_to(grpcurl)
    env = environment(**world.variables)
    env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
    values: dict[str, str] = {}
    for command in commands:
        given = command.filled_in(values)
        with subprocess.Popen(
            ["bash", "-c", world.real(given)],
            cwd=world.folder,
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        ) as process:
            try:
                printed, found = _read(process, command, values, world)
            finally:
                # Like Ctrl-C, for whatever the shell started.
                if process.poll() is None:
                    os.killpg(process.pid, signal.SIGINT)
        values.update(found or {})
        yield Played(given, printed, process.returncode, found is not None)


def _read(
    process: subprocess.Popen[bytes], command: Command, values: dict[str, str], world: World
) -> tuple[str, dict[str, str] | None]:
    """Read until the command ends or, if it never does by itself, has printed what it should."""
    assert process.stdout is not None
    deadline = time.monotonic() + PATIENCE_S / 3
    data, printed = b"", ""
    with selectors.DefaultSelector() as selector:
        selector.register(process.stdout, selectors.EVENT_READ)
        while selector.select(max(0.0, deadline - time.monotonic())):
            more = os.read(process.stdout.fileno(), 1 << 16)
            data += more
            printed = world.shown(data.decode(errors="replace"))
            if not more:
                process.wait(PATIENCE_S)
                break
            if command.is_interrupted and (found := command.read(printed, values)) is not None:
                return printed, found
    return printed, command.read(printed, values)
