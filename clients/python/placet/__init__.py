"""The Placet SDK: ask for decisions, follow policies, decide in-process.

Ask, and do only what is allowed::

    import placet

    with placet.Client("localhost:7717", tenant="acme") as client:
        decision = client.evaluate(("User", "alice"), "read", ("Invoice", "42"))
        if decision.allowed:
            ...
        with client.enforce(("User", "alice"), "read", ("Invoice", "42"), understands=["redact"]):
            ...  # runs on an allow whose obligations are understood, and on nothing else

Clients
    ``Client`` for threads and ``placet.aio.Client`` for asyncio have the same methods:
    ``evaluate``, ``evaluate_batch``, ``evaluate_stream``, ``explain``, ``search``;
    ``enforce`` and ``enforced``; ``publish``, ``validate``, ``get``, ``list_items``,
    ``history``, ``diff``, ``test``; ``subscribe``. Every call has a deadline.

Local evaluation
    ``placet.local.LocalEvaluator`` and ``placet.local.aio.LocalEvaluator`` follow a
    tenant's policies and decide in this process (``pip install 'placet[local]'``):
    ``evaluate``, ``evaluate_batch``, ``enforce``, ``enforced``.

Requests
    A subject or resource is ``("User", "alice")``, an ``EntityRef``, or a ``Subject`` /
    ``Resource`` with properties; an action is its name or an ``Action``. Several requests
    are ``Request`` objects. Values are natural Python ones: see ``Value``.

Answers
    A ``Decision`` has ``outcome`` (``ALLOW``, ``DENY``, ``REQUIRES_APPROVAL``), ``allowed``,
    ``reasons``, ``obligations``, ``revision``, ``staleness``, ... It is truthy only when it
    is an allow. Whatever raises is no decision, hence no allow.

Errors
    All are ``PlacetError``. ``InvalidRequest``: fix the request. ``CouldNotDecide``
    (``Unavailable``, ``DeadlineExceeded``, ``ResourceExhausted``, ``StaleNode``,
    ``Unsupported``, ``Internal``, ``DecisionError``): no decision came. ``NotAllowed``
    (``Denied``, ``ApprovalRequired``, ``UnknownObligation``): raised by ``enforce`` only.
    Also ``Unauthenticated``, ``PermissionDenied``, ``NotFound``, ``Conflict``,
    ``OutOfRange`` (``CursorCompacted``), ``FailedPrecondition`` (``WrongRegion``,
    ``StaleNode``).
"""

from __future__ import annotations

from placet import aio
from placet._client import Client
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
from placet._policies import (
    PLATFORM,
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
    TemplateLink,
    TenantSettings,
    Validation,
)
from placet._requests import Action, AnyOf, BatchSemantics, Request, Resource, Subject
from placet._sync_subscription import Subscription
from placet._values import Entity, EntityRef, Extension, Value

__all__ = [
    "PLATFORM",
    "Action",
    "AnyOf",
    "ApprovalRequired",
    "BatchSemantics",
    "CandidateReport",
    "Cause",
    "ChangeSet",
    "Client",
    "Conflict",
    "CouldNotDecide",
    "CursorCompacted",
    "DeadlineExceeded",
    "Decision",
    "DecisionError",
    "Delta",
    "Denied",
    "Diff",
    "Effect",
    "Entity",
    "EntityRef",
    "Explanation",
    "Extension",
    "FailedPrecondition",
    "Internal",
    "InvalidRequest",
    "Item",
    "ItemDiff",
    "ItemKey",
    "ItemKind",
    "Layer",
    "LayerVerdict",
    "LogOnlyReport",
    "MatchedPolicy",
    "NotAllowed",
    "NotFound",
    "Obligation",
    "OutOfRange",
    "Outcome",
    "Override",
    "PermissionDenied",
    "PlacetError",
    "Policy",
    "PolicyError",
    "Position",
    "Precondition",
    "Problem",
    "Publication",
    "Reason",
    "Request",
    "Resource",
    "ResourceExhausted",
    "Revision",
    "Schema",
    "SchemaValidation",
    "SearchHit",
    "Severity",
    "Snapshot",
    "StaleNode",
    "State",
    "StateChange",
    "Status",
    "Subject",
    "Subscription",
    "TemplateLink",
    "TenantSettings",
    "Unauthenticated",
    "Unavailable",
    "UnknownObligation",
    "Unsupported",
    "Validation",
    "Value",
    "Violation",
    "WrongRegion",
    "aio",
]
