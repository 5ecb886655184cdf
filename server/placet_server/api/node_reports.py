"""What nodes tell of themselves: which revisions they decide by, and what they measured.

A control node puts it on the store's board. A node without a store passes it on upstream, its
own among it.
"""

from __future__ import annotations

from typing import Any, Protocol

import grpc
from google.protobuf import duration_pb2

from placet.v1 import rollout_pb2
from placet.v1 import rollout_service_pb2 as _pb
from placet.wire import LIMITS, Reader, duration, seconds, timestamp
from placet_engine.items import Revision
from placet_engine.rollouts.guards import LATENCY_BOUNDS_S, Samples
from placet_server.api.changed_answers import changed_answer_from_wire, changed_answer_to_wire
from placet_server.clock import Clock
from placet_server.policies.active import Refusal
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.shadow import MAX_EXAMPLES, StepKey
from placet_server.rollouts.standings import MAX_REFUSALS, NodeSamples, Standing
from placet_server.store.contract import Store

_Context = grpc.aio.ServicerContext[Any, Any]

_MAX_ACKNOWLEDGEMENTS = 1000
_MAX_SAMPLES = 100
_REMEMBERED_REVISIONS = 64


class NodeReports(Protocol):
    """Where what nodes tell goes."""

    async def acknowledge(self, given: _pb.AcknowledgeRevisionRequest) -> None:
        """Take down which revisions nodes decide by. It was checked."""
        ...

    async def measured(self, given: _pb.ReportRolloutSamplesRequest) -> None:
        """Take in what nodes measured. It was checked."""
        ...


class ReportRpcs:
    """The rpcs by which nodes tell of themselves, wherever that goes."""

    def __init__(self, reports: NodeReports) -> None:
        self._reports = reports

    async def AcknowledgeRevision(
        self, request: _pb.AcknowledgeRevisionRequest, context: _Context
    ) -> _pb.AcknowledgeRevisionResponse:
        """Take down which revisions nodes decide by, and which they rejected."""
        check_acknowledgements(request)
        await self._reports.acknowledge(request)
        return _pb.AcknowledgeRevisionResponse()

    async def ReportRolloutSamples(
        self, request: _pb.ReportRolloutSamplesRequest, context: _Context
    ) -> _pb.ReportRolloutSamplesResponse:
        """Take in what nodes measured."""
        check_samples(request)
        await self._reports.measured(request)
        return _pb.ReportRolloutSamplesResponse()


class StoredReports:
    """On a control node: to the store's board of notices."""

    def __init__(self, *, store: Store, overview: Overview, clock: Clock) -> None:
        self._store = store
        self._overview = overview
        self._clock = clock

    async def acknowledge(self, given: _pb.AcknowledgeRevisionRequest) -> None:
        """See ``NodeReports``. A late older acknowledgement changes nothing."""
        known = {standing.node: standing for standing in await self._overview.nodes()}
        for one in given.acknowledgements:
            former = known.get(one.node)
            if former is not None and former.revision > one.revision:
                continue
            standing = _standing_from_wire(one, former, self._clock)
            await self._store.put_up(standing.to_notice())

    async def measured(self, given: _pb.ReportRolloutSamplesRequest) -> None:
        """See ``NodeReports``."""
        for one in given.samples:
            await self._store.put_up(_samples_from_wire(one, self._clock).to_notice())


class ReportingBoard:
    """Implements ``Board`` for a node that tells others like it is told."""

    def __init__(self, reports: NodeReports) -> None:
        self._reports = reports

    async def put_standing(self, standing: Standing) -> None:
        """See ``Board``."""
        await self._reports.acknowledge(
            _pb.AcknowledgeRevisionRequest(acknowledgements=[_standing_to_wire(standing)])
        )

    async def put_samples(self, samples: NodeSamples) -> None:
        """See ``Board``."""
        await self._reports.measured(
            _pb.ReportRolloutSamplesRequest(samples=[_samples_to_wire(samples)])
        )


def check_acknowledgements(request: _pb.AcknowledgeRevisionRequest) -> None:
    """See that all of it can be taken down.

    Raises:
        Malformed: it cannot.
    """
    reader = Reader()
    if len(request.acknowledgements) > _MAX_ACKNOWLEDGEMENTS:
        reader.refuse("acknowledgements", f"has more than {_MAX_ACKNOWLEDGEMENTS} entries")
    for index, given in enumerate(request.acknowledgements):
        field = f"acknowledgements[{index}]"
        if not given.node:
            reader.refuse(f"{field}.node", "is missing; say which node it is")
        if len(given.rejections) > MAX_REFUSALS:
            reader.refuse(f"{field}.rejections", f"has more than {MAX_REFUSALS} entries")
    reader.finish()


