"""The role of a node with a store: it takes changes, steers rollouts and grants leases."""

from __future__ import annotations

from placet_engine.rollouts.plan import Guard, GuardKind, PlanDefaults
from placet_server.api.asking import HealthAsker
from placet_server.api.node_reports import StoredReports
from placet_server.api.policy import PolicyService
from placet_server.api.rollout import RolloutService
from placet_server.config import RolloutsConfig
from placet_server.policies.publisher import Publisher
from placet_server.regions.membership import Membership
from placet_server.regions.node_settings import NodeSettingsKeeper
from placet_server.regions.observing import observe_membership
from placet_server.regions.placing import Placer
from placet_server.roles.parts import Parts, Role
from placet_server.rollouts.controller import RolloutController
from placet_server.rollouts.driver import RolloutDriver
from placet_server.rollouts.overview import Overview
from placet_server.rollouts.reporting import StoreBoard
from placet_server.store.contract import Store


def control(parts: Parts, store: Store) -> Role:
    """Make what only a node with a store has."""
    config, clock, active = parts.config, parts.clock, parts.active
    publisher = Publisher(
        store=store,
        compiler=parts.compiler,
        executor=parts.executor,
        active=active,
        clock=clock,
        check_owner=parts.directory.check,
        telemetry=parts.telemetry.propagation,
    )
    controller = RolloutController(store=store, publisher=publisher, active=active, clock=clock)
    overview = Overview(store=store, clock=clock, lease_s=config.rollouts.node_lease_s)
    driver = RolloutDriver(
        store=store,
        active=active,
        controller=controller,
        overview=overview,
        clock=clock,
        node=parts.registration.id,
        tick_s=config.rollouts.tick_s,
        telemetry=parts.rollout_telemetry,
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
    asker = HealthAsker(parts.peers.credentials)
    parts.peers.when_renewed(asker.connect_anew)
    membership = Membership(
        parts.registration,
        store=store,
        active=active,
        view=parts.view,
        audience=parts.audience,
        asker=asker,
        clock=clock,
        config=config.topology,
    )
    observe_membership(parts.telemetry.metrics, membership, parts.audience)
    return Role(
        board=StoreBoard(store),
        running=[(driver.run(), "rollouts-driver")],
        membership=membership,
        placer=Placer(store=store, residency=parts.residency, active=active, clock=clock),
        settings=NodeSettingsKeeper(store, clock),
        publisher=publisher,
        policy=PolicyService(
            publisher=publisher, store=store, executor=parts.executor, rollouts=rollouts
        ),
        rollout=rollouts,
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
