"""Where what a node has comes from: the store that is opened, or the nodes that are followed."""

from __future__ import annotations

from contextlib import AsyncExitStack

from placet_server.clock import Clock
from placet_server.config import Config
from placet_server.policies.source import Lineage
from placet_server.roles.parts import Origin
from placet_server.stores import open_store
from placet_server.telemetry.running import NodeTelemetry
from placet_server.tls.opening import PeerTls
from placet_server.upstream.following import following_upstreams
from placet_server.upstream.observing import observe_upstream


async def opened_origin(
    config: Config,
    stack: AsyncExitStack,
    clock: Clock,
    telemetry: NodeTelemetry,
    node: str,
    peers: PeerTls,
) -> Origin:
    if config.upstream.addresses:
        following = await stack.enter_async_context(
            following_upstreams(
                config.upstream,
                node=node,
                region=config.server.region,
                clock=clock,
                peers=peers,
            )
        )
        observe_upstream(telemetry.metrics, following)
        return Origin(
            source=following.source,
            lineage=following.lineage,
            staleness_s=following.source.staleness_s,
            following=following,
        )
    store = await open_store(config.store)
    stack.push_async_callback(store.aclose)
    lineage = Lineage(store.store_id, (node,))
    return Origin(source=store, lineage=lambda: lineage, staleness_s=lambda: 0.0, store=store)
