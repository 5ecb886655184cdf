"""For tests, the project's and its users': a real server on a free port, and a clock to turn."""

from __future__ import annotations

import datetime
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

from placet_engine.placement.regions import LOCAL
from placet_server.app import Node, running_node
from placet_server.clock import Clock
from placet_server.config import (
    CacheConfig,
    Config,
    IdentityConfig,
    LimitsConfig,
    LogConfig,
    RolloutsConfig,
    ServerConfig,
    StoreConfig,
    SubscribeConfig,
    TelemetryConfig,
    TlsConfig,
    TopologyConfig,
    UpstreamConfig,
    XdsConfig,
)


@asynccontextmanager
async def running_server(
    *,
    path: Path | None = None,
    clock: Clock | None = None,
    subscribe: SubscribeConfig | None = None,
    cache: CacheConfig | None = None,
    limits: LimitsConfig | None = None,
    drain_s: float = 1.0,
    telemetry: TelemetryConfig | None = None,
    rollouts: RolloutsConfig | None = None,
    tls: TlsConfig | None = None,
    identity: IdentityConfig | None = None,
    node: str = "test-node",
    region: str = LOCAL,
    topology: TopologyConfig | None = None,
    xds: XdsConfig | None = None,
    listen: str = "127.0.0.1:0",
) -> AsyncIterator[Node]:
    """Run a real server on a free port of this machine for the length of the block.

    With a ``path`` the store is SQLite's in that file, otherwise one in memory. Without
    ``limits`` no call is refused for having to wait: client and server share one loop here, and
    whoever asks for much at once has to wait.
    """
    config = Config(
        server=ServerConfig(listen=listen, node=node, region=region, drain_s=drain_s),
        store=StoreConfig(kind="sqlite", path=str(path)) if path else StoreConfig(kind="memory"),
        subscribe=subscribe or SubscribeConfig(heartbeat_s=0.2),
        cache=cache or CacheConfig(),
        limits=limits or LimitsConfig(target_wait_s=0),
        log=LogConfig(),
        telemetry=telemetry or TelemetryConfig(),
        rollouts=rollouts or RolloutsConfig(tick_s=0.02),
        tls=tls or TlsConfig(),
        identity=identity or IdentityConfig(),
        topology=topology or TopologyConfig(),
        xds=xds or XdsConfig(),
    )
    async with running_node(config, clock=clock) as running:
        yield running


@asynccontextmanager
async def running_edge(
    *upstreams: str,
    state_path: Path | None = None,
    clock: Clock | None = None,
    upstream: UpstreamConfig | None = None,
    subscribe: SubscribeConfig | None = None,
    limits: LimitsConfig | None = None,
    telemetry: TelemetryConfig | None = None,
    rollouts: RolloutsConfig | None = None,
    node: str = "test-edge",
    region: str = LOCAL,
    topology: TopologyConfig | None = None,
    tls: TlsConfig | None = None,
    identity: IdentityConfig | None = None,
    listen: str = "127.0.0.1:0",
) -> AsyncIterator[Node]:
    """Run a real node that follows others, as :func:`running_server` runs one with a store.

    Without a ``state_path`` it keeps nothing. ``upstream`` is what else is configured of it.
    """
    config = Config(
        server=ServerConfig(listen=listen, node=node, region=region, drain_s=1.0),
        upstream=replace(
            upstream or UpstreamConfig(state_every_s=0.05),
            addresses=upstreams,
            state_path=str(state_path or ""),
        ),
        subscribe=subscribe or SubscribeConfig(heartbeat_s=0.2),
        limits=limits or LimitsConfig(target_wait_s=0),
        telemetry=telemetry or TelemetryConfig(),
        rollouts=rollouts or RolloutsConfig(tick_s=0.02),
        topology=topology or TopologyConfig(),
        tls=tls or TlsConfig(),
        identity=identity or IdentityConfig(),
    )
    async with running_node(config, clock=clock) as running:
        yield running


class ManualClock:
    """A clock that stands still until it is told."""

    def __init__(self, start: datetime.datetime | None = None) -> None:
        self._now = start or datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC)
        self._monotonic = 1000.0

    def now(self) -> datetime.datetime:
        """Return the time of day it was set to."""
        return self._now

    def monotonic(self) -> float:
        """Return the seconds it was moved by, from 1000."""
        return self._monotonic

    def advance(self, seconds: float) -> None:
        """Let time pass."""
        self._now += datetime.timedelta(seconds=seconds)
        self._monotonic += seconds
