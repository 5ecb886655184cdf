"""The composition root: every part is made and wired here, and nowhere else."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import secrets
import socket
from collections.abc import AsyncIterator, Coroutine
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass

from placet_engine import native
from placet_engine.cache import DecisionCache
from placet_engine.compiling import Compiler
from placet_engine.placement.nodes import NodeRole, Registration
from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.admitting import observe_admission
from placet_server.api.decision_records import DecisionReporter, masked_reader, read_asked
from placet_server.api.discovery import DiscoveryService
from placet_server.api.encoding import CACHED, lasting_part
from placet_server.api.evaluate import EvaluateService
from placet_server.api.node import NodeService
from placet_server.api.requests import read_reported
from placet_server.api.residency import ResidencyGuard
from placet_server.api.server import ApiServer, Services
from placet_server.api.subscribe import SubscribeService
from placet_server.api.topology import TopologyService
from placet_server.api.topology_nodes import TopologyNodes
from placet_server.api.topology_watching import TopologyWatching
from placet_server.clock import Clock, SystemClock
from placet_server.config import Config, ConfigError
from placet_server.decisions.decider import Decided, Decider
from placet_server.identity.callers import Callers
from placet_server.identity.opening import Identity
from placet_server.listening import Listening, reachable
from placet_server.policies.active import ActivePolicies
from placet_server.policies.feed import Feed
from placet_server.policies.hub import Hub
from placet_server.policies.observing import observe_node
from placet_server.policies.publisher import Publisher
from placet_server.policies.residency import Residency
from placet_server.regions.audience import Audience
from placet_server.regions.directory import Directory
from placet_server.regions.endpoints import Endpoints
from placet_server.regions.file import load_regions
from placet_server.regions.membership import Membership
from placet_server.regions.nodes import NodeView
from placet_server.regions.own_condition import OwnCondition
from placet_server.roles.control import control
from placet_server.roles.edge import edge
from placet_server.roles.origin import opened_origin
from placet_server.roles.parts import Origin, Parts, Role
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.reporting import RolloutReporter, Timing
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.store.contract import Store
from placet_server.telemetry.decision_log.opening import masker_of
from placet_server.telemetry.running import NodeTelemetry, placet_version, running_telemetry
from placet_server.tls.opening import PeerTls, Tls
from placet_server.upstream.following import Following
from placet_server.xds.plane import ControlPlane

log = logging.getLogger(__name__)


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
    callers: Callers | None
    """Knows who calls. None: everybody may do everything."""
    tls: Tls | None
    telemetry: NodeTelemetry
    evaluate: EvaluateService
    origin: Origin
    role: Role

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

    @property
    def membership(self) -> Membership:
        """What a node with a store knows of nodes. Only of one that has one."""
        assert isinstance(self.role.membership, Membership)
        return self.role.membership

    async def drain(self) -> None:
        """Take no more calls; return when those under way are done, or out of time."""
        self.role.membership.drain()
        await self.api.drain()


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
    plain = [config.telemetry.prometheus_listen]
    if not config.tls.cert:
        plain.append(config.server.listen)
    for address in filter(None, plain):
        _refuse_open_address(address, config.server.allow_insecure)
    clock = clock or SystemClock()
    is_given = listening is not None
    node, region = config.server.node or socket.gethostname(), config.server.region
    regions = load_regions(config.topology.file, here=region)
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
        listening = listening or Listening(address=config.server.listen)
        identity = Identity(config, clock, telemetry.metrics) if config.identity.access else None
        tls = Tls(config.tls, clock, telemetry.metrics) if config.tls.cert else None
        # Who stands behind Envoy is reached by nobody else, and that shows the certificate.
        credentials = tls.credentials() if tls and not listening.is_behind_envoy else None
        if identity is None and not _is_loopback(config.server.listen):
            log.warning(
                "whoever reaches this server may do everything; see identity.access",
                extra={"address": config.server.listen},
            )
        peers = PeerTls(config.tls, clock, tls)
        origin = await opened_origin(config, stack, clock, telemetry, node, peers)
        executor = stack.enter_context(
            ThreadPoolExecutor(config.server.compile_threads, thread_name_prefix="compile")
        )
        compiler = Compiler()
        residency = Residency(regions)
        audience = Audience(config.topology.max_watchers)
        view = NodeView(membership=[audience.routes], loads=[audience.news])
        directory = Directory(residency, Endpoints(view, regions))
        active = ActivePolicies(clock, node, directory.refusal)
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
            residency=residency,
            max_window_commits=config.subscribe.max_window_commits,
            source_staleness_s=origin.staleness_s,
            source_told=origin.following.source.told if origin.following else None,
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
        feed.when_gone(lambda tenant: compiler.forget())
        feed.when_gone(decider.forget)
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
        feed.when_gone(meter.forget)
        rollout_telemetry = RolloutTelemetry(telemetry.metrics, active)
        rollout_telemetry.observe(telemetry.metrics, meter)
        parts = Parts(
            config=config,
            clock=clock,
            telemetry=telemetry,
            rollout_telemetry=rollout_telemetry,
            active=active,
            residency=residency,
            directory=directory,
            peers=peers,
            view=view,
            audience=audience,
            compiler=compiler,
            executor=executor,
            registration=Registration(
                id=node,
                instance=secrets.token_hex(8),
                region=region,
                role=NodeRole.CONTROL if origin.store is not None else NodeRole.EDGE,
                version=placet_version(),
            ),
        )
        if origin.store is not None:
            role = control(parts, origin.store)
        else:
            assert origin.following is not None
            role = edge(parts, origin.following)
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
        topology = TopologyService(
            directory=directory,
            placer=role.placer,
            active=active,
        )
        plane = ControlPlane(
            config.xds,
            directory=directory,
            view=view,
            is_known=topology.is_known,
            audience=audience,
        )
        plane.observe(telemetry.metrics)
        services = Services(
            evaluate=EvaluateService(
                decider=decider,
                active=active,
                admission=admission,
                executor=executor,
                reporter=DecisionReporter(telemetry.decisions, telemetry.decision_log, meter),
            ),
            subscribe=SubscribeService(
                active=active,
                feed=feed,
                hub=hub,
                clock=clock,
                directory=directory,
                lineage=origin.lineage,
                heartbeat_s=config.subscribe.heartbeat_s,
            ),
            node=NodeService(
                cache=cache,
                active=active,
                plane=plane,
                node=node,
                region=region,
                start_time=clock.now(),
            ),
            topology=topology,
            topology_nodes=TopologyNodes(
                view=view,
                registrar=role.membership.registrar,
                settings=role.settings,
                follower=role.membership.follower,
                active=active,
                regions=regions,
            ),
            topology_watching=TopologyWatching(
                topology=topology, view=view, audience=audience, clock=clock
            ),
            discovery=DiscoveryService(
                plane,
                active=active,
                informed=role.membership.informed,
                residency=residency,
                audience=audience,
                clock=clock,
                node=node,
            ),
            policy=role.policy,
            rollout=role.rollout,
            in_their_place=role.in_their_place,
        )
        api = ApiServer(
            listening=listening,
            services=services,
            hub=hub,
            audience=audience,
            admission=admission,
            guard=ResidencyGuard(directory),
            write_timeout_s=config.subscribe.write_timeout_s,
            drain_s=config.server.drain_s,
            telemetry=telemetry.rpc,
            callers=identity.callers if identity is not None else None,
            credentials=credentials,
        )
        for running, name in (
            (_fed(origin, feed, api), "feed"),
            (reporter.run(), "rollouts"),
            (role.membership.run(), "topology"),
            (plane.run(), "xds"),
            *role.running,
            *(identity.tasks() if identity is not None else ()),
            *(tls.tasks() if tls is not None else ()),
        ):
            _run(stack, running, name)
        host, _, _ = config.server.listen.rpartition(":")
        stack.push_async_callback(role.membership.leave)
        port = await api.start(is_ready=origin.has_state)
        address = (listening.public or listening.address) if is_given else f"{host}:{port}"
        advertised = config.server.advertise or reachable(address)
        if not advertised:
            log.warning(
                "nobody is sent here, since a wildcard is no address; set server.advertise",
                extra={"address": address},
            )
        condition = OwnCondition(admission=admission, hub=hub, active=active, clock=clock)
        joined = role.membership.join(advertised, condition=condition, follow=api.turn_away)
        _run(stack, joined, "membership")
        stack.push_async_callback(api.drain)
        # First of all: whoever routes calls is to know before there is nobody to take them.
        stack.callback(role.membership.drain)
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
            callers=identity.callers if identity is not None else None,
            tls=tls,
            telemetry=telemetry,
            evaluate=services.evaluate,
            origin=origin,
            role=role,
        )


async def _fed(origin: Origin, feed: Feed, api: ApiServer) -> None:
    """Keep the node at its source's head, from when there is one."""
    if origin.following is not None and not feed.is_loaded:
        await origin.following.source.wait_for_state()
        await feed.load()
        await api.be_ready()
    await feed.run()


