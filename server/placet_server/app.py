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
from pathlib import Path

from placet_engine import native
from placet_engine.cache import DecisionCache
from placet_engine.compiling import Compiler
from placet_engine.placement.nodes import NodeRole, Registration
from placet_engine.rollouts.plan import Guard, GuardKind, PlanDefaults
from placet_server.admission.control import AdmissionControl, Limits
from placet_server.api.admitting import observe_admission
from placet_server.api.asking import HealthAsker
from placet_server.api.decision_records import DecisionReporter, masked_reader, read_asked
from placet_server.api.encoding import CACHED, lasting_part
from placet_server.api.evaluate import EvaluateService
from placet_server.api.node import NodeService
from placet_server.api.policy import PolicyService
from placet_server.api.requests import read_reported
from placet_server.api.residency import ResidencyGuard
from placet_server.api.rollout import RolloutService
from placet_server.api.server import ApiServer, Services
from placet_server.api.subscribe import SubscribeService
from placet_server.api.topology import TopologyService
from placet_server.api.topology_nodes import TopologyNodes
from placet_server.api.topology_watching import TopologyWatching
from placet_server.clock import Clock, SystemClock
from placet_server.config import Config, ConfigError, RolloutsConfig
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
from placet_server.regions.node_settings import NodeSettingsKeeper
from placet_server.regions.nodes import NodeView
from placet_server.regions.observing import observe_membership
from placet_server.regions.own_condition import OwnCondition
from placet_server.regions.placing import Placer
from placet_server.rollouts.controller import RolloutController
from placet_server.rollouts.driver import RolloutDriver, Timing
from placet_server.rollouts.observing import RolloutTelemetry
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.shadow import ShadowMeter
from placet_server.store.contract import Store
from placet_server.store.memory import MemoryStore
from placet_server.store.sqlite import SqliteStore
from placet_server.telemetry.decision_log.opening import masker_of
from placet_server.telemetry.running import NodeTelemetry, placet_version, running_telemetry
from placet_server.tls.credentials import upstream_credentials
from placet_server.tls.opening import Tls, check_upstream

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """A running node."""

    address: str
    """``host:port`` it serves on."""
    store: Store
    active: ActivePolicies
    decider: Decider
    publisher: Publisher
    hub: Hub
    admission: AdmissionControl
    api: ApiServer
    callers: Callers | None
    """Knows who calls. None: everybody may do everything."""
    tls: Tls | None
    telemetry: NodeTelemetry
    evaluate: EvaluateService
    membership: Membership

    async def drain(self) -> None:
        """Take no more calls; return when those under way are done, or out of time."""
        self.membership.drain()
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
    clock, is_given = clock or SystemClock(), listening is not None
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
        check_upstream(config.tls, clock.now())
        # Who stands behind Envoy is reached by nobody else, and that shows the certificate.
        credentials = tls.credentials() if tls and not listening.is_behind_envoy else None
        if identity is None and not _is_loopback(config.server.listen):
            log.warning(
                "whoever reaches this server may do everything; see identity.access",
                extra={"address": config.server.listen},
            )
        store = await _open_store(config)
        stack.push_async_callback(store.aclose)
        executor = stack.enter_context(
            ThreadPoolExecutor(config.server.compile_threads, thread_name_prefix="compile")
        )
        compiler = Compiler()
        residency = Residency(regions)
        audience = Audience(config.topology.max_watchers)
        view = NodeView(audience.news)
        directory = Directory(residency, Endpoints(view, regions))
        active = ActivePolicies(clock, node, directory.refusal)
        hub = Hub(
            max_subscriptions=config.subscribe.max_subscriptions,
            max_waiting=config.subscribe.max_waiting,
        )
        feed = Feed(
            store=store,
            compiler=compiler,
            executor=executor,
            active=active,
            hub=hub,
            residency=residency,
            max_window_commits=config.subscribe.max_window_commits,
            telemetry=telemetry.propagation,
        )
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
        publisher = Publisher(
            store=store,
            compiler=compiler,
            executor=executor,
            active=active,
            clock=clock,
            telemetry=telemetry.propagation,
        )
        admission = AdmissionControl(_limits(config), clock.monotonic)
        observe_admission(telemetry.metrics, admission)
        controller = RolloutController(store=store, publisher=publisher, active=active, clock=clock)
        overview = Overview(store=store, clock=clock, lease_s=config.rollouts.node_lease_s)
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
        driver = RolloutDriver(
            store=store,
            active=active,
            controller=controller,
            overview=overview,
            meter=meter,
            clock=clock,
            node=node,
            region=region,
            timing=Timing(
                tick_s=config.rollouts.tick_s,
                report_s=config.rollouts.report_s,
                lease_s=config.rollouts.node_lease_s,
            ),
            telemetry=rollout_telemetry,
        )
        rollouts = RolloutService(
            controller=controller,
            overview=overview,
            active=active,
            store=store,
            clock=clock,
            defaults=_plan_defaults(config.rollouts),
        )
        asker = HealthAsker(lambda: upstream_credentials(config.tls, clock.now()))
        if tls is not None:
            tls.renewed.append(asker.connect_anew)
        membership = Membership(
            Registration(
                id=node,
                instance=secrets.token_hex(8),
                region=region,
                role=NodeRole.CONTROL,
                version=placet_version(),
            ),
            store=store,
            active=active,
            view=view,
            audience=audience,
            asker=asker,
            clock=clock,
            config=config.topology,
        )
        observe_membership(telemetry.metrics, membership, audience)
        topology = TopologyService(
            directory=directory,
            placer=Placer(store=store, residency=residency, active=active, clock=clock),
            active=active,
        )
        services = Services(
            evaluate=EvaluateService(
                decider=decider,
                active=active,
                admission=admission,
                executor=executor,
                reporter=DecisionReporter(telemetry.decisions, telemetry.decision_log, meter),
            ),
            policy=PolicyService(
                publisher=publisher, store=store, executor=executor, rollouts=rollouts
            ),
            rollout=rollouts,
            subscribe=SubscribeService(
                active=active,
                feed=feed,
                hub=hub,
                clock=clock,
                directory=directory,
                store_id=store.store_id,
                heartbeat_s=config.subscribe.heartbeat_s,
            ),
            node=NodeService(
                cache=cache,
                active=active,
                node=node,
                region=region,
                start_time=clock.now(),
            ),
            topology=topology,
            topology_nodes=TopologyNodes(
                view=view,
                registrar=membership.registrar,
                settings=NodeSettingsKeeper(store, clock),
                follower=membership.follower,
                active=active,
                regions=regions,
            ),
            topology_watching=TopologyWatching(
                topology=topology, view=view, audience=audience, clock=clock
            ),
        )
        for running, name in (
            (feed.run(), "feed"),
            (driver.run(), "rollouts"),
            (membership.run(), "topology"),
            *(identity.tasks() if identity is not None else ()),
            *(tls.tasks() if tls is not None else ()),
        ):
            _run(stack, running, name)
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
        host, _, _ = config.server.listen.rpartition(":")
        stack.push_async_callback(membership.leave)
        port = await api.start()
        address = (listening.public or listening.address) if is_given else f"{host}:{port}"
        advertised = config.server.advertise or reachable(address)
        if not advertised:
            log.warning(
                "nobody is sent here, since a wildcard is no address; set server.advertise",
                extra={"address": address},
            )
        condition = OwnCondition(admission=admission, hub=hub, active=active, clock=clock)
        joined = membership.join(advertised, condition=condition, follow=api.turn_away)
        _run(stack, joined, "membership")
        stack.push_async_callback(api.drain)
        # First of all: whoever routes calls is to know before there is nobody to take them.
        stack.callback(membership.drain)
        log.info(
            "serving",
            extra={"address": address, "revision": active.revision, "path": native.path()},
        )
        yield Node(
            address=address,
            store=store,
            active=active,
            decider=decider,
            publisher=publisher,
            hub=hub,
            admission=admission,
            api=api,
            callers=identity.callers if identity is not None else None,
            tls=tls,
            telemetry=telemetry,
            evaluate=services.evaluate,
            membership=membership,
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
