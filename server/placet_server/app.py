"""The composition root: every part is made and wired here, and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import socket
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import grpc

from placet_engine import native
from placet_engine.cache import DecisionCache
from placet_engine.compiling import Compiler
from placet_engine.rollouts.plan import Guard, GuardKind, PlanDefaults
from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.admitting import observe_admission
from placet_server.api.decision_records import DecisionReporter, masked_reader, read_asked
from placet_server.api.edge import edge_handlers
from placet_server.api.encoding import CACHED, lasting_part
from placet_server.api.evaluate import EvaluateService
from placet_server.api.node import NodeService
from placet_server.api.node_reports import ReportingBoard, StoredReports
from placet_server.api.policy import PolicyService
from placet_server.api.requests import read_reported
from placet_server.api.rollout import RolloutService
from placet_server.api.server import ApiServer, Services
from placet_server.api.subscribe import SubscribeService
from placet_server.clock import Clock, SystemClock
from placet_server.config import Config, ConfigError, RolloutsConfig
from placet_server.decisions.decider import Decided, Decider
from placet_server.listening import Listening
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import Hub
from placet_server.policies.observing import observe_node
from placet_server.policies.publisher import Publisher
from placet_server.policies.source import Lineage, Source
from placet_server.rollouts.controller import RolloutController
from placet_server.rollouts.driver import RolloutDriver
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.reporting import Board, RolloutReporter, StoreBoard, Timing
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.store.contract import Store
from placet_server.store.memory import MemoryStore
from placet_server.store.sqlite import SqliteStore
from placet_server.telemetry.decision_log.opening import masker_of
from placet_server.telemetry.running import NodeTelemetry, running_telemetry
from placet_server.upstream.following import Following, following_upstreams
from placet_server.upstream.observing import observe_upstream
from placet_server.upstream.reports import UpstreamReports

log = logging.getLogger(__name__)

Run = Callable[[], Coroutine[object, object, None]]
"""Runs until cancelled."""


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    address: str
    """``host:port`` it serves on."""
    active: ActivePolicies
    decider: Decider
    hub: Hub
    admission: AdmissionControl
    api: ApiServer
    telemetry: NodeTelemetry
    evaluate: EvaluateService
    origin: _Origin
    role: _Role

    @property
    def store(self) -> Store:
        """The store. Only of a node that has one."""
        assert self.origin.store is not None
        return self.origin.store

    @property
    def publisher(self) -> Publisher:
        """What publishes to the store. Only of a node that has one."""
        assert self.role.publisher is not None
        return self.role.publisher

    @property
    def following(self) -> Following:
        """What is followed. Only of a node without a store."""
        assert self.origin.following is not None
        return self.origin.following

    async def drain(self) -> None:
        """Take no more calls; return when those under way are done, or out of time."""
        await self.api.drain()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Origin:
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
class _Role:
    """What a node does beside answering: with a store, or in the place of that."""

    board: Board
    running: Sequence[tuple[str, Run]]
    publisher: Publisher | None = None
    policy: PolicyService | None = None
    rollout: RolloutService | None = None
    in_their_place: tuple[grpc.GenericRpcHandler, ...] = ()


@asynccontextmanager
async def running_node(
    config: Config, *, clock: Clock | None = None, listening: Listening | None = None
) -> AsyncIterator[Node]:
    """Run a node for the length of the block; at its end, drain it.

    Args:
        config: what it is like.
        clock: where it gets the time from. None: the machine.
        listening: where it listens itself, if it is one of several workers, or stands behind
            another process, that serve on the configured address.

    Raises:
        ConfigError: the configuration asks for what must not be.
        AddressUnavailable: the address cannot be listened on.
        StoreError: the store cannot be opened.
    """
    for address in filter(None, (config.server.listen, config.telemetry.prometheus_listen)):
        _refuse_open_address(address, config.server.allow_insecure)
    clock = clock or SystemClock()
    node, region = config.server.node or socket.gethostname(), config.server.region
    async with AsyncExitStack() as stack:
        telemetry = await stack.enter_async_context(
            running_telemetry(
                config.telemetry,
                node=node,
                region=region,
                read_request=read_asked,
                now=clock.now,
            )
        )
        origin = await _opened_origin(config, stack, clock, telemetry, node, region)
        executor = stack.enter_context(
            ThreadPoolExecutor(config.server.compile_threads, thread_name_prefix="compile")
        )
        compiler = Compiler()
        active = ActivePolicies(clock, node)
        hub = Hub(
            max_subscriptions=config.subscribe.max_subscriptions,
            max_waiting=config.subscribe.max_waiting,
        )
        feed = Feed(
            source=origin.source,
            compiler=compiler,
            executor=executor,
            active=active,
            hub=hub,
            max_window_commits=config.subscribe.max_window_commits,
            source_staleness_s=origin.staleness_s,
            telemetry=telemetry.propagation,
        )
        if origin.has_state:
            await feed.load()
        cache: DecisionCache[Decided] = DecisionCache(
            max_bytes=config.cache.max_bytes, ttl_s=config.cache.ttl_s, monotonic=clock.monotonic
        )
        decider = Decider(
            active,
            cache,
            lasting_part(node=node, region=region),
            CACHED,
        )
        observe_node(telemetry.metrics, active=active, cache=cache, hub=hub)
        admission = AdmissionControl(_limits(config), clock.monotonic)
        observe_admission(telemetry.metrics, admission)
        meter = ShadowMeter(
            active=active,
            read=read_reported,
            describe=masked_reader(masker_of(config.telemetry)),
            per_second=config.rollouts.shadow_per_second,
            monotonic=clock.monotonic,
        )
        rollout_telemetry = RolloutTelemetry(telemetry.metrics, active)
        rollout_telemetry.observe(telemetry.metrics, meter)
        if origin.store is not None:
            role = _control(
                config,
                origin.store,
                clock,
                telemetry,
                active,
                compiler,
                executor,
                rollout_telemetry,
            )
        else:
            assert origin.following is not None
            role = _edge(config, origin.following, telemetry)
        reporter = RolloutReporter(
            board=role.board,
            active=active,
            meter=meter,
            clock=clock,
            node=node,
            region=region,
            timing=Timing(
                tick_s=config.rollouts.tick_s,
                report_s=config.rollouts.report_s,
                lease_s=config.rollouts.node_lease_s,
            ),
        )
        services = Services(
            evaluate=EvaluateService(
                decider=decider,
                active=active,
                admission=admission,
                executor=executor,
                reporter=DecisionReporter(telemetry.decisions, telemetry.decision_log, meter),
            ),
            policy=role.policy,
            rollout=role.rollout,
            in_their_place=role.in_their_place,
            subscribe=SubscribeService(
                active=active,
                feed=feed,
                hub=hub,
                clock=clock,
                lineage=origin.lineage,
                heartbeat_s=config.subscribe.heartbeat_s,
            ),
            node=NodeService(
                cache=cache,
                active=active,
                node=node,
                region=region,
                start_time=clock.now(),
            ),
        )
        api = ApiServer(
            listening=listening or Listening(address=config.server.listen),
            services=services,
            hub=hub,
            admission=admission,
            write_timeout_s=config.subscribe.write_timeout_s,
            drain_s=config.server.drain_s,
            telemetry=telemetry.rpc,
        )
        running: list[tuple[str, Run]] = [
            ("feed", partial(_feed, origin, feed, api)),
            ("rollouts", reporter.run),
            *role.running,
        ]
        for name, run in running:
            task = asyncio.create_task(run(), name=name)
            task.add_done_callback(_tell_of_mistake)
            stack.push_async_callback(_ended, task)
        host, _, _ = config.server.listen.rpartition(":")
        port = await api.start(is_ready=origin.has_state)
        stack.push_async_callback(api.drain)
        address = config.server.listen if listening else f"{host}:{port}"
        log.info(
            "serving",
            extra={"address": address, "revision": active.revision, "path": native.path()},
        )
        yield Node(
            address=address,
            active=active,
            decider=decider,
            hub=hub,
            admission=admission,
            api=api,
            telemetry=telemetry,
            evaluate=services.evaluate,
            origin=origin,
            role=role,
        )


async def _opened_origin(
    config: Config,
    stack: AsyncExitStack,
    clock: Clock,
    telemetry: NodeTelemetry,
    node: str,
    region: str,
) -> _Origin:
    if config.upstream.addresses:
        following = await stack.enter_async_context(
            following_upstreams(config.upstream, node=node, region=region, clock=clock)
        )
        observe_upstream(telemetry.metrics, following)
        return _Origin(
            source=following.source,
            lineage=following.lineage,
            staleness_s=following.source.staleness_s,
            following=following,
        )
    store = await _open_store(config)
    stack.push_async_callback(store.aclose)
    lineage = Lineage(store.store_id, (node,))
    return _Origin(source=store, lineage=lambda: lineage, staleness_s=lambda: 0.0, store=store)


async def _feed(origin: _Origin, feed: Feed, api: ApiServer) -> None:
    """Keep the node at its source's head, from when there is one."""
    if origin.following is not None and not feed.is_loaded:
        await origin.following.source.wait_for_state()
        await feed.load()
        await api.be_ready()
    await feed.run()