def _limits(config: Config) -> Limits:
    limits = config.limits
    return Limits(
        target_wait_s=limits.target_wait_s,
        max_calls=limits.max_calls,
        max_management_calls=limits.max_management_calls,
        tenant_decisions_per_second=limits.tenant_decisions_per_second,
        tenant_burst_s=limits.tenant_burst_s,
    )


def _run(stack: AsyncExitStack, running: Coroutine[None, None, None], name: str) -> None:
    """Have something run as long as the node does."""
    task = asyncio.create_task(running, name=name)
    task.add_done_callback(_tell_of_mistake)
    stack.push_async_callback(_ended, task)


def _tell_of_mistake(task: asyncio.Task[None]) -> None:
    """Have it in the log at once when a task is over that should run as long as the node does."""
    if not task.cancelled() and (error := task.exception()) is not None:
        log.critical("a task of the node ended: %s", task.get_name(), exc_info=error)


async def _ended(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def _refuse_open_address(address: str, allow_insecure: bool) -> None:
    """Keep plain-text ports on this machine unless somebody says they know better."""
    if not (allow_insecure or _is_loopback(address)):
        raise ConfigError(
            f"`{address}` can be reached by others and is plain text; listen on 127.0.0.1, give "
            "the server TLS (tls.cert), or set server.allow_insecure where the network is yours"
        )


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
