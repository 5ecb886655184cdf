from __future__ import annotations

import itertools
import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from placet.cli.main import run
from tests.cli.shell import Result, Shell, is_setting, serving


@pytest.fixture
def shell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Shell:
    """Runs commands in an empty folder, with nothing set."""
    monkeypatch.chdir(tmp_path)
    for name in list(os.environ):
        if is_setting(name):
            monkeypatch.delenv(name)

    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level

    def call(*arguments: object) -> Result:
        capfd.readouterr()
        code = run([str(argument) for argument in arguments])
        captured = capfd.readouterr()
        # What a server sets up for its process is not for this one.
        root.handlers[:] = handlers
        root.setLevel(level)
        logging.captureWarnings(False)
        assert "Traceback" not in captured.out + captured.err
        return Result(code, captured.out, captured.err)

    return call


@pytest.fixture(scope="session")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Address of a real server; each test has a tenant of its own there."""
    folder = tmp_path_factory.mktemp("server")
    with serving(folder, "--store", "memory", "--node", "test-node") as (address, process):
        yield address
        result = process.end()
    assert result.code == 0
    assert "Traceback" not in result.err


_numbers = itertools.count(1)


@pytest.fixture
def tenant() -> str:
    """A tenant nobody else has."""
    return f"tenant-{next(_numbers)}"


@pytest.fixture
def at_server(server: str, tenant: str, monkeypatch: pytest.MonkeyPatch, shell: Shell) -> Shell:
    """Runs commands that talk to the server, about the tenant."""
    monkeypatch.setenv("PLACET_ADDRESS", server)
    monkeypatch.setenv("PLACET_TENANT", tenant)
    return shell


@pytest.fixture
def starter(shell: Shell, tmp_path: Path) -> Path:
    """The starter folder, made by `placet init` where commands run."""
    assert shell("init").code == 0
    return tmp_path
