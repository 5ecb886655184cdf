"""Which nodes there are and how they fare: a state machine, moved by calls and by the clock.

It holds the leases it granted and judges them; what other control nodes tell of theirs it puts
beside these, and of two leases for one node takes the one that counts. What comes of it is in a
view. All of it lives on one event loop and waits for nothing.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from placet_engine.items import NO_REVISION, NodeSettings, Revision
from placet_engine.placement.nodes import Condition, Node, NodeHealth, NodeRole, Registration
from placet_server.clock import Clock
from placet_server.errors import LeaseGone, NodeIdTaken, TooManyNodes, UpstreamLoop
from placet_server.regions.leases import Holder, Lease, LeaseTerms
from placet_server.regions.nodes import NodeView

log = logging.getLogger(__name__)

LOST_FOR_S = 24 * 3600.0
"""How long a node that is lost stays listed."""

_UNHEARD = Condition(
    health=NodeHealth.NOT_SERVING,
    health_reason="it has registered, and not said yet how it fares",
)
_MAX_NODES = 10_000
_LEFT_FOR_S = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Granted:
    """A lease, and what is known of the node that has it."""

    node: Node
    lease_s: float


@dataclass(slots=True)
class _Held:
    """A lease of this registry's."""

    lease: Lease
    deadline_s: float
    """By the monotonic clock: when it lapses, or when a lost node is no longer listed."""


@dataclass(frozen=True, slots=True)
class _Settings:
    settings: NodeSettings
    revision: Revision


