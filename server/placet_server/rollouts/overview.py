"""What all nodes together say: how a candidate fares, and who runs what."""

from __future__ import annotations

import datetime
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from placet_engine.items import Revision
from placet_engine.rollouts import guards
from placet_engine.rollouts.record import Reading, Rollout
from placet_server.clock import Clock
from placet_server.errors import TenantUnknown
from placet_server.policies.active import Refusal
from placet_server.rollouts.shadow import MAX_EXAMPLES, Document, StepKey, step_of
from placet_server.rollouts.standings import (
    NODES,
    REPORTS,
    SAMPLES,
    Findings,
    NodeSamples,
    Standing,
    newest_examples,
)
from placet_server.store.contract import CommitSummary, Notice, Store


@dataclass(frozen=True, slots=True, kw_only=True)
class Progress:
    """How a rollout's candidate fares."""

    readings: tuple[Reading, ...]
    acknowledged: int
    """Nodes that have taken the candidate in."""
    rejected: int
    pending: int
    """Nodes that have not said yet."""
    changed_answers: int
    examples: tuple[Document, ...]
    """Requests that change their answer, newest first."""
    refusals: tuple[tuple[str, str, Refusal], ...]
    """Node, region and what it could not compile."""

    def findings(self, rollout: Rollout, now: datetime.datetime) -> Findings:
        """Return what is kept of it when the rollout is rolled back."""
        return Findings(
            rollout_id=rollout.id,
            time=now,
            changed_answers=self.changed_answers,
            examples=self.examples,
            refusals=self.refusals,
        )


@dataclass(frozen=True, slots=True)
class Seen:
    """What nodes had put up at one moment: of all rollouts, since it is read once for all."""

    nodes: Sequence[Standing]
    samples: Sequence[Notice]

    def progress(self, owner: str, rollout: Rollout) -> Progress:
        """Return how the candidate of a rollout fares in its step."""
        revision = Revision(rollout.candidate_revision)
        refusals = [
            (node, refusal) for node in self.nodes for refusal in node.refuses(owner, revision)
        ]
        rejecting = {node.node for node, _ in refusals}
        pending = sum(node.revision < revision for node in self.nodes)
        key = StepKey(rollout.id, step_of(rollout))
        measured = [
            NodeSamples.from_notice(notice)
            for notice in self.samples
            if notice.body["rollout"] == rollout.id
        ]
        of_step = [samples for samples in measured if samples.step == key]
        samples = guards.together(one.samples for one in of_step)
        return Progress(
            readings=tuple(guards.read(rollout.plan, samples, rejections=len(rejecting))),
            acknowledged=len(self.nodes) - pending - len(rejecting),
            rejected=len(rejecting),
            pending=pending,
            changed_answers=sum(one.samples.changed_answers for one in measured),
            examples=newest_examples(of_step or measured, MAX_EXAMPLES),
            refusals=tuple((node.node, node.region, refusal) for node, refusal in refusals),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeRevision:
    """What one node decides a tenant's requests by."""

    standing: Standing
    revision: Revision
    """The tenant's newest revision that the node has come to."""
    lag_s: float
    """How long the tenant's newest revision has been there without being in force on the node."""
    propagation_s: float | None
    """From the commit of ``revision`` to its enforcement; None when the node no longer knows."""
    refusal: Refusal | None


class Overview:
    """Reads what nodes put up.

    Args:
        store: where.
        clock: tells who has been silent for too long.
        lease_s: how long that is.
    """

    def __init__(self, *, store: Store, clock: Clock, lease_s: float) -> None:
        self._store = store
        self._clock = clock
        self._lease = datetime.timedelta(seconds=lease_s)

    async def nodes(self) -> list[Standing]:
        """Return the nodes that are there."""
        oldest = self._clock.now() - self._lease
        return [
            Standing.from_notice(notice)
            for notice in await self._store.notices(NODES)
            if notice.time >= oldest
        ]

    async def look(self) -> Seen:
        """Return what nodes say now of every rollout that is under way."""
        return Seen(await self.nodes(), await self._store.notices(SAMPLES))

    async def findings(self, rollout_ids: Collection[str]) -> dict[str, Findings]:
        """Return what was seen of rollouts that were rolled back, as far as it is still there."""
        if not rollout_ids:
            return {}
        return {
            notice.name: Findings.from_notice(notice)
            for notice in await self._store.notices(REPORTS)
            if notice.name in rollout_ids
        }

    async def node_revisions(
        self, tenant: str, *, region: str = ""
    ) -> tuple[Revision, list[NodeRevision]]:
        """Return a tenant's newest revision, and what each node decides its requests by.

        Nodes are in order of region and name.

        Raises:
            TenantUnknown: nobody published anything for the tenant.
        """
        newest = await self._store.history(tenant, limit=_HISTORY)
        if not newest:
            raise TenantUnknown(tenant or "the platform")
        nodes = [node for node in await self.nodes() if region in ("", node.region)]
        nodes.sort(key=lambda node: (node.region, node.node))
        return newest[0].revision, [self._of_node(tenant, node, newest) for node in nodes]

    def _of_node(self, tenant: str, node: Standing, newest: list[CommitSummary]) -> NodeRevision:
        # A refusal without a tenant is everybody's. That of a revision of the platform's for one
        # tenant is that tenant's and the platform's: it speaks of the tenant's policies.
        refusals = [
            refusal
            for refusal in node.refusals
            if tenant in (refusal.tenant, refusal.owner) or not refusal.tenant
        ]
        refused = {refusal.revision for refusal in refusals}
        reached = [
            commit
            for commit in newest
            if commit.revision <= node.revision and commit.revision not in refused
        ]
        in_force = reached[0] if reached else newest[-1]
        lag_s = 0.0
        if in_force is not newest[0]:
            behind = newest[newest.index(in_force) - 1]
            lag_s = max((self._clock.now() - behind.time).total_seconds(), 0.0)
        enforced = node.enforced.get(in_force.revision)
        return NodeRevision(
            standing=node,
            revision=in_force.revision,
            lag_s=lag_s,
            propagation_s=max((enforced - in_force.time).total_seconds(), 0.0)
            if enforced is not None
            else None,
            refusal=refusals[0] if refusals else None,
        )


_HISTORY = 100
"""How far a node may be behind and still be told apart from one that is further behind."""
