"""The Placet SDK: ask for decisions, follow policies, decide in-process.

Ask, and do only what is allowed::

    import placet

    with placet.Client("localhost:7717", tenant="acme") as client:
        decision = client.evaluate(("User", "alice"), "read", ("Invoice", "42"))
        if decision.allowed:
            ...
        with client.enforce(("User", "alice"), "read", ("Invoice", "42"), understands=["redact"]):
            ...  # runs on an allow whose obligations are understood, and on nothing else

``Client(target, *, tenant=None, timeout_s=1.0, management_timeout_s=30.0, actor="", groups=(),
balancing=None, credentials=None, options=())`` is for threads; ``placet.aio.Client`` has the
same methods for asyncio. The target is one server's, ``localhost:7717``, or it is several to be
balanced over: ``"a:7717,b:7717"``, ``Endpoint(address, region="", weight=100)`` in a sequence,
``Dns(target)``, ``Topology(bootstrap=..., place=...)``; ``Balancing(strategy="least_request",
regions=(), hedge_after_s=None, ...)`` says how. Every call has a deadline, and takes ``tenant``
and ``timeout_s`` where it is to differ::

    evaluate(subject, action, resource, context=None, *, entities=(), permit="",
             min_revision=0) -> Decision
    evaluate_batch(items, *, subject=None, action=None, resource=None, context=None,
                   entities=(), semantics=BatchSemantics.EXECUTE_ALL,
                   min_revision=0) -> list[Decision | DecisionError]
    evaluate_stream(pairs of id and Request, *, min_revision=0)
             -> iterator of (id, Decision | DecisionError)
    explain(as evaluate) -> Explanation
    search(subject, action, resource, context=None, *, entities=(), min_revision=0,
           page_size=0) -> iterator of SearchHit        # one part is an AnyOf(type)
    enforce(subject, action, resource, context=None, *, obligations=None, understands=(),
            ...) -> context manager of Decision
    enforced(*, subject, action, resource, context=None, obligations=None, understands=(),
             ...) -> decorator                          # parts may be functions of the arguments

    publish(change_set, *, expected_revision=None, message="", request_id=None,
            rollout=None) -> Publication
    validate(change_set) -> Validation
    get(keys, *, revision=0) -> list[Item]
    list_items(*, kinds=(), id_prefix="", revision=0, page_size=0) -> iterator of Item
    history(*, key=None, page_size=0) -> iterator of Revision
    diff(from_revision, to_revision=0) -> Diff
    test(requests, change_set=None) -> CandidateReport

    start_rollout(change_set=None, *, restore_revision=None, plan=None, expected_revision=None,
                  message="", request_id=None) -> StartedRollout
    approve_rollout(rollout), promote_rollout(rollout, *, all_steps=False),
    pause_rollout(rollout or id), resume_rollout(rollout or id), roll_back(rollout or id)
                  -> Rollout                            # each: message="", request_id=None
    get_rollout(rollout_id="") -> Rollout
    list_rollouts(*, states=(), page_size=0) -> iterator of Rollout
    watch_rollout(rollout_id="", *, patience_s=60.0) -> iterator of Rollout
    node_revisions(*, region="") -> NodeRevisions           # who runs what

    cache_statistics(*, max_tenants=20) -> CacheReport      # of the node that answers
    xds_clients() -> list[XdsClient]                        # connected to it

    put_tenant(placement) -> Placement                      # where its data may be
    get_tenant() -> Placement
    tenants(*, page_size=0) -> iterator of Placement
    regions() -> list[Region]
    route(place=None) -> Route                              # where its callers go
    watch_route(place=None, *, patience_s=60.0) -> iterator of Route

    nodes(*, regions=()) -> list[Node]
    update_node(node or id, *, weight=None, draining=None) -> Node
    watch_topology(*, kinds=(), patience_s=60.0) -> iterator of TopologyState

    endpoints() -> tuple of EndpointStatistics              # what can be seen of each
    wait_ready(*, timeout_s=10.0)                           # connect now

    subscribe(*, policy_ids=(), kinds=(), subscriber="", region="", stale_after_s=15.0,
              on_state_change=None) -> Subscription     # a context manager

A rollout's plan is ``Canary(steps=((10, timedelta(minutes=5)), (100, None)))``,
``Scheduled(start_time)``, ``Manual(approver_groups, deadline)`` or ``Immediate()``, each with
``guards=[Guard(GuardKind.DENY_RATE_CHANGE, 0.1)]`` where the server's are not to hold. A
``Rollout`` has ``state``, ``step``, ``share_percent``, ``readings``, ``nodes`` and, when it was
undone, ``rollback``: the guard, its numbers, and requests that changed their answer.

A ``Placement(tenant=..., residency=ResidencyRule.EU_ONLY)`` may name a ``home_region`` and
``affinity_regions``; a place is a ``Country("IE")``, a ``GeoPoint(53.3, -6.3)`` or an
``InRegion("eu-west")``. A ``Route`` has ``regions``, best first, and the ``addresses`` in them.

A ``Subscription`` iterates over ``Snapshot`` and ``Delta``; it has ``state`` (``CONNECTING``,
``READY``, ``STALE``, ``ERROR``), ``revision``, ``staleness()``, ``last_error``, ``status``,
``wait_ready(timeout_s=10.0)``, ``wait_for(states, timeout_s=...)``, ``next_event(timeout_s=None)``
and ``close()`` (``aclose()`` in ``placet.aio``).

``placet.local.LocalEvaluator(target, *, tenant, max_staleness_s=30.0, when_stale="raise", ...)``
and ``placet.local.aio.LocalEvaluator`` decide in this process by policies that follow the
server's: ``evaluate``, ``evaluate_batch``, ``enforce``, ``enforced``, and what can be seen of a
subscription. They need ``pip install 'placet[local]'``. ``placet.bundles`` packs, signs and
verifies files with a tenant's whole content; it needs ``pip install 'placet[signing]'``.

``placet.templates`` has the policies that ship, to be filled in and published.

A subject or resource is ``("User", "alice")``, an ``EntityRef``, or a ``Subject`` or ``Resource``
with properties; an action is its name or an ``Action``. One request out of several is a
``Request``. Values are natural Python ones: ``bool``, ``int``, ``str``, collections, mappings,
``Decimal``, ``datetime``, ``timedelta``, ``ipaddress``'s, ``EntityRef``; no ``float``, no ``None``.

A ``Decision`` has ``outcome`` (``ALLOW``, ``DENY``, ``REQUIRES_APPROVAL``), ``allowed``, ``cause``,
``reasons``, ``obligations``, ``errors``, ``approval_groups``, ``log_only``, ``decision_id``,
``revision``, ``staleness``, ``is_stale``, ``cached``, ``region``, ``node``, ``rollout_variant``.
It is truthy only when it is an allow. Whatever raises is no decision, hence no allow.

All errors are ``PlacetError``, with ``message``, ``reason`` and ``metadata``. ``InvalidRequest``
(``violations``): fix the request. ``CouldNotDecide`` (``Unavailable``, ``DeadlineExceeded``,
``ResourceExhausted``, ``StaleNode``, ``Unsupported``, ``Internal``, ``DecisionError``): no decision
came. ``NotAllowed`` (``Denied``, ``ApprovalRequired``, ``UnknownObligation``; each with
``decision``): raised by ``enforce`` only. Besides: ``Unauthenticated``, ``PermissionDenied``,
``NotFound``, ``Conflict`` (``expected``, ``actual``), ``OutOfRange`` (``CursorCompacted``),
``FailedPrecondition`` (``WrongRegion`` with its ``route``, ``RegionForbidden``,
``StaleNode``).
"""

