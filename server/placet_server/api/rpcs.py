"""The one table over every rpc: what it needs, and whose it is.

It has what is served of ``placet.v1``, what is designed, and what is served of others' services
beside health, reflection and channelz, so that nothing can be served without an entry. It
knows nothing of how callers prove who they are: whoever has to know whose data a call is about
reads it here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, auto
from types import MappingProxyType
from typing import Any

from google.protobuf.message import Message

from placet_server.identity.permissions import Permission


class Unnamed(Enum):
    """Whose a call is that names no tenant."""

    REFUSED = auto()
    """Nobody's: the tenant is missing, and the service says so."""
    PLATFORM = auto()
    """The platform's, or it is about the installation as a whole."""
    VISIBLE = auto()
    """Every tenant's that the caller may see; the service leaves the others out."""
    ANYBODYS = auto()
    """No tenant's in particular: whoever has the permission for anything at all may call."""
    IN_RECORD = auto()
    """That of a record which is named by its id; the service looks once it has read it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rpc:
    """What one rpc needs, and where its request says whose it is."""

    permissions: frozenset[Permission]
    """Any one of these will do."""
    tenant_field: str = "tenant"
    """Path of the field that names the tenant, such as ``request.tenant``. Empty: none does."""
    unnamed: Unnamed = Unnamed.REFUSED
    """What it means that this field is empty, or that there is none."""
    unnamed_permissions: frozenset[Permission] = frozenset()
    """What is needed then. Empty: the same."""
    region_field: str = ""
    """Path of the field that names the region which data goes to, or which a node is in."""
    passed_over: frozenset[str] = frozenset()
    """Other fields that name tenants, by path: they must say the same, say nothing, or are what
    a node tells of tenants."""

    def tenant(self, request: Message) -> str:
        """Return the tenant that a request names, unchecked; empty if it names none."""
        return _text_at(request, self.tenant_field)

    def region(self, request: Message) -> str:
        """Return the region that a request names, unchecked; empty if it names none."""
        return _text_at(request, self.region_field)

    def needed(self, tenant: str) -> frozenset[Permission]:
        """Return of which permissions a call for the tenant needs one."""
        return self.permissions if tenant else self.unnamed_permissions or self.permissions


def _text_at(request: Message, path: str) -> str:
    found: Any = request
    # A message that is not there reads as an empty one.
    for part in filter(None, path.split(".")):
        found = getattr(found, part)
    return found if path else ""


_DECIDE, _READ, _PUBLISH = Permission.DECIDE, Permission.READ, Permission.PUBLISH
_APPROVE, _OPERATE = Permission.APPROVE, Permission.OPERATE
_ACT, _NODE = Permission.ACT, Permission.NODE


def _any_of(*permissions: Permission) -> frozenset[Permission]:
    return frozenset(permissions)


_EVERY = frozenset(Permission)

# Whose platform policies are is written as an empty tenant.
_PUBLISHING = Rpc(permissions=_any_of(_PUBLISH), unnamed=Unnamed.PLATFORM)
_STOPPING = Rpc(permissions=_any_of(_PUBLISH, _OPERATE), unnamed=Unnamed.PLATFORM)
_READING = Rpc(permissions=_any_of(_READ), unnamed=Unnamed.PLATFORM)
_DECIDING = Rpc(permissions=_any_of(_DECIDE))
_ROUTING = Rpc(permissions=_EVERY)
# Agents are a tenant's, always.
_OPERATING_AGENTS = Rpc(permissions=_any_of(_OPERATE))
_STEERING_AGENTS = Rpc(permissions=_any_of(_OPERATE, _ACT))
_BEING_AN_AGENT = Rpc(permissions=_any_of(_ACT))
_SEEING_AGENTS = Rpc(permissions=_any_of(_READ, _ACT))
_SEEING_APPROVALS = Rpc(permissions=_any_of(_READ, _APPROVE))
_APPROVING = Rpc(permissions=_any_of(_APPROVE))
_BEING_A_NODE = Rpc(permissions=_any_of(_NODE), tenant_field="", unnamed=Unnamed.ANYBODYS)

_SERVICES: Mapping[str, Mapping[str, Rpc]] = {
    "EvaluateService": {
        "Evaluate": _DECIDING,
        "EvaluateBatch": _DECIDING,
        "EvaluateStream": Rpc(permissions=_any_of(_DECIDE), tenant_field="request.tenant"),
        # It shows policies and entities.
        "Explain": Rpc(permissions=_any_of(_READ), tenant_field="request.tenant"),
        "Search": Rpc(permissions=_any_of(_DECIDE), tenant_field="request.tenant"),
    },
    "PolicyService": {
        "Publish": _PUBLISHING,
        "Validate": Rpc(permissions=_any_of(_READ, _PUBLISH), unnamed=Unnamed.PLATFORM),
        "Get": _READING,
        "List": _READING,
        "History": _READING,
        "Diff": _READING,
        "Test": Rpc(permissions=_any_of(_READ), passed_over=frozenset({"requests.tenant"})),
    },
    "RolloutService": {
        "StartRollout": _PUBLISHING,
        "ApproveRollout": Rpc(permissions=_any_of(_APPROVE), unnamed=Unnamed.PLATFORM),
        "PauseRollout": _STOPPING,
        "ResumeRollout": _PUBLISHING,
        "PromoteRollout": _PUBLISHING,
        "RollBack": _STOPPING,
        "GetRollout": _READING,
        "ListRollouts": _READING,
        "WatchRollout": _READING,
        "AcknowledgeRevision": Rpc(
            permissions=_any_of(_NODE),
            tenant_field="",
            unnamed=Unnamed.ANYBODYS,
            passed_over=frozenset({"acknowledgements.rejections.tenant"}),
        ),
        "ReportRolloutSamples": Rpc(
            permissions=_any_of(_NODE),
            tenant_field="",
            unnamed=Unnamed.ANYBODYS,
            passed_over=frozenset({"samples.examples.request.tenant"}),
        ),
        "ListNodeRevisions": _READING,
    },
    "SubscribeService": {
        # Who follows everything gets the placements of tenants too.
        "Subscribe": Rpc(
            permissions=_any_of(_READ, _NODE),
            unnamed=Unnamed.VISIBLE,
            unnamed_permissions=_any_of(_NODE),
            region_field="region",
        ),
    },
    "NodeService": {
        "GetCacheStatistics": Rpc(permissions=_any_of(_READ), unnamed=Unnamed.VISIBLE),
        # It shows who calls from where, for every tenant.
        "ListXdsClients": Rpc(
            permissions=_any_of(_OPERATE), tenant_field="", unnamed=Unnamed.PLATFORM
        ),
    },
    "TopologyService": {
        "ListRegions": Rpc(permissions=_EVERY, tenant_field="", unnamed=Unnamed.ANYBODYS),
        "RegisterNode": Rpc(
            permissions=_any_of(_NODE),
            tenant_field="",
            unnamed=Unnamed.ANYBODYS,
            region_field="node.region",
        ),
        "RenewNodeLease": _BEING_A_NODE,
        "DeregisterNode": _BEING_A_NODE,
        "UpdateNode": Rpc(permissions=_any_of(_OPERATE), tenant_field="", unnamed=Unnamed.PLATFORM),
        "ListNodes": Rpc(
            permissions=_any_of(_READ, _NODE), tenant_field="", unnamed=Unnamed.PLATFORM
        ),
        "PutTenant": Rpc(permissions=_any_of(_OPERATE), tenant_field="tenant.name"),
        "GetTenant": Rpc(permissions=_any_of(_READ)),
        "ListTenants": Rpc(permissions=_any_of(_READ), tenant_field="", unnamed=Unnamed.VISIBLE),
        # Whoever has any business with a tenant has to find a node for it.
        "GetRoute": _ROUTING,
        "WatchRoute": _ROUTING,
        "WatchTopology": Rpc(
            permissions=_any_of(_READ, _NODE), tenant_field="", unnamed=Unnamed.VISIBLE
        ),
    },
    "AgentControlService": {
        "RegisterAgent": Rpc(permissions=_any_of(_OPERATE), tenant_field="agent.tenant"),
        "UpdateAgent": Rpc(permissions=_any_of(_OPERATE), tenant_field="agent.tenant"),
        "GetAgent": _SEEING_AGENTS,
        "ListAgents": _SEEING_AGENTS,
        "TransitionAgent": _STEERING_AGENTS,
        "IssueCredential": _STEERING_AGENTS,
        "RevokeCredential": _OPERATING_AGENTS,
        "ListCredentials": Rpc(permissions=_any_of(_READ)),
        "Heartbeat": _BEING_AN_AGENT,
        "WatchOrders": _BEING_AN_AGENT,
        "EngageKillSwitch": Rpc(
            permissions=_any_of(_OPERATE), tenant_field="scope.tenant", unnamed=Unnamed.PLATFORM
        ),
        "ReleaseKillSwitch": Rpc(
            permissions=_any_of(_OPERATE), tenant_field="", unnamed=Unnamed.IN_RECORD
        ),
        "GetKillSwitch": Rpc(
            permissions=_any_of(_READ), tenant_field="", unnamed=Unnamed.IN_RECORD
        ),
        "ListKillSwitches": Rpc(permissions=_any_of(_READ), unnamed=Unnamed.VISIBLE),
        "ProposeAction": _BEING_AN_AGENT,
        "AwaitDecision": _BEING_AN_AGENT,
        "BeginAction": _BEING_AN_AGENT,
        "CompleteAction": _BEING_AN_AGENT,
        "ListAgentActions": _SEEING_AGENTS,
        "GetApproval": _SEEING_APPROVALS,
        "ListApprovals": _SEEING_APPROVALS,
        "WatchApprovals": _SEEING_APPROVALS,
        "ApproveAction": _APPROVING,
        "RejectAction": _APPROVING,
        "CreateGrant": Rpc(permissions=_any_of(_APPROVE), tenant_field="grant.tenant"),
        "RevokeGrant": _APPROVING,
        "ListGrants": _SEEING_APPROVALS,
        "RegisterOrchestra": Rpc(permissions=_any_of(_OPERATE), tenant_field="orchestra.tenant"),
        "ListOrchestras": _SEEING_AGENTS,
        "DescribeAction": _SEEING_AGENTS,
        "StartRun": _STEERING_AGENTS,
        "FinishRun": _BEING_AN_AGENT,
        "CancelRun": _OPERATING_AGENTS,
        "ListRuns": _SEEING_AGENTS,
        "PutTrigger": Rpc(permissions=_any_of(_OPERATE), tenant_field="trigger.tenant"),
        "DeleteTrigger": _OPERATING_AGENTS,
        "ListTriggers": Rpc(permissions=_any_of(_READ)),
        "RaiseEvent": _STEERING_AGENTS,
    },
    "AuditService": {
        "QueryAudit": _READING,
        "GetTreeHead": _READING,
        "GetInclusionProof": _READING,
        "GetConsistencyProof": _READING,
        "ExportAudit": _READING,
        "ErasePersonalData": Rpc(permissions=_any_of(_OPERATE), unnamed=Unnamed.PLATFORM),
    },
}

# As routes are: whoever has any business with a tenant has to find a node for it. Which tenants a
# client asks for turns out as it does, and the service looks at each.
_DISCOVERING = Rpc(permissions=_EVERY, tenant_field="", unnamed=Unnamed.VISIBLE)

_OTHERS: Mapping[str, Rpc] = {
    "/envoy.service.discovery.v3.AggregatedDiscoveryService/StreamAggregatedResources": (
        _DISCOVERING
    ),
}

RPCS: Mapping[str, Rpc] = MappingProxyType(
    {
        **_OTHERS,
        **{
            f"/placet.v1.{service}/{name}": rpc
            for service, rpcs in _SERVICES.items()
            for name, rpc in rpcs.items()
        },
    }
)
"""Every rpc, by ``/package.Service/Method``."""
