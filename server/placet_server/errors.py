"""What can go wrong in the server, in its own words.

PlacetError
├── TenantUnknown          nobody published anything for the tenant
├── WrongRegion            the tenant's data may not be on this node
├── RegionForbidden        the tenant's data may not go where the caller wants it
├── TenantHeld             a tenant cannot be placed elsewhere while it is held here
├── TenantChanged          a placement is not as the caller read it
├── PlacementRefused       a rule does not allow a region that was named with it
├── RegionUnknown          no such region
├── ItemUnknown            an item asked for is not there
├── ChangeSetRefused       a change set has problems; nothing was stored
├── Undecided              a well-formed request the policies cannot be asked
├── NodeNotReady           nothing has come to the node from upstream yet
├── NotAControlNode        the node has no store and takes no changes
├── NodeStale              the node knows less than the tenant's bound allows
├── RevisionNotReached     the node did not get to the asked revision in time
├── DeadlinePassed         the caller has given up already
├── PageTokenRefused       a page token of another request or revision
├── CursorRefused          a subscription cursor of another filter
├── TooManySubscribers     the node holds as many streams as it may
├── Overloaded             the node has more to do than it can do in time
├── TenantLimited          a tenant asks for more than its rate
├── SlowReader             a stream's reader takes nothing
├── DecisionLogFull        no decision may be made without a record of it
├── RolloutUnknown         no such rollout
├── RolloutUnderWay        the items are held by a rollout that has not ended
├── RolloutRefused         a rollout's state does not let something happen
├── RolloutChanged         a rollout is not as the caller read it
├── ApprovalRefused        the caller may not approve
├── NotAllowed             the caller may not do this for the tenant
├── ActorDiffers           the caller says it is somebody else
├── CallerChanged          who began a stream is not who it was, or may less
├── NodeUnknown            no node has that id
├── NodeIdTaken            another process holds the lease of a node's id
├── NodeChanged            a node's settings are not as the caller read them
├── LeaseGone              a lease lapsed, or is another process's
├── UpstreamRefused        a node upstream refused what was passed on to it
├── UpstreamLoop           what a node follows leads back to it
├── TooManyNodes           no room for one more node
├── TooManyWatchers        the node holds as many streams about the topology as it may
├── TooManyXdsClients      the node has as many xDS clients as it may
├── XdsClientRefused       an xDS client says of itself what cannot be meant
├── XdsRequestRefused      an xDS client asks for too much, or for nothing
└── Draining               the node is about to stop

Stores raise their own, see ``store.contract``; malformed messages are
``placet.wire.Malformed``. ``api.failures`` has the one table that maps all of
them to status codes.
"""

from __future__ import annotations

from collections.abc import Sequence

from placet_engine.items import ItemKey, Revision
from placet_engine.model import Problem, Undecidable
from placet_engine.placement.residency import ResidencyRule
from placet_engine.placement.routing import Route


class PlacetError(Exception):
    """Anything the server reports on its own account."""


class TenantUnknown(PlacetError):
    """Nobody published anything for the tenant."""

    def __init__(self, tenant: str) -> None:
        super().__init__(f"tenant `{tenant}` is not known; publish its policies first")
        self.tenant = tenant


class WrongRegion(PlacetError):
    """The tenant's data may not be on this node."""

    def __init__(self, route: Route, *, region: str, jurisdiction: str) -> None:
        where = f"(jurisdiction {jurisdiction or 'not known'})"
        names = ", ".join(f"`{one.region.name}`" for one in route.regions)
        go = f"go to {names}" if names else "and there is no region where it may be"
        super().__init__(
            f"tenant `{route.tenant}` is under the rule {route.rule.name} and may not be in "
            f"region `{region}` {where}; {go}"
        )
        self.route = route
        """Where to go; without regions when no region is allowed."""
        self.region = region
        """The region of this node."""


class RegionForbidden(PlacetError):
    """The tenant's data may not go where the caller wants it."""

    def __init__(self, tenant: str, rule: ResidencyRule, region: str) -> None:
        where = f"to region `{region}`" if region else "where nobody says which region it is"
        hint = "follow it from a region that is allowed" if region else "say your region"
        super().__init__(
            f"tenant `{tenant}` is under the rule {rule.name}, and its policies may not go "
            f"{where}; {hint}"
        )
        self.tenant = tenant


class TenantHeld(PlacetError):
    """A tenant cannot be placed elsewhere while this control plane's store holds its items."""

    def __init__(self, tenant: str, rule: ResidencyRule, region: str, items: int) -> None:
        super().__init__(
            f"the rule {rule.name} does not allow region `{region}`, where this control plane is, "
            f"and its store holds {items} items of tenant `{tenant}`; take them along with "
            "`placet bundle export`, import them where they may be, delete them here with `placet "
            "tenant clear`, and place the tenant again"
        )
        self.tenant = tenant