from __future__ import annotations

from placet import aio
from placet._balancing.endpoints import Endpoint, EndpointState, EndpointStatistics
from placet._balancing.options import Balancing
from placet._balancing.sources import Dns, Topology
from placet._client import Client
from placet._credentials import Credentials, TokenFile
from placet._decisions import (
    Cause,
    Decision,
    Effect,
    Explanation,
    Layer,
    LayerVerdict,
    LogOnlyReport,
    MatchedPolicy,
    Outcome,
    Override,
    PolicyError,
    Position,
    Reason,
    SearchHit,
)
from placet._enforcing import Obligation
from placet._errors import (
    ApprovalRequired,
    Conflict,
    CouldNotDecide,
    CursorCompacted,
    DeadlineExceeded,
    DecisionError,
    Denied,
    FailedPrecondition,
    Internal,
    InvalidRequest,
    NotAllowed,
    NotFound,
    OutOfRange,
    PermissionDenied,
    PlacetError,
    Precondition,
    RegionForbidden,
    ResourceExhausted,
    StaleNode,
    Unauthenticated,
    Unavailable,
    UnknownObligation,
    Unsupported,
    Violation,
    WrongRegion,
)
from placet._freshness import State, StateChange, Status
from placet._mirror import Delta, Snapshot
from placet._nodes import (
    CacheReport,
    CacheStatistics,
    Node,
    NodeHealth,
    NodeLoad,
    NodeRole,
    TopologyKind,
    TopologyState,
)
from placet._policies import (
    PLATFORM,
    TOPOLOGY,
    CandidateEdits,
    CandidateReport,
    ChangeSet,
    Diff,
    Item,
    ItemDiff,
    ItemKey,
    ItemKind,
    Policy,
    Problem,
    Publication,
    Revision,
    Schema,
    SchemaValidation,
    Severity,
    StartedRollout,
    TemplateLink,
    TenantSettings,
    Validation,
)
from placet._requests import Action, AnyOf, BatchSemantics, Request, Resource, Subject
from placet._rollouts import (
    Canary,
    CanaryStep,
    CanaryUnit,
    ChangedAnswer,
    Guard,
    GuardKind,
    GuardReading,
    GuardStatus,
    Immediate,
    Manual,
    NodeRevision,
    NodeRevisions,
    NodeTally,
    RevisionRejection,
    RollbackCause,
    RollbackReport,
    Rollout,
    RolloutPlan,
    RolloutState,
    Scheduled,
)
from placet._sync_subscription import Subscription
from placet._topology import (
    Country,
    GeoPoint,
    InRegion,
    NodeSettings,
    Place,
    Placement,
    Region,
    ResidencyRule,
    Route,
    RouteEndpoint,
    RouteReason,
    RouteRegion,
)
from placet._values import Entity, EntityRef, Extension, Value
from placet._xds_clients import (
    XdsClient,
    XdsLibrary,
    XdsRefusal,
    XdsResourceType,
    XdsSubscription,
)

