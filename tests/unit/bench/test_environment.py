from __future__ import annotations

import subprocess
import sys

import pytest

from tests.unit.bench.conftest import MISSING, NEEDED


def test_report_and_peers_can_be_tested() -> None:
    if MISSING:
        pytest.skip(f"{', '.join(MISSING)} not here: only `make bench` installs it")


def test_gate_needs_none_of_what_only_the_bench_installs() -> None:
    """CI runs the gate in the environment of the tests."""
    hidden = "".join(f"sys.modules[{name!r}] = None; " for name in NEEDED)

    subprocess.run((sys.executable, "-c", f"import sys; {hidden}import bench.gate"), check=True)
