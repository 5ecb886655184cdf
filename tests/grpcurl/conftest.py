"""Each test that asks for a grpcurl runs with both; the one that needs Go by `make polyglot`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.grpcurl.binaries import BUILT, INSTALLED, Grpcurl


@dataclass(frozen=True, slots=True)
class Installed:
    """A grpcurl that can be run."""

    kind: Grpcurl
    path: Path


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