class Registry:
    """The nodes of an installation, as one control node knows them.

    Args:
        clock: tells when leases lapse.
        terms: how long they are.
        view: is kept up to date for those who read.
        max_nodes: how many leases it grants.
    """

    def __init__(
        self,
        *,
        clock: Clock,
        terms: LeaseTerms | None = None,
        view: NodeView | None = None,
        max_nodes: int = _MAX_NODES,
    ) -> None:
        self._clock = clock
        self._terms = terms or LeaseTerms()
        self._max_nodes = max_nodes
        self._held: dict[str, _Held] = {}
        self._told: dict[str, dict[str, Lease]] = {}
        self._left: dict[Holder, float] = {}
        self._failures: dict[str, str] = {}
        self._settings: dict[str, _Settings] = {}
        self.view = view or NodeView()
        """What others see of it."""
        self.lapses = 0
        """Leases that lapsed, of those granted here."""

    # -------------------------------------------------------------------------------- read

    def leases(self) -> list[Lease]:
        """Return the leases granted here, with what came of asking their nodes, to be told."""
        return [
            replace(held.lease, probe_failure=self._failure(held.lease))
            for held in self._held.values()
        ]

    def left(self) -> list[Holder]:
        """Return who gave a lease back of late, to be told."""
        return list(self._left)

    def to_probe(self, own_address: str) -> set[str]:
        """Return the addresses to ask: of those with leases from here, and of control nodes.

        Control nodes keep their own leases. That one of them is hung, others find out only by
        asking, long before its silence on the board tells them.
        """
        addresses = {
            node.registration.address
            for node in self.view.nodes.values()
            if (node.id in self._held or node.registration.role is NodeRole.CONTROL)
            and node.health is not NodeHealth.LOST
            and not node.draining
        }
        return addresses - {"", own_address}

    # ----------------------------------------------------------------------------- leases

    def register(self, registration: Registration) -> Granted:
        """Make a node known and give it a lease. The same instance may do so again.

        Raises:
            NodeIdTaken: another instance holds the id's lease.
            UpstreamLoop: what it follows leads back to it.
            TooManyNodes: there is no room for one more.
        """
        self._refuse_loop(registration)
        former = self._best(registration.id)
        is_here = former is not None and not former.is_lost
        if former is not None and is_here and former.instance != registration.instance:
            expires_s = (former.renew_time - self._clock.now()).total_seconds() + former.lease_s
            raise NodeIdTaken(registration.id, retry_after_s=max(expires_s, 0.1))
        if registration.id not in self._held and len(self._held) >= self._max_nodes:
            raise TooManyNodes(self._max_nodes)
        now = self._clock.now()
        if former is not None and is_here:
            lease = replace(former, registration=registration, renew_time=now, probe_failure="")
        else:
            lease = Lease(
                registration=registration,
                condition=_UNHEARD,
                register_time=now,
                renew_time=now,
                lease_s=0.0,
            )
        self._left.pop(lease.holder, None)
        return self._hold(lease)

    def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float = 0.0
    ) -> Granted:
        """Keep a node's lease, and note how it fares.

        A lease that another control node granted is taken over, so that it does not matter to
        which of them a call comes.

        Raises:
            LeaseGone: it lapsed, or is another instance's.
        """
        of_instance = (
            lease for lease in self._known(id_) if lease.instance == instance and not lease.is_lost
        )
        lease = next(of_instance, None)
        if lease is None:
            raise LeaseGone(id_)
        now = self._clock.now()
        renewed = replace(lease, condition=condition, renew_time=now, probe_failure="")
        return self._hold(renewed, round_trip_s)

    def deregister(self, id_: str, instance: str) -> None:
        """End an instance's lease at once, wherever it is held. One that is gone is no error."""
        holder = Holder(id_, instance)
        self._left[holder] = self._clock.monotonic() + _LEFT_FOR_S
        self._drop_left((holder,))
        self._refresh(id_)

    def _hold(self, lease: Lease, round_trip_s: float = 0.0) -> Granted:
        # Itself included, whether it is new or not.
        others = len(self._held) - (lease.id in self._held)
        lease_s = self._terms.grant_s(others + 1, round_trip_s)
        lease = replace(lease, lease_s=lease_s)
        self._held[lease.id] = _Held(lease, self._clock.monotonic() + lease_s)
        self._refresh(lease.id)
        return Granted(node=self.view.node(lease.id), lease_s=lease_s)

    def sweep(self, overslept_s: float = 0.0) -> None:
        """Let leases lapse whose time has come, and forget who was lost long ago.

        Args:
            overslept_s: how long this process did nothing, itself. Renewals that came meanwhile
                are still to be read: that nothing was heard is nobody's fault but its own.
        """
        now_s = self._clock.monotonic()
        for id_, held in list(self._held.items()):
            held.deadline_s += overslept_s
            if now_s < held.deadline_s:
                continue
            if held.lease.is_lost:
                del self._held[id_]
            else:
                held.lease = replace(held.lease, is_lost=True)
                held.deadline_s = now_s + LOST_FOR_S
                self.lapses += 1
                _tell_lost(held.lease)
            self._refresh(id_)
        self._left = {key: until_s for key, until_s in self._left.items() if now_s < until_s}

    def _refuse_loop(self, registration: Registration) -> None:
        """See that what a node follows, by id or by address, does not lead back to it."""
        by_name: dict[str, list[Registration]] = {}
        for node in self.view.nodes.values():
            if node.health is not NodeHealth.LOST and node.id != registration.id:
                for name in {node.id, node.registration.address} - {""}:
                    by_name.setdefault(name, []).append(node.registration)
        own = {registration.id, registration.address} - {""}
        to_see, seen = list(registration.upstreams), set[str]()
        while to_see:
            name = to_see.pop()
            if name in own:
                raise UpstreamLoop(registration.id)
            if name not in seen:
                seen.add(name)
                for follower in by_name.get(name, ()):
                    to_see += follower.upstreams

    # --------------------------------------------------------------------------- others tell

    def take_over(self, leases: Iterable[Lease], *, grace_s: float) -> None:
        """Go on with leases that a former process of this control node granted.

        Args:
            leases: as it told them last.
            grace_s: how long their nodes have at least to renew them here. Below 0: they are lost.
        """
        now_s = self._clock.monotonic()
        for lease in leases:
            if lease.id in self._held:
                continue
            if lease.is_lost or grace_s <= 0:
                lost = replace(lease, is_lost=True, probe_failure="")
                self._held[lease.id] = _Held(lost, now_s + LOST_FOR_S)
            else:
                self._held[lease.id] = _Held(lease, now_s + max(lease.lease_s, grace_s))
            self._refresh(lease.id)

    def believe(self, grantor: str, leases: Sequence[Lease], left: Iterable[Holder] = ()) -> None:
        """Take for true what another control node tells of the leases it granted."""
        told = {lease.id: lease for lease in leases if lease.holder not in self._left}
        former = self._told.get(grantor, {})
        self._told[grantor] = told
        for lease in told.values():
            held = self._held.get(lease.id)
            if held is not None and _is_over(held.lease, lease):
                del self._held[lease.id]
        self._drop_left(left)
        for id_ in former.keys() | told.keys():
            self._refresh(id_)

    def doubt(self, grantor: str) -> None:
        """Take nodes for lost whose control node has fallen silent."""
        told = self._told.get(grantor, {})
        for id_, lease in told.items():
            if not lease.is_lost:
                told[id_] = replace(lease, is_lost=True, probe_failure="")
                self._refresh(id_)
                if self.view.node(id_).health is NodeHealth.LOST:
                    _tell_lost(lease)

    def forget(self, grantor: str) -> None:
        """Drop what another control node told."""
        for id_ in self._told.pop(grantor, {}):
            self._refresh(id_)

    def _drop_left(self, holders: Iterable[Holder]) -> None:
        """Drop the leases of those who gave them back, to whomever that was."""
        gone = frozenset(holders)
        if not gone:
            return
        for id_, held in list(self._held.items()):
            if held.lease.holder in gone:
                del self._held[id_]
                self._refresh(id_)
        for told in self._told.values():
            for id_, lease in list(told.items()):
                if lease.holder in gone:
                    del told[id_]
                    self._refresh(id_)

    # ------------------------------------------------------------------- probes and settings

    def take_probes(self, failures: Mapping[str, str]) -> None:
        """Note which addresses do not answer, and why; all others do, or were not asked."""
        changed = {
            address
            for address in failures.keys() | self._failures.keys()
            if failures.get(address) != self._failures.get(address)
        }
        self._failures = dict(failures)
        for id_, node in list(self.view.nodes.items()):
            if node.registration.address in changed:
                self._refresh(id_)

    def take_settings(
        self, id_: str, settings: NodeSettings | None, revision: Revision = NO_REVISION
    ) -> None:
        """Note what operators have set of a node, and by which revision."""
        if settings is None:
            self._settings.pop(id_, None)
        else:
            self._settings[id_] = _Settings(settings, revision)
        self._refresh(id_)

    def _failure(self, lease: Lease) -> str:
        return self._failures.get(lease.registration.address, "")

    # --------------------------------------------------------------------------------- view

    def _known(self, id_: str) -> Iterator[Lease]:
        held = self._held.get(id_)
        if held is not None:
            yield replace(held.lease, probe_failure=self._failure(held.lease))
        for told in self._told.values():
            lease = told.get(id_)
            if lease is not None:
                # What its grantor found out, or what was found out here.
                yield replace(lease, probe_failure=self._failure(lease) or lease.probe_failure)

    def _best(self, id_: str) -> Lease | None:
        best = None
        for lease in self._known(id_):
            if best is None or lease.goes_before(best):
                best = lease
        return best

    def _refresh(self, id_: str) -> None:
        """Make the node anew that others see."""
        lease = self._best(id_)
        if lease is None:
            self.view.drop(id_)
        else:
            self.view.put(_node(lease, self._settings.get(id_)))


