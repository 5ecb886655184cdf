"""A running server with a stub for each of its services, and short words for messages."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import grpc

from placet.v1 import (
    evaluate_service_pb2 as evaluate_pb2,
)
from placet.v1 import (
    evaluate_service_pb2_grpc,
    node_service_pb2_grpc,
    policy_pb2,
    policy_service_pb2,
    policy_service_pb2_grpc,
    rollout_service_pb2_grpc,
    subscribe_service_pb2_grpc,
    topology_pb2,
    topology_service_pb2,
    topology_service_pb2_grpc,
)
from placet.wire import attributes_to_wire
from placet_server.app import Node
from placet_server.testing import running_edge, running_server

if TYPE_CHECKING:
    from placet.v1.evaluate_service_pb2_grpc import EvaluateServiceAsyncStub
    from placet.v1.node_service_pb2_grpc import NodeServiceAsyncStub
    from placet.v1.policy_service_pb2_grpc import PolicyServiceAsyncStub
    from placet.v1.rollout_service_pb2_grpc import RolloutServiceAsyncStub
    from placet.v1.subscribe_service_pb2_grpc import SubscribeServiceAsyncStub
    from placet.v1.topology_service_pb2_grpc import TopologyServiceAsyncStub

TENANT = "acme"
TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """Stubs to call a server with, whatever process it is in."""

    channel: grpc.aio.Channel
    evaluate: EvaluateServiceAsyncStub
    policy: PolicyServiceAsyncStub
    subscribe: SubscribeServiceAsyncStub
    nodes: NodeServiceAsyncStub
    rollouts: RolloutServiceAsyncStub
    topology: TopologyServiceAsyncStub

    async def publish(
        self, *policies: policy_pb2.Policy, tenant: str = TENANT, **change_set: Any
    ) -> policy_service_pb2.PublishResponse:
        """Publish policies and whatever else a change set takes."""
        return await self.policy.Publish(
            policy_service_pb2.PublishRequest(
                tenant=tenant,
                change_set=policy_pb2.ChangeSet(policies=policies, **change_set),
            ),
            timeout=TIMEOUT_S,
        )

    async def place(
        self,
        residency: topology_pb2.ResidencyRule.ValueType,
        *,
        tenant: str = TENANT,
        **placed: Any,
    ) -> topology_pb2.Tenant:
        """Place a tenant, wherever it was placed before."""
        known = topology_pb2.Tenant()
        try:
            request = topology_service_pb2.GetTenantRequest(tenant=tenant)
            known = (await self.topology.GetTenant(request, timeout=TIMEOUT_S)).tenant
        except grpc.aio.AioRpcError as error:
            if error.code() is not grpc.StatusCode.NOT_FOUND:
                raise
        placement = topology_pb2.Tenant(name=tenant, residency=residency, etag=known.etag, **placed)
        response = await self.topology.PutTenant(
            topology_service_pb2.PutTenantRequest(tenant=placement), timeout=TIMEOUT_S
        )
        return response.tenant


@dataclass(frozen=True, slots=True, kw_only=True)
class Service(Connection):
    """A running node in this process, and a connection to it."""

    node: Node


@asynccontextmanager
async def running_service(**options: Any) -> AsyncIterator[Service]:
    """Run a server as `running_server` does, and connect to it."""
    async with (
        running_server(**options) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        yield Service(node=node, channel=channel, **stubs(channel))


@asynccontextmanager
async def running_edge_service(*upstreams: str, **options: Any) -> AsyncIterator[Service]:
    """Run a node that follows others as `running_edge` does, and connect to it."""
    async with (
        running_edge(*upstreams, **options) as node,
        grpc.aio.insecure_channel(node.address) as channel,
    ):
        yield Service(node=node, channel=channel, **stubs(channel))


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Connection]:
    """Connect to a server, over a connection nobody else in this process uses."""
    options = (("grpc.use_local_subchannel_pool", 1),)
    async with grpc.aio.insecure_channel(address, options=options) as channel:
        yield Connection(channel=channel, **stubs(channel))


def stubs(channel: grpc.aio.Channel) -> dict[str, Any]:
    """Return a stub for each service, by its name in `Connection`."""
    return {
        "evaluate": evaluate_service_pb2_grpc.EvaluateServiceStub(channel),
        "policy": policy_service_pb2_grpc.PolicyServiceStub(channel),
        "subscribe": subscribe_service_pb2_grpc.SubscribeServiceStub(channel),
        "nodes": node_service_pb2_grpc.NodeServiceStub(channel),
        "rollouts": rollout_service_pb2_grpc.RolloutServiceStub(channel),
        "topology": topology_service_pb2_grpc.TopologyServiceStub(channel),
    }


def policy(id_: str, cedar: str, **fields: Any) -> policy_pb2.Policy:
    """Write a policy."""
    return policy_pb2.Policy(id=id_, cedar=cedar, **fields)


def request(
    subject: str = "User::alice",
    action: str = "view",
    resource: str = "Document::one",
    *,
    tenant: str = TENANT,
    context: Mapping[str, Any] | None = None,
    **fields: Any,
) -> evaluate_pb2.EvaluateRequest:
    """Write a request, with entities as ``Type::id``."""
    subject_type, _, subject_id = subject.rpartition("::")
    resource_type, _, resource_id = resource.rpartition("::")
    return evaluate_pb2.EvaluateRequest(
        tenant=tenant,
        subject=evaluate_pb2.Subject(type=subject_type, id=subject_id),
        action=evaluate_pb2.Action(name=action),
        resource=evaluate_pb2.Resource(type=resource_type, id=resource_id),
        context=attributes_to_wire(context or {}),
        **fields,
    )