def check_samples(request: _pb.ReportRolloutSamplesRequest) -> None:
    """See that all of it can be taken in.

    Raises:
        Malformed: it cannot.
    """
    reader = Reader()
    if len(request.samples) > _MAX_SAMPLES:
        reader.refuse("samples", f"has more than {_MAX_SAMPLES} entries; send fewer at a time")
    for index, given in enumerate(request.samples):
        for name in ("rollout_id", "node"):
            if not getattr(given, name):
                reader.refuse(f"samples[{index}].{name}", "is missing")
        if len(given.examples) > MAX_EXAMPLES:
            reader.refuse(f"samples[{index}].examples", f"has more than {MAX_EXAMPLES} entries")
    reader.finish()


# ------------------------------------------------------------------------------- to the wire


def rejection_to_wire(refusal: Refusal, *, node: str, region: str) -> rollout_pb2.RevisionRejection:
    """Return what a node refused as a message."""
    return rollout_pb2.RevisionRejection(
        node=node,
        region=region,
        tenant=refusal.tenant,
        revision=refusal.revision,
        reason=refusal.reason,
        message=refusal.message,
        time=timestamp(refusal.time),
        of_platform=refusal.owner != refusal.tenant,
    )


def _standing_to_wire(standing: Standing) -> rollout_pb2.RevisionAcknowledgement:
    return rollout_pb2.RevisionAcknowledgement(
        node=standing.node,
        region=standing.region,
        revision=standing.revision,
        enforce_time=timestamp(standing.enforce_time),
        rejections=(
            rejection_to_wire(refusal, node=standing.node, region=standing.region)
            for refusal in standing.refusals[:MAX_REFUSALS]
        ),
    )


def _samples_to_wire(told: NodeSamples) -> rollout_pb2.RolloutSamples:
    samples = told.samples
    node, _, instance = told.node.rpartition(" ")
    return rollout_pb2.RolloutSamples(
        rollout_id=told.step.rollout_id,
        step=told.step.step,
        node=node,
        instance=instance,
        decisions=samples.decisions,
        errors=samples.errors,
        latencies=(
            rollout_pb2.LatencyBucket(bound=duration(bound_s), count=count)
            for bound_s, count in sorted(samples.latencies.items())
        ),
        shadowed=samples.shadowed,
        stable_denials=samples.stable_denials,
        candidate_denials=samples.candidate_denials,
        changed_answers=samples.changed_answers,
        examples=map(changed_answer_to_wire, told.examples),
    )


# ----------------------------------------------------------------------------- from the wire


def _standing_from_wire(
    given: rollout_pb2.RevisionAcknowledgement, former: Standing | None, clock: Clock
) -> Standing:
    now = clock.now()
    revision = Revision(given.revision)
    enforce_time = given.enforce_time.ToDatetime(tzinfo=now.tzinfo)
    enforced = {**(former.enforced if former else {}), revision: enforce_time}
    return Standing(
        node=given.node,
        region=given.region,
        time=now,
        revision=revision,
        enforce_time=enforce_time,
        enforced={key: enforced[key] for key in sorted(enforced)[-_REMEMBERED_REVISIONS:]},
        refusals=tuple(
            Refusal(
                owner="" if rejection.of_platform else rejection.tenant,
                tenant=rejection.tenant,
                revision=Revision(rejection.revision),
                reason=rejection.reason,
                message=rejection.message[: LIMITS.max_string_chars],
                time=rejection.time.ToDatetime(tzinfo=now.tzinfo),
            )
            for rejection in given.rejections
        ),
    )


def _samples_from_wire(given: rollout_pb2.RolloutSamples, clock: Clock) -> NodeSamples:
    return NodeSamples(
        node=f"{given.node} {given.instance}".rstrip(),
        time=clock.now(),
        step=StepKey(given.rollout_id, given.step),
        samples=Samples(
            decisions=given.decisions,
            errors=given.errors,
            latencies={_bound_s(bucket.bound): bucket.count for bucket in given.latencies},
            shadowed=given.shadowed,
            stable_denials=given.stable_denials,
            candidate_denials=given.candidate_denials,
            changed_answers=given.changed_answers,
        ),
        examples=tuple(map(changed_answer_from_wire, given.examples)),
    )


def _bound_s(bound: duration_pb2.Duration) -> float:
    """Return a bucket's bound as it is here: on its way it was rounded to nanoseconds."""
    sent_s = seconds(bound)
    return _BOUNDS_S.get(sent_s, sent_s)


_BOUNDS_S = {seconds(duration(bound_s)): bound_s for bound_s in LATENCY_BOUNDS_S}