def _is_over(held: Lease, told: Lease) -> bool:
    """Whether a lease granted here has no meaning any more beside one granted elsewhere."""
    if told.is_lost or not told.goes_before(held):
        return False
    if not held.is_lost and held.instance != told.instance:
        log.warning(
            "two nodes have one id; the one that registered first keeps it",
            extra={"node": held.id, "kept": told.instance, "dropped": held.instance},
        )
    # While both are kept, whoever the node renews at next goes on with it.
    return held.is_lost or held.instance != told.instance


def _tell_lost(lease: Lease) -> None:
    log.warning(
        "a node is lost: its lease lapsed",
        extra={
            "node": lease.id,
            "region": lease.registration.region,
            "renewed": lease.renew_time.isoformat(),
        },
    )


def _node(lease: Lease, known: _Settings | None) -> Node:
    condition, registration = lease.condition, lease.registration
    health, reason = condition.health, condition.health_reason
    weight, draining = registration.weight, condition.draining
    if known is not None:
        weight = known.settings.weight or weight
        draining = draining or bool(known.settings.draining)
    if lease.is_lost:
        health, reason = NodeHealth.LOST, "its lease lapsed: it is dead, hung or cut off"
    elif health is NodeHealth.SERVING and lease.probe_failure and not draining:
        # Who drains says that it does not serve, and is not asked for more.
        health, reason = NodeHealth.NOT_SERVING, lease.probe_failure
    return Node(
        registration=registration,
        condition=condition,
        health=health,
        health_reason=reason if health is not NodeHealth.SERVING else "",
        weight=weight,
        draining=draining,
        register_time=lease.register_time,
        renew_time=lease.renew_time,
        lease_s=lease.lease_s,
        settings_revision=known.revision if known is not None else NO_REVISION,
    )