def _control(
    config: Config,
    store: Store,
    clock: Clock,
    telemetry: NodeTelemetry,
    active: ActivePolicies,
    compiler: Compiler,
    executor: Executor,
    rollout_telemetry: RolloutTelemetry,
) -> _Role:
    """Return what only a node with a store does."""
    publisher = Publisher(
        store=store,
        compiler=compiler,
        executor=executor,
        active=active,
        clock=clock,
        telemetry=telemetry.propagation,
    )
    controller = RolloutController(store=store, publisher=publisher, active=active, clock=clock)
    overview = Overview(store=store, clock=clock, lease_s=config.rollouts.node_lease_s)
    driver = RolloutDriver(
        store=store,
        active=active,
        controller=controller,
        overview=overview,
        clock=clock,
        tick_s=config.rollouts.tick_s,
        telemetry=rollout_telemetry,
    )
    rollouts = RolloutService(
        controller=controller,
        overview=overview,
        active=active,
        store=store,
        clock=clock,
        defaults=_plan_defaults(config.rollouts),
        reports=StoredReports(store=store, overview=overview, clock=clock),
    )
    return _Role(
        board=StoreBoard(store),
        running=[("rollouts-driver", driver.run)],
        publisher=publisher,
        policy=PolicyService(
            publisher=publisher, store=store, executor=executor, rollouts=rollouts
        ),
        rollout=rollouts,
    )


