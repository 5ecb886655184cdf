"""Placements and nodes' settings as those see them who follow everything, or one tenant."""

from __future__ import annotations

import datetime
from pathlib import Path

import placet
from placet import ChangeSet, ItemKey, ItemKind, NodeSettings, Placement, Policy, ResidencyRule
from placet.local.aio import LocalEvaluator
from placet_engine import items
from placet_engine.changes import Edit
from placet_engine.placement import residency
from placet_server.app import Node
from placet_server.store.contract import CommitInfo
from placet_server.testing import running_server

TENANT = "acme"
ALLOW = Policy(id="all", cedar="permit(principal, action, resource);")
ALSO = Policy(id="also", cedar=ALLOW.cedar)
INFO = CommitInfo(time=datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
PLACED = items.Placement(
    tenant=TENANT,
    rule=residency.ResidencyRule.ANY,
    home_region="eu-west",
    affinity_regions=("eu-central",),
)
SET = items.NodeSettings(node="eu1", weight=10)


async def _place(node: Node, *bodies: items.Placement | items.NodeSettings) -> items.Revision:
    edits = [Edit(body.key, body) for body in bodies]
    known = (await node.store.owners()).get(items.TOPOLOGY, items.NO_REVISION)
    commit = await node.store.append(items.TOPOLOGY, edits, expected=known, info=INFO)
    await node.active.wait_for(commit.revision, 10)
    return commit.revision


async def test_who_follows_everything_gets_them() -> None:
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=10) as client,
    ):
        await _place(node, SET)
        await client.publish(ChangeSet(policies=[ALLOW]))
        async with client.subscribe(tenant=placet.PLATFORM) as everything:
            snapshot = await everything.next_event(timeout_s=10)
            revision = await _place(node, PLACED)
            delta = await everything.next_event(timeout_s=10)

    assert isinstance(snapshot, placet.Snapshot)
    assert {(TENANT, ALLOW.key), (placet.TOPOLOGY, ItemKey(ItemKind.NODE_SETTINGS, "eu1"))} == {
        (item.owner, item.key) for item in snapshot.items
    }
    assert NodeSettings(node="eu1", weight=10) in [item.body for item in snapshot.items]
    assert isinstance(delta, placet.Delta)
    assert [(revision, ItemKey(ItemKind.PLACEMENT, TENANT))] == [
        (item.revision, item.key) for item in delta.upserts
    ]
    assert delta.upserts[0].body == Placement(
        tenant=TENANT,
        residency=ResidencyRule.ANY,
        home_region="eu-west",
        affinity_regions=("eu-central",),
    )


async def test_who_follows_a_tenant_or_lists_its_items_does_not() -> None:
    async with (
        running_server() as node,
        placet.aio.Client(node.address, tenant=TENANT, timeout_s=10) as client,
    ):
        await client.publish(ChangeSet(policies=[ALLOW]))
        async with (
            LocalEvaluator(node.address, tenant=TENANT) as local,
            client.subscribe() as subscription,
        ):
            snapshot = await subscription.next_event(timeout_s=10)
            await _place(node, PLACED, SET)
            published = await client.publish(ChangeSet(policies=[ALSO]))
            delta = await subscription.next_event(timeout_s=10)
            decision = await local.evaluate(
                ("User", "ann"), "read", ("Doc", "d"), min_revision=published.revision
            )
        listed = [item async for item in client.list_items(kinds=tuple(ItemKind)[1:])]

    assert isinstance(snapshot, placet.Snapshot)
    assert isinstance(delta, placet.Delta)
    seen = [*snapshot.items, *delta.upserts, *listed]
    assert {TENANT} == {item.owner for item in seen}
    assert all(item.key.kind.is_content for item in seen)
    assert decision.allowed
    assert not ItemKind.PLACEMENT.is_content
    assert not ItemKind.NODE_SETTINGS.is_content


async def test_a_node_that_starts_has_them(tmp_path: Path) -> None:
    async with running_server(path=tmp_path / "placet.db") as node:
        await _place(node, PLACED)
        await _place(node, SET)
    async with running_server(path=tmp_path / "placet.db") as node:
        bodies = [item.body for item in node.active.topology.items.values()]
        tenants = dict(node.active.tenants)

    assert [PLACED, SET] == bodies
    assert tenants == {}