__all__ = [
    "PLATFORM",
    "TOPOLOGY",
    "Action",
    "AnyOf",
    "ApprovalRequired",
    "Balancing",
    "BatchSemantics",
    "CacheReport",
    "CacheStatistics",
    "Canary",
    "CanaryStep",
    "CanaryUnit",
    "CandidateEdits",
    "CandidateReport",
    "Cause",
    "ChangeSet",
    "ChangedAnswer",
    "Client",
    "Conflict",
    "CouldNotDecide",
    "Country",
    "Credentials",
    "CursorCompacted",
    "DeadlineExceeded",
    "Decision",
    "DecisionError",
    "Delta",
    "Denied",
    "Diff",
    "Dns",
    "Effect",
    "Endpoint",
    "EndpointState",
    "EndpointStatistics",
    "Entity",
    "EntityRef",
    "Explanation",
    "Extension",
    "FailedPrecondition",
    "GeoPoint",
    "Guard",
    "GuardKind",
    "GuardReading",
    "GuardStatus",
    "Immediate",
    "InRegion",
    "Internal",
    "InvalidRequest",
    "Item",
    "ItemDiff",
    "ItemKey",
    "ItemKind",
    "Layer",
    "LayerVerdict",
    "LogOnlyReport",
    "Manual",
    "MatchedPolicy",
    "Node",
    "NodeHealth",
    "NodeLoad",
    "NodeRevision",
    "NodeRevisions",
    "NodeRole",
    "NodeSettings",
    "NodeTally",
    "NotAllowed",
    "NotFound",
    "Obligation",
    "OutOfRange",
    "Outcome",
    "Override",
    "PermissionDenied",
    "Place",
    "Placement",
    "PlacetError",
    "Policy",
    "PolicyError",
    "Position",
    "Precondition",
    "Problem",
    "Publication",
    "Reason",
    "Region",
    "RegionForbidden",
    "Request",
    "ResidencyRule",
    "Resource",
    "ResourceExhausted",
    "Revision",
    "RevisionRejection",
    "RollbackCause",
    "RollbackReport",
    "Rollout",
    "RolloutPlan",
    "RolloutState",
    "Route",
    "RouteEndpoint",
    "RouteReason",
    "RouteRegion",
    "Scheduled",
    "Schema",
    "SchemaValidation",
    "SearchHit",
    "Severity",
    "Snapshot",
    "StaleNode",
    "StartedRollout",
    "State",
    "StateChange",
    "Status",
    "Subject",
    "Subscription",
    "TemplateLink",
    "TenantSettings",
    "TokenFile",
    "Topology",
    "TopologyKind",
    "TopologyState",
    "Unauthenticated",
    "Unavailable",
    "UnknownObligation",
    "Unsupported",
    "Validation",
    "Value",
    "Violation",
    "WrongRegion",
    "XdsClient",
    "XdsLibrary",
    "XdsRefusal",
    "XdsResourceType",
    "XdsSubscription",
    "aio",
]
