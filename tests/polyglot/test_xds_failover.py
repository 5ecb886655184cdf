"""Nodes that die, hang and are drained under xDS clients of each language, and control planes too.

Two clients of the language call at once: the small one, which no fault may cost a call, and the
generated stub on gRPC's own channel, for which all but one of the same holds: its calls under way
on a node that hangs end by their own deadline. How long callers wait is bounded here very
generously, and measured in `bench/`.
"""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

import placet
from tests.faults.test_failover import fleet
from tests.polyglot.languages import Built
from tests.polyglot.scenes import Load, loads

pytestmark = pytest.mark.polyglot

TARGET = "xds:///placet"
LONGEST_GAP_MS = 10_000
ALL = ("node-0", "node-1", "node-2")


async def ended_well(load: Load) -> None:
    done = await load.end()
    assert not load.failures_of(done), (load.name, done, load.failures)
    assert done["longest_gap_ms"] < LONGEST_GAP_MS, (load.name, done)


async def test_a_node_that_is_killed_costs_no_call_and_comes_back(
    built: Built, tmp_path: Path
) -> None:
    async with fleet(tmp_path) as nodes:
        control = [nodes[0].address]
        async with loads(built, TARGET, folder=tmp_path, servers=control) as both:
            for load in both:
                await load.until_answered_by(*ALL)
            await nodes[2].signal(signal.SIGKILL)
            for load in both:
                await load.until_answered_by("node-0", "node-1")
            await nodes[2].start()
            for load in both:
                await load.until_answered_by(*ALL)
            for load in both:
                await ended_well(load)


async def test_a_node_that_hangs_costs_the_small_client_no_call(
    built: Built, tmp_path: Path
) -> None:
    async with fleet(tmp_path) as nodes:
        control = [nodes[0].address]
        async with loads(built, TARGET, folder=tmp_path, servers=control) as (small, stock):
            for load in (small, stock):
                await load.until_answered_by(*ALL)
            await nodes[2].signal(signal.SIGSTOP)
            for load in (small, stock):
                await load.until_answered_by("node-0", "node-1")
            await nodes[2].signal(signal.SIGCONT)
            for load in (small, stock):
                await load.until_answered_by(*ALL)
            await ended_well(small)
            done = await stock.end()
            # One for each worker, who has no other call meanwhile.
            assert {"DEADLINE_EXCEEDED"} >= done["codes"].keys(), done
            assert done["failed"] <= 4, done


async def test_a_node_that_is_drained_or_stopped_costs_no_call(
    built: Built, tmp_path: Path
) -> None:
    async with fleet(tmp_path) as nodes:
        control = [nodes[0].address]
        async with loads(built, TARGET, folder=tmp_path, servers=control) as both:
            for load in both:
                await load.until_answered_by(*ALL)
            async with placet.aio.Client(nodes[0].address) as operator:
                await operator.update_node("node-1", draining=True)
            await nodes[2].signal(signal.SIGTERM)
            for load in both:
                await load.until_answered_by("node-0")
            for load in both:
                await ended_well(load)


async def test_clients_go_on_when_their_control_plane_is_killed(
    built: Built, tmp_path: Path
) -> None:
    """And at another, when that is named as well."""
    async with fleet(tmp_path) as nodes:
        control = [node.address for node in nodes[:2]]
        async with loads(built, TARGET, folder=tmp_path, servers=control) as both:
            for load in both:
                await load.until_answered_by(*ALL)
            await nodes[0].signal(signal.SIGKILL)
            for load in both:
                await load.until_answered_by("node-1", "node-2")
            for load in both:
                await ended_well(load)