class TenantChanged(PlacetError):
    """A placement is not as the caller read it."""

    def __init__(self, tenant: str) -> None:
        super().__init__(
            f"tenant `{tenant}` is not placed as it was when it was read; read it and try again"
        )
        self.tenant = tenant


class PlacementRefused(PlacetError):
    """A rule does not allow a region that was named with it."""

    def __init__(
        self, tenant: str, rule: ResidencyRule, forbidden: Sequence[str], allowed: Sequence[str]
    ) -> None:
        named = ", ".join(f"`{region}`" for region in forbidden)
        others = ", ".join(f"`{region}`" for region in allowed)
        instead = f"name one of {others}" if allowed else "and no other region, either"
        super().__init__(f"the rule {rule.name} does not allow {named}; {instead}")
        self.tenant = tenant


class RegionUnknown(PlacetError):
    """No such region."""

    def __init__(self, region: str, known: Sequence[str]) -> None:
        super().__init__(f"there is no region `{region}`; there are {', '.join(known)}")


class ItemUnknown(PlacetError):
    """An item asked for is not there."""

    def __init__(self, key: ItemKey, owner: str, revision: Revision) -> None:
        super().__init__(
            f"{key} of `{owner or 'the platform'}` is not there at revision {revision}; "
            "list what is"
        )
        self.key = key


class ChangeSetRefused(PlacetError):
    """A change set has problems. Nothing was stored."""

    def __init__(self, problems: Sequence[Problem]) -> None:
        super().__init__("; ".join(problem.message for problem in problems))
        self.problems = tuple(problems)


class Undecided(PlacetError):
    """A well-formed request that the policies cannot be asked."""

    def __init__(self, undecidable: Undecidable) -> None:
        super().__init__(undecidable.message)
        self.undecidable = undecidable


class NodeNotReady(PlacetError):
    """Nothing has come to the node from upstream yet, so that it cannot say who is known."""

    def __init__(self) -> None:
        super().__init__(
            "this node has not got any policies from upstream yet; ask another, or try again"
        )


class NotAControlNode(PlacetError):
    """The node has no store and takes no changes."""

    def __init__(self, control_nodes: Sequence[str]) -> None:
        where = ", ".join(f"`{address}`" for address in control_nodes)
        super().__init__(
            "this node follows others and takes no changes; call a control node: "
            f"{where or 'it knows of none'}"
        )
        self.control_nodes = tuple(control_nodes)
        """Addresses to go to, as far as they are known."""


class NodeStale(PlacetError):
    """The node knows less than the tenant's bound allows."""

    def __init__(self, tenant: str, staleness_s: float, max_staleness_s: float) -> None:
        super().__init__(
            f"this node was last known to be current {staleness_s:.1f} s ago and tenant `{tenant}` "
            f"allows {max_staleness_s:g} s; ask another node"
        )
        self.tenant = tenant
        self.staleness_s = staleness_s
        self.max_staleness_s = max_staleness_s


class RevisionNotReached(PlacetError):
    """The node did not get to the asked revision in time."""

    def __init__(self, wanted: Revision, current: Revision) -> None:
        super().__init__(
            f"this node is at revision {current} and did not reach {wanted} in time; try again"
        )
        self.wanted = wanted
        self.current = current


class DeadlinePassed(PlacetError):
    """The caller has given up already; no work is done for it."""

    def __init__(self) -> None:
        super().__init__("the deadline passed before the call was looked at; allow more time")


class PageTokenRefused(PlacetError):
    """A page token of another request or revision."""

    def __init__(self) -> None:
        super().__init__(
            "the page token is of another request or revision; start again at the first page"
        )


class CursorRefused(PlacetError):
    """A subscription cursor of another filter, or no cursor at all."""

    def __init__(self, why: str) -> None:
        super().__init__(f"the cursor {why}; subscribe without one")


class TooManySubscribers(PlacetError):
    """The node holds as many streams as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this node holds {limit} subscriptions and takes no more; use another")
        self.limit = limit


class Overloaded(PlacetError):
    """The node has more to do than it can do in time. Nothing was decided."""

    def __init__(self, retry_after_s: float) -> None:
        super().__init__(
            f"this node has more calls than it can answer in time; try again in "
            f"{retry_after_s:.2f} s, or at another node"
        )
        self.retry_after_s = retry_after_s


class TenantLimited(PlacetError):
    """A tenant asks for more decisions than its rate. Nothing was decided."""

    def __init__(self, tenant: str, decisions_per_second: float, retry_after_s: float) -> None:
        super().__init__(
            f"tenant `{tenant}` asks for more than its {decisions_per_second:g} decisions per "
            f"second; try again in {retry_after_s:.2f} s"
        )
        self.tenant = tenant
        self.decisions_per_second = decisions_per_second
        self.retry_after_s = retry_after_s


class SlowReader(PlacetError):
    """A stream's reader takes nothing."""

    def __init__(self, timeout_s: float) -> None:
        super().__init__(
            f"nothing was read from this stream for {timeout_s:g} s; read on, or subscribe to less"
        )


