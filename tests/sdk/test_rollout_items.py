"""Rollouts as those see them who follow or list a tenant's items."""

from __future__ import annotations

import placet
from placet import Canary, CandidateEdits, ChangeSet, ItemKey, ItemKind, Policy, Rollout
from placet_server.testing import running_server

TENANT = "acme"
ALLOW = Policy(id="all", cedar="permit(principal, action, resource);")
EDIT = Policy(id="edit", cedar='permit(principal, action == Action::"edit", resource);')


async def test_a_rollout_does_not_break_a_subscription() -> None:
    """It came as items of kinds the client did not know, and each stream ended with the first."""
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=10) as client,
    ):
        await client.publish(ChangeSet(policies=[ALLOW]))
        async with client.subscribe() as subscription:
            await subscription.next_event(timeout_s=10)
            edits = ChangeSet(policies=[EDIT], deletes=[ItemKey(ItemKind.POLICY, "all")])
            started = await client.start_rollout(edits, plan=Canary())
            delta = await subscription.next_event(timeout_s=10)
            ended = await client.roll_back(started.rollout)
            last = await subscription.next_event(timeout_s=10)
        async with client.subscribe() as subscription:
            snapshot = await subscription.next_event(timeout_s=10)

    assert isinstance(delta, placet.Delta)
    by_kind = {item.key.kind: item.body for item in delta.upserts}
    assert {ItemKind.ROLLOUT, ItemKind.CANDIDATE} == set(by_kind)
    rollout, candidate = by_kind[ItemKind.ROLLOUT], by_kind[ItemKind.CANDIDATE]
    assert isinstance(rollout, Rollout)
    assert (started.rollout.id, placet.RolloutState.RUNNING, 10) == (
        rollout.id,
        rollout.state,
        rollout.share_percent,
    )
    assert isinstance(candidate, CandidateEdits)
    assert ["edit"] == [policy.id for policy in candidate.policies]
    assert (ItemKey(ItemKind.POLICY, "all"),) == candidate.deletes
    assert isinstance(last, placet.Delta)
    assert placet.RolloutState.ROLLED_BACK is ended.state
    assert ((TENANT, ItemKey(ItemKind.CANDIDATE)),) == last.removals
    assert isinstance(snapshot, placet.Snapshot)
    assert {ItemKind.POLICY, ItemKind.ROLLOUT} == {item.key.kind for item in snapshot.items}


async def test_rollouts_are_listed_only_to_who_asks_for_them() -> None:
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=10) as client,
    ):
        await client.publish(ChangeSet(policies=[ALLOW]))
        await client.start_rollout(ChangeSet(policies=[EDIT]), plan=Canary())

        usual = [item.key async for item in client.list_items()]
        asked = [item.key.kind async for item in client.list_items(kinds=[ItemKind.ROLLOUT])]
        (candidate,) = await client.get([ItemKey(ItemKind.CANDIDATE)])

    assert [ALLOW.key] == usual
    assert [ItemKind.ROLLOUT] == asked
    assert isinstance(candidate.body, CandidateEdits)
    assert not ItemKind.CANDIDATE.is_content
    assert ItemKind.POLICY.is_content