def _edge(config: Config, following: Following, telemetry: NodeTelemetry) -> _Role:
    """Return what a node without a store does in the place of that."""
    reports = UpstreamReports(
        lambda: following.streams.upstream.channel, every_s=config.rollouts.tick_s
    )
    reports.observe(telemetry.metrics)
    return _Role(
        board=ReportingBoard(reports),
        running=[("upstream-reports", reports.run)],
        in_their_place=edge_handlers(lambda: config.upstream.addresses, reports),
    )


def _plan_defaults(config: RolloutsConfig) -> PlanDefaults:
    bounds = {
        GuardKind.ERROR_RATE: config.error_rate,
        GuardKind.DENY_RATE_CHANGE: config.deny_rate_change,
        GuardKind.LATENCY: config.latency_s,
        GuardKind.REJECTIONS: config.rejections,
    }
    return PlanDefaults(
        bake_s=config.bake_s,
        guards=tuple(
            Guard(kind=kind, threshold=bound, min_samples=config.min_samples)
            for kind, bound in bounds.items()
        ),
        shadow_percent=config.shadow_percent,
    )


def _limits(config: Config) -> Limits:
    limits = config.limits
    return Limits(
        target_wait_s=limits.target_wait_s,
        max_calls=limits.max_calls,
        max_management_calls=limits.max_management_calls,
        tenant_decisions_per_second=limits.tenant_decisions_per_second,
        tenant_burst_s=limits.tenant_burst_s,
    )


async def _open_store(config: Config) -> Store:
    if config.store.kind == "memory":
        return MemoryStore()
    return await SqliteStore.open(Path(config.store.path))


def _tell_of_mistake(task: asyncio.Task[None]) -> None:
    """Have it in the log at once when a task is over that should run as long as the node does."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a task of the node ended: %s", task.get_name(), exc_info=error)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _refuse_open_address(address: str, allow_insecure: bool) -> None:
    """Keep plain-text ports on this machine unless somebody says they know better."""
    host = address.rpartition(":")[0].strip("[]")
    if allow_insecure or host == "localhost":
        return
    try:
        loopback = ipaddress.ip_address(host).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise ConfigError(
            f"`{address}` can be reached by others and this server has no TLS; "
            "listen on 127.0.0.1, or set server.allow_insecure where the network is yours"
        )
