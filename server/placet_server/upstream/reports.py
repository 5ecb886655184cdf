"""Passes on what nodes tell of themselves: this node's own, and that of those who follow it.

What was told last about a node is what counts, so that nothing queues up: however long the
upstream is away, there is one thing to tell of each node, and of each step it measured. What is
lost with this process nodes tell again.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import OrderedDict
from collections.abc import Callable, Hashable
from itertools import islice
from typing import Generic, TypeVar

import grpc
import grpc.aio

from placet.v1 import rollout_pb2, rollout_service_pb2, rollout_service_pb2_grpc
from placet_server.telemetry.recorders import Metrics

log = logging.getLogger(__name__)

_pb = rollout_service_pb2
_T = TypeVar("_T")

_MAX_ACKNOWLEDGEMENTS, _MAX_SAMPLES = 1_000, 100
"""What one call takes."""
_MAX_KEPT = 20_000
_MAX_EXAMPLES_A_CALL = 100
_TIMEOUT_S = 5.0
_RETRY_MOST_S = 5.0


class _Newest(Generic[_T]):
    """What was told last under each name, up to a bound. The names told longest ago go first."""

    def __init__(self) -> None:
        self._told: OrderedDict[Hashable, _T] = OrderedDict()

    def __len__(self) -> int:
        return len(self._told)

    def put(self, name: Hashable, told: _T) -> None:
        self._told.pop(name, None)
        self._told[name] = told
        if len(self._told) > _MAX_KEPT:
            self._told.popitem(last=False)

    def first(self, count: int) -> list[tuple[Hashable, _T]]:
        return list(islice(self._told.items(), count))

    def drop(self, told: list[tuple[Hashable, _T]]) -> None:
        """Forget what was passed on, but for what was told anew meanwhile."""
        for name, one in told:
            if self._told.get(name) is one:
                del self._told[name]


class UpstreamReports:
    """Implements ``NodeReports``: takes at once, and passes on as soon as it can.

    Args:
        channel: returns the connection to whoever is followed now.
        every_s: how often it passes on what there is, in seconds.
        rng: spreads what many nodes do at the same time.
    """

    def __init__(
        self,
        channel: Callable[[], grpc.aio.Channel],
        *,
        every_s: float,
        rng: random.Random | None = None,
    ) -> None:
        self._channel = channel
        self._every_s = every_s
        self._rng = rng or random.Random()  # noqa: S311  # spreads, guards nothing
        self._acknowledgements: _Newest[rollout_pb2.RevisionAcknowledgement] = _Newest()
        self._samples: _Newest[rollout_pb2.RolloutSamples] = _Newest()
        self._news = asyncio.Event()
        self._failure = ""

    def observe(self, metrics: Metrics) -> None:
        """Have it read with the other metrics how much waits to be passed on."""
        metrics.observe(
            "placet.upstream.reports.waiting",
            "{report}",
            "What nodes told of themselves and was not passed on yet.",
            lambda: len(self._acknowledgements) + len(self._samples),
        )

    async def acknowledge(self, given: _pb.AcknowledgeRevisionRequest) -> None:
        """See ``NodeReports``."""
        for one in given.acknowledgements:
            self._acknowledgements.put(one.node, one)
        self._news.set()

    async def measured(self, given: _pb.ReportRolloutSamplesRequest) -> None:
        """See ``NodeReports``."""
        for one in given.samples:
            self._samples.put((one.rollout_id, one.step, one.node, one.instance), one)
        self._news.set()

    async def run(self) -> None:
        """Pass on what comes until cancelled."""
        pause_s = self._every_s
        while True:
            await self._news.wait()
            self._news.clear()
            try:
                await self._pass_on()
            except grpc.aio.AioRpcError as error:
                self._news.set()
                self._tell(error)
                pause_s = min(pause_s * 2, _RETRY_MOST_S)
            except Exception:  # what nodes tell must not stop in silence
                log.exception("what nodes tell could not be passed on; it is tried again")
                self._news.set()
                pause_s = _RETRY_MOST_S
            else:
                self._failure = ""
                pause_s = self._every_s
            await asyncio.sleep(pause_s * self._rng.uniform(0.5, 1.0))

    async def _pass_on(self) -> None:
        stub = rollout_service_pb2_grpc.RolloutServiceStub(self._channel())
        while acknowledged := self._acknowledgements.first(_MAX_ACKNOWLEDGEMENTS):
            await stub.AcknowledgeRevision(
                _pb.AcknowledgeRevisionRequest(acknowledgements=[one for _, one in acknowledged]),
                timeout=_TIMEOUT_S,
            )
            self._acknowledgements.drop(acknowledged)
        while measured := self._samples.first(_MAX_SAMPLES):
            await stub.ReportRolloutSamples(
                _pb.ReportRolloutSamplesRequest(samples=_shortened(measured)),
                timeout=_TIMEOUT_S,
            )
            self._samples.drop(measured)

    def _tell(self, error: grpc.aio.AioRpcError) -> None:
        """Say once why nothing is passed on."""
        why = f"{error.code().name}: {error.details()}"
        if why != self._failure:
            self._failure = why
            log.warning("what nodes tell cannot be passed on yet", extra={"reason": why})


def _shortened(
    measured: list[tuple[Hashable, rollout_pb2.RolloutSamples]],
) -> list[rollout_pb2.RolloutSamples]:
    """Leave examples out beyond those that somebody will look at: a call takes 4 MiB."""
    room = _MAX_EXAMPLES_A_CALL
    sent = []
    for _, one in measured:
        if len(one.examples) > room:
            shortened = rollout_pb2.RolloutSamples()
            shortened.CopyFrom(one)
            del shortened.examples[room:]
            one = shortened
        room -= len(one.examples)
        sent.append(one)
    return sent
