"""The languages there are drivers for: what each needs, and what its client is checked by.

A driver's folder is named like its language; see README.md for what is in it. As a script it prints
the languages whose toolchain is not here, one a line, with the reason.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
PROJECT = HERE.parents[1]
BUILD_TIMEOUT_S = 900.0
_ASK_TIMEOUT_S = 60.0


class Broken(Exception):
    """A driver that cannot be built, or a client that fails its own checks: what its tools said."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program that has to be there, of some version or a newer one."""

    command: tuple[str, ...]
    """What says its version."""
    at_least: tuple[int, ...]

    def missing(self) -> str | None:
        """Say what is wrong with it; nothing if it will do."""
        name = self.command[0]
        if shutil.which(name) is None:
            return f"there is no `{name}`"
        asked = subprocess.run(
            self.command, capture_output=True, text=True, timeout=_ASK_TIMEOUT_S, check=False
        )
        # Maven colours what it says, to whomever.
        said = re.sub(r"\x1b\[[\d;]*m", "", asked.stdout + asked.stderr)
        told = re.search(r"\d+(?:\.\d+)*", said)
        version = tuple(map(int, told.group().split("."))) if told else ()
        if version >= self.at_least:
            return None
        wanted = ".".join(map(str, self.at_least))
        return f"`{name}` is {told.group() if told else 'of no version'}, and {wanted} is needed"


@dataclass(frozen=True, slots=True)
class Built:
    """A driver that can be run."""

    name: str
    """The language."""
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Language:
    """A language with a driver."""

    name: str
    tools: tuple[Tool, ...] = ()
    checks: tuple[tuple[str, ...], ...] = ()
    """What runs the client's own tests and checks, from the project's root."""
    command: tuple[str, ...] | None = None
    """What runs the driver where nothing has to be built."""

    @property
    def folder(self) -> Path:
        """Where its driver is."""
        return HERE / self.name

    def missing(self) -> str | None:
        """Say why the driver cannot be built here; nothing if it can."""
        return next(filter(None, (tool.missing() for tool in self.tools)), None)

    def check(self) -> None:
        """Run the client's own tests and checks.

        Raises:
            Broken: one of them fails.
        """
        for command in self.checks:
            told = run(command, PROJECT)
            if told is not None:
                raise Broken(f"`{' '.join(command)}` fails:\n{told}")

    def built(self, out: Path) -> Built:
        """Build the driver into a folder, which must not be there.

        Raises:
            Broken: it cannot be built.
        """
        if self.command is not None:
            return Built(self.name, self.command)
        out.mkdir(parents=True)
        told = run((str(self.folder / "build"), str(out)), self.folder)
        if told is not None:
            raise Broken(f"the driver in {self.name} cannot be built:\n{told}")
        return Built(self.name, (str(out / "driver"),))


def run(command: tuple[str, ...], folder: Path) -> str | None:
    """Run a program to its end; return what it said if it failed."""
    done = subprocess.run(
        command,
        cwd=folder,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=BUILD_TIMEOUT_S,
        check=False,
    )
    return done.stdout if done.returncode else None


_NPM = ("npm", "--prefix", "clients/node", "--silent")

LANGUAGES = (
    Language("python", command=(sys.executable, "-m", "tests.polyglot.python.driver")),
    Language(
        "go",
        (Tool(("go", "version"), (1, 25)),),
        checks=(
            ("make", "-C", "clients/go", "check", "test"),
            # The driver is a module of its own.
            ("go", "-C", "tests/polyglot/go", "vet", "./..."),
        ),
    ),
    Language(
        "node",
        (Tool(("node", "--version"), (20, 19)), Tool(("npm", "--version"), (9,))),
        checks=(
            (*_NPM, "ci", "--ignore-scripts"),
            (*_NPM, "run", "check"),
            (*_NPM, "test"),
        ),
    ),
    Language(
        "java",
        (Tool(("javac", "-version"), (17,)), Tool(("mvn", "-version"), (3, 8))),
        checks=(("mvn", "--batch-mode", "--quiet", "--file", "clients/java/pom.xml", "verify"),),
    ),
)


def refuse_unless_there(language: Language) -> None:
    """Skip what needs a language whose tools are not here; fail where CI has to have them."""
    reason = language.missing()
    if reason is None:
        return
    message = f"no driver in {language.name}: {reason}"
    if os.environ.get("CI"):
        pytest.fail(message, pytrace=False)
    pytest.skip(message)


if __name__ == "__main__":
    for each in LANGUAGES:
        if why := each.missing():
            sys.stdout.write(f"{each.name}: {why}\n")
