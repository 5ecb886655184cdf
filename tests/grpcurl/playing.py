"""Gives the page's commands one after the other, as somebody would who reads it."""

from __future__ import annotations

import os
import re
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

_SOON_S = 15.0
_ONLY_LOOKS = re.compile(r"/(?:Get|List)\w+$")


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
    """Give commands with one grpcurl, each with what those before it printed.

    What nodes tell each other takes them a moment: who only looks, looks again.
    """
    folder = world.folder / "bin"
    folder.mkdir()
    (folder / "grpcurl").symlink_to(grpcurl)
    values: dict[str, str] = {}
    for command in commands:
        deadline = time.monotonic() + _SOON_S
        played, found = _give(command, values, folder, world)
        while found is None and _ONLY_LOOKS.search(command.text) and time.monotonic() < deadline:
            played, found = _give(command, values, folder, world)
        values |= found or {}
        yield played


def _give(
    command: Command, values: dict[str, str], folder: Path, world: World
) -> tuple[Played, dict[str, str] | None]:
    """Give one command; return as well what placeholders stand for, if it is as shown."""
    env = environment(**world.variables)
    env["PATH"] = f"{folder}{os.pathsep}{env['PATH']}"
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
    return Played(given, printed, process.returncode, found is not None), found


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
