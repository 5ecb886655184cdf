"""The grpcurls there are: the one of the development environment, and a newer one.

The first asks for `grpc.reflection.v1alpha` only; the second for `grpc.reflection.v1` first.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.cli.shell import BIN
from tests.polyglot.languages import Language, Tool, refuse_unless_there, run

_TOOLS = Path(__file__).resolve().parents[1] / "tools"
_PACKAGE = "github.com/fullstorydev/grpcurl/cmd/grpcurl"
_GO = Language("go", (Tool(("go", "version"), (1, 25)),))


@dataclass(frozen=True, slots=True)
class Grpcurl:
    """One of them."""

    version: str
    reflection: str
    """The version of reflection that it asks for where there are both."""

    def path(self, folder: Path) -> Path:
        """Return where it is, built into a folder if need be. Skips the test without Go."""
        if self is INSTALLED:
            return BIN / "grpcurl"
        refuse_unless_there(_GO)
        path = folder / "grpcurl"
        build = ("go", "build", "-ldflags", f"-X main.version=v{self.version}", "-o", str(path))
        told = run((*build, _PACKAGE), _TOOLS)
        if told is not None:
            pytest.fail(f"grpcurl cannot be built:\n{told}", pytrace=False)
        return path


INSTALLED = Grpcurl("1.8.6", "v1alpha")
BUILT = Grpcurl("1.9.4", "v1")