class DecisionLogFull(PlacetError):
    """No decision may be made without a record of it, and the log has no room."""

    def __init__(self, waited_s: float) -> None:
        super().__init__(
            f"the decision log had no room for {waited_s:g} s and this node decides nothing "
            "unrecorded; try again, or ask another node"
        )


class RolloutUnknown(PlacetError):
    """No such rollout."""

    def __init__(self, id_: str, owner: str) -> None:
        whose = f"`{owner}`" if owner else "the platform"
        what = f"rollout `{id_}` of {whose} is not known" if id_ else f"{whose} had no rollout yet"
        super().__init__(f"{what}; list what there is")


class RolloutUnderWay(PlacetError):
    """The items are held by a rollout that has not ended."""

    def __init__(self, id_: str, owner: str) -> None:
        whose = f"`{owner}`" if owner else "the platform"
        super().__init__(
            f"rollout `{id_}` of {whose} is under way; promote it or roll it back, and try again"
        )
        self.id = id_
        self.owner = owner


class RolloutRefused(PlacetError):
    """A rollout's state does not let something happen."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Stable upper-case identifier."""


class RolloutChanged(PlacetError):
    """A rollout is not as the caller read it."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"rollout `{id_}` has changed since it was read; read it and try again")


class ApprovalRefused(PlacetError):
    """The caller may not approve."""


class NotAllowed(PlacetError):
    """The caller may not do this for the tenant, whether there is such a tenant or not."""

    def __init__(self, caller: str, permissions: Sequence[str], owner: str | None) -> None:
        whose = {None: "", "": " for the platform"}.get(
            owner, f" for tenant `{(owner or '')[:80]}`"
        )
        super().__init__(
            f"{caller} may not {' or '.join(permissions)}{whose}; whoever keeps this server's "
            "access file can allow it"
        )
        self.permissions = permissions


class ActorDiffers(PlacetError):
    """The caller says it is somebody else than it proved to be."""

    def __init__(self, said: str, proved: str) -> None:
        super().__init__(
            f"the call says it is `{said}`'s and is `{proved}`'s; say nothing, or the same"
        )


class CallerChanged(PlacetError):
    """Who began a stream is not who it was, or may not what it might."""

    def __init__(self, why: str) -> None:
        super().__init__(f"{why}; open the stream again")


class NodeUnknown(PlacetError):
    """No node has that id."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"node `{id_}` is not known; list what there is")
        self.id = id_


class NodeIdTaken(PlacetError):
    """Another process holds the lease of a node's id."""

    def __init__(self, id_: str, *, retry_after_s: float) -> None:
        super().__init__(
            f"another process is node `{id_}`; give each its own id, or wait until the other's "
            f"lease lapses in {retry_after_s:.1f} s"
        )
        self.id = id_
        self.retry_after_s = retry_after_s


class NodeChanged(PlacetError):
    """A node's settings are not as the caller read them. Nothing was changed."""

    def __init__(self, id_: str) -> None:
        super().__init__(f"node `{id_}` has changed since it was read; read it and try again")
        self.id = id_


class LeaseGone(PlacetError):
    """A lease lapsed, or is another process's."""

    def __init__(self, id_: str) -> None:
        super().__init__(
            f"node `{id_}` has no such lease: it lapsed, or another process has it; register again"
        )
        self.id = id_


class UpstreamRefused(PlacetError):
    """A node upstream refused what was passed on to it."""

    def __init__(self, message: str, reason: str) -> None:
        super().__init__(message)
        self.reason = reason
        """Stable upper-case identifier."""


class UpstreamLoop(PlacetError):
    """What a node follows leads back to it."""

    def __init__(self, id_: str) -> None:
        super().__init__(
            f"what node `{id_}` follows leads back to it; have it follow nodes that do not, "
            "directly or by others, follow it"
        )
        self.id = id_


class TooManyNodes(PlacetError):
    """No room for one more node."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"this node holds the leases of {limit} nodes and takes no more; use another"
        )
        self.limit = limit


class TooManyWatchers(PlacetError):
    """The node holds as many streams about the topology as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(
            f"this node has {limit} watchers of routes and nodes, and takes no more; use another"
        )
        self.limit = limit


class TooManyXdsClients(PlacetError):
    """The node has as many xDS clients as it may."""

    def __init__(self, limit: int) -> None:
        super().__init__(f"this node has {limit} xDS clients and takes no more; use another")
        self.limit = limit


class XdsClientRefused(PlacetError):
    """An xDS client says of itself what cannot be meant."""


class XdsRequestRefused(PlacetError):
    """An xDS client asks for too much, or for nothing."""


class Draining(PlacetError):
    """The node is about to stop."""

    def __init__(self) -> None:
        super().__init__("this node is draining; use another")
