"""What every node has, where it comes from, and what a role adds to it."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass

import grpc

from placet_engine.compiling import Compiler
from placet_engine.placement.nodes import Registration
from placet_server.api.policy import PolicyService
from placet_server.api.rollout import RolloutService
from placet_server.api.topology import Places
from placet_server.api.topology_nodes import KeepsSettings
from placet_server.clock import Clock
from placet_server.config import Config
from placet_server.policies.active import ActivePolicies
from placet_server.policies.publisher import Publisher
from placet_server.policies.residency import Residency
from placet_server.policies.source import Lineage, Source
from placet_server.regions.audience import Audience
from placet_server.regions.directory import Directory
from placet_server.regions.membership import Membership
from placet_server.regions.nodes import NodeView
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.reporting import Board
from placet_server.store.contract import Store
from placet_server.telemetry.running import NodeTelemetry
from placet_server.tls.opening import PeerTls
from placet_server.upstream.following import Following
from placet_server.upstream.membership import UpstreamMembership


@dataclass(frozen=True, slots=True, kw_only=True)
class Origin:
    """Where what a node has comes from: its store, or the nodes it follows."""

    source: Source
    lineage: Callable[[], Lineage]
    staleness_s: Callable[[], float]
    store: Store | None = None
    following: Following | None = None

    @property
    def has_state(self) -> bool:
        """Whether there is anything to serve yet."""
        return self.following is None or self.following.source.has_state


@dataclass(frozen=True, slots=True, kw_only=True)
class Role:
    """What a node does beside answering: with a store, or in the place of that."""

    board: Board
    running: Sequence[tuple[Coroutine[None, None, None], str]]
    membership: Membership | UpstreamMembership
    placer: Places
    settings: KeepsSettings
    publisher: Publisher | None = None
    policy: PolicyService | None = None
    rollout: RolloutService | None = None
    in_their_place: tuple[grpc.GenericRpcHandler, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What every node has, and roles are made of."""

    config: Config
    clock: Clock
    telemetry: NodeTelemetry
    rollout_telemetry: RolloutTelemetry
    active: ActivePolicies
    residency: Residency
    directory: Directory
    peers: PeerTls
    view: NodeView
    audience: Audience
    compiler: Compiler
    executor: Executor
    registration: Registration
