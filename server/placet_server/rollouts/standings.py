"""What nodes tell about themselves, as notices on the store's board, and what others read there."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from placet_engine.items import Revision
from placet_engine.rollouts.guards import Samples
from placet_engine.rollouts.plan import time_from_json, time_to_json
from placet_server.policies.active import Refusal
from placet_server.rollouts.shadow import Document, StepKey
from placet_server.store.contract import Notice

NODES = "nodes"
SAMPLES = "rollout samples"
REPORTS = "rollout reports"

MAX_REFUSALS = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """Which revision one node has come to, and what it could not take in."""

    node: str
    region: str
    time: datetime.datetime
    """When it said so, by its own clock."""
    revision: Revision
    """The node has taken in every revision up to this one, but for those it refused."""
    enforce_time: datetime.datetime
    """When it began to decide by it."""
    enforced: Mapping[Revision, datetime.datetime] = field(default_factory=dict)
    """The same of the newest revisions."""
    refusals: tuple[Refusal, ...] = ()

    def to_notice(self) -> Notice:
        """Return the form that is put up."""
        body = {
            "region": self.region,
            "revision": self.revision,
            "enforce_time": time_to_json(self.enforce_time),
            "enforced": {
                str(revision): time_to_json(time) for revision, time in self.enforced.items()
            },
            "refusals": [_to_document(refusal) for refusal in self.refusals[:MAX_REFUSALS]],
        }
        return Notice(topic=NODES, name=self.node, time=self.time, body=body)

    @classmethod
    def from_notice(cls, notice: Notice) -> Standing:
        """Read what :meth:`to_notice` wrote."""
        body = notice.body
        return cls(
            node=notice.name,
            region=body["region"],
            time=notice.time,
            revision=Revision(body["revision"]),
            enforce_time=_time(body["enforce_time"]),
            enforced={
                Revision(int(revision)): _time(time) for revision, time in body["enforced"].items()
            },
            refusals=tuple(_refusal(document) for document in body["refusals"]),
        )

    def refuses(self, owner: str, revision: Revision) -> list[Refusal]:
        """Return what the node could not compile of a revision of an owner's."""
        return [
            refusal
            for refusal in self.refusals
            if (refusal.owner, refusal.revision) == (owner, revision)
        ]


def _to_document(refusal: Refusal) -> Document:
    return {**asdict(refusal), "time": time_to_json(refusal.time)}


def _refusal(document: Mapping[str, Any]) -> Refusal:
    return Refusal(
        owner=document["owner"],
        tenant=document["tenant"],
        revision=Revision(document["revision"]),
        reason=document["reason"],
        message=document["message"],
        time=_time(document["time"]),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeSamples:
    """What one node measured in one step of a rollout. Totals since it began."""

    node: str
    time: datetime.datetime
    step: StepKey
    samples: Samples
    examples: tuple[Document, ...] = ()
    """Requests that changed their answer, newest first."""

    def to_notice(self) -> Notice:
        """Return the form that is put up."""
        counts = self.samples
        body = {
            "rollout": self.step.rollout_id,
            "step": self.step.step,
            "node": self.node,
            "counts": [
                counts.decisions,
                counts.errors,
                counts.shadowed,
                counts.stable_denials,
                counts.candidate_denials,
                counts.changed_answers,
            ],
            "latencies": [[bound_s, count] for bound_s, count in counts.latencies.items()],
            "examples": list(self.examples),
        }
        name = f"{self.step.rollout_id} {self.step.step} {self.node}"
        return Notice(topic=SAMPLES, name=name, time=self.time, body=body)

    @classmethod
    def from_notice(cls, notice: Notice) -> NodeSamples:
        """Read what :meth:`to_notice` wrote."""
        body = notice.body
        decisions, errors, shadowed, stable, candidate, changed = body["counts"]
        return cls(
            node=body["node"],
            time=notice.time,
            step=StepKey(body["rollout"], body["step"]),
            samples=Samples(
                decisions=decisions,
                errors=errors,
                latencies=dict(body["latencies"]),
                shadowed=shadowed,
                stable_denials=stable,
                candidate_denials=candidate,
                changed_answers=changed,
            ),
            examples=tuple(body["examples"]),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What was seen of a rollout that was rolled back, beside what its record says."""

    rollout_id: str
    time: datetime.datetime
    changed_answers: int
    examples: tuple[Document, ...]
    refusals: tuple[tuple[str, str, Refusal], ...]
    """Node, region, and what it refused."""

    def to_notice(self) -> Notice:
        """Return the form that is put up."""
        body = {
            "changed_answers": self.changed_answers,
            "examples": list(self.examples),
            "refusals": [
                {"node": node, "region": region, **_to_document(refusal)}
                for node, region, refusal in self.refusals[:MAX_REFUSALS]
            ],
        }
        return Notice(topic=REPORTS, name=self.rollout_id, time=self.time, body=body)

    @classmethod
    def from_notice(cls, notice: Notice) -> Findings:
        """Read what :meth:`to_notice` wrote."""
        return cls(
            rollout_id=notice.name,
            time=notice.time,
            changed_answers=notice.body["changed_answers"],
            examples=tuple(notice.body["examples"]),
            refusals=tuple(
                (document["node"], document["region"], _refusal(document))
                for document in notice.body["refusals"]
            ),
        )


def newest_examples(samples: Iterable[NodeSamples], limit: int) -> tuple[Document, ...]:
    """Return examples out of what several nodes measured, those of each in turn."""
    queues = [list(one.examples) for one in samples]
    found: list[Document] = []
    while any(queues) and len(found) < limit:
        found.extend(queue.pop(0) for queue in queues if queue)
    return tuple(found[:limit])


def _time(text: str) -> datetime.datetime:
    time = time_from_json(text)
    assert time is not None
    return time
