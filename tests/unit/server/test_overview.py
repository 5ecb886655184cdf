"""What is made of the notices that nodes put up."""

from __future__ import annotations

import datetime

import pytest

from placet_engine.changes import Edit
from placet_engine.items import NO_REVISION, PLATFORM, Policy, Revision
from placet_server.policies.active import Refusal
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.standings import Standing
from placet_server.store.contract import CommitInfo
from placet_server.store.memory import MemoryStore
from placet_server.testing import ManualClock
from tests.unit.engine import make

LEASE_S = 15.0


class Board:
    """A store that owners published to, with nodes that put up what they made of it."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.store = MemoryStore()
        self.overview = Overview(store=self.store, clock=self.clock, lease_s=LEASE_S)

    async def publish(self, owner: str, *, expected: Revision = NO_REVISION) -> Revision:
        body = Policy(id="view", cedar=make.ANYBODY)
        commit = await self.store.append(
            owner,
            [Edit(body.key, body)],
            expected=expected,
            info=CommitInfo(time=self.clock.now()),
        )
        return commit.revision

    async def stand(self, node: str, revision: Revision, *refusals: Refusal) -> None:
        now = self.clock.now()
        standing = Standing(
            node=node,
            region="local",
            time=now,
            revision=revision,
            enforce_time=now,
            enforced={revision: now},
            refusals=refusals,
        )
        await self.store.put_up(standing.to_notice())


def refusal(owner: str, tenant: str, revision: Revision) -> Refusal:
    return Refusal(
        owner=owner,
        tenant=tenant,
        revision=revision,
        reason="POLICY_SYNTAX",
        message="too new",
        time=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC),
    )


@pytest.mark.parametrize(
    ("owner", "tenant", "concerned"),
    [
        # With its message, which names the policies of the tenant it is about.
        (PLATFORM, "other", {"other", PLATFORM}),
        (PLATFORM, "acme", {"acme", PLATFORM}),
        ("other", "other", {"other"}),
        # As nodes tell it that know no more: nobody's policies compile with it.
        (PLATFORM, PLATFORM, {"acme", "other", PLATFORM}),
    ],
)
async def test_a_refusal_is_shown_to_those_it_concerns(
    owner: str, tenant: str, concerned: set[str]
) -> None:
    """A revision of the platform's that one tenant's policies do not take is nobody else's."""
    board = Board()
    await board.publish("acme")
    await board.publish("other")
    head = await board.publish(PLATFORM)
    await board.stand("edge-1", head, refusal(owner, tenant, head))

    shown = {}
    for asked in ("acme", "other", PLATFORM):
        _, (node,) = await board.overview.node_revisions(asked)
        shown[asked] = node.refusal

    assert {asked for asked, refused in shown.items() if refused is not None} == concerned


async def test_what_a_node_refuses_is_not_in_force_on_it() -> None:
    """Of several refusals only the first was looked at."""
    board = Board()
    platform = await board.publish(PLATFORM)
    taken = await board.publish("acme")
    refused = await board.publish("acme", expected=taken)
    await board.stand(
        "edge-1",
        refused,
        refusal(PLATFORM, "acme", platform),
        refusal("acme", "acme", refused),
    )

    newest, (node,) = await board.overview.node_revisions("acme")

    assert (node.revision, newest) == (taken, refused)
