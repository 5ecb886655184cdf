"""Each test that asks for a grpcurl runs with both; the one that needs Go by `make polyglot`."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.shell import PATIENCE_S
from tests.grpcurl.binaries import BUILT, INSTALLED, Grpcurl


@dataclass(frozen=True, slots=True)
class Installed:
    """A grpcurl that can be run."""

    kind: Grpcurl
    path: Path

    async def run(self, *arguments: str) -> tuple[int, str]:
        """Run it against a server in plain text; return how it ended, and what it printed."""
        process = await asyncio.create_subprocess_exec(
            self.path,
            *("-plaintext", "-max-time", f"{PATIENCE_S / 2}"),
            *arguments,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
        )
        printed, _ = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        assert process.returncode is not None
        return process.returncode, printed.decode()


@pytest.fixture(
    scope="session",
    name="grpcurl",
    params=[INSTALLED, pytest.param(BUILT, marks=pytest.mark.polyglot)],
    ids=lambda kind: kind.version,
)
def grpcurl_fixture(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Installed:
    kind: Grpcurl = request.param
    return Installed(kind, kind.path(tmp_path_factory.mktemp("grpcurl")))
