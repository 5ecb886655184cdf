from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import pytest

from bench.failures import CannotStart
from bench.machine import Cores, choose_cores, cpu_seconds, describe, memory_bytes, pinned
from bench.servers import Variant, free_address, running, running_placet

EVERYWHERE = Cores(frozenset(os.sched_getaffinity(0)), frozenset(os.sched_getaffinity(0)))


def test_server_that_ends_is_reported_with_what_it_said(tmp_path: Path) -> None:
    command = (sys.executable, "-c", "raise SystemExit('no such option')")

    with (
        pytest.raises(CannotStart, match=r"toy ended with code 1: no such option"),
        running("toy", command, address=free_address(), cores=EVERYWHERE.all, folder=tmp_path),
    ):
        pass


def test_server_that_is_not_there_is_reported(tmp_path: Path) -> None:
    command = (str(tmp_path / "nothing"),)

    with (
        pytest.raises(CannotStart, match="No such file"),
        running("toy", command, address=free_address(), cores=EVERYWHERE.all, folder=tmp_path),
    ):
        pass


def test_placet_runs_on_its_core_and_is_gone_afterwards(tmp_path: Path) -> None:
    cores = choose_cores()

    with running_placet(Variant("grpc", ""), cores, tmp_path) as server:
        affinity = os.sched_getaffinity(server.pid)
        memory = server.memory_bytes()

    assert cores.server == affinity
    assert memory > 10_000_000
    with pytest.raises(ProcessLookupError):
        os.kill(server.pid, 0)


def test_unknown_options_of_a_variant_are_a_reason_to_skip_it(tmp_path: Path) -> None:
    variant = Variant("odd", "", ("--no-such-option",))

    with (
        pytest.raises(CannotStart, match="no such option"),
        running_placet(variant, EVERYWHERE, tmp_path),
    ):
        pass


def test_cores_are_given_back() -> None:
    before = os.sched_getaffinity(0)

    with pinned(frozenset([min(before)])):
        assert {min(before)} == os.sched_getaffinity(0)

    assert before == os.sched_getaffinity(0)


def test_machine_is_described() -> None:
    described = describe(EVERYWHERE)

    assert {"cpu", "cores", "kernel", "python", "packages", "pinned"} < set(described)
    assert memory_bytes(os.getpid()) > 0
    assert 0 == memory_bytes(2**30)


def test_processor_time_is_of_the_process() -> None:
    before, own = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() - own < 0.05:
        pass

    # The kernel counts in hundredths.
    assert 0.03 <= cpu_seconds(os.getpid()) - before
    assert 0.0 == cpu_seconds(2**30)
