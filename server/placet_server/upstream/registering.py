"""Registers nodes upstream: this one, and those that follow it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace
from typing import TypeVar

import grpc
import grpc.aio

from placet._errors import PlacetError as RemoteError
from placet._status import from_rpc_error
from placet.v1 import topology_service_pb2, topology_service_pb2_grpc
from placet.wire import Reader, read_node, registration_to_wire, renewal_to_wire, seconds
from placet_engine.placement.nodes import Condition, Registration
from placet_server.errors import LeaseGone, NodeIdTaken, UpstreamLoop, UpstreamRefused
from placet_server.regions.announcing import Registrar, RegistrarAway, Renewed
from placet_server.regions.registry import Granted

_pb = topology_service_pb2
_T = TypeVar("_T")

_TIMEOUT_S = 2.0
_MAY_PASS = frozenset(
    {
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.DEADLINE_EXCEEDED,
        grpc.StatusCode.CANCELLED,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.UNKNOWN,
    }
)


class UpstreamRegistrar:
    """Implements ``Registrar``: passes everything on to whoever is followed now.

    Args:
        channel: returns the connection there.
    """

    def __init__(self, channel: Callable[[], grpc.aio.Channel]) -> None:
        self._channel = channel

    async def register(self, registration: Registration) -> Granted:
        """See ``Registrar``."""
        request = _pb.RegisterNodeRequest(node=registration_to_wire(registration))
        call = self._stub().RegisterNode(request, timeout=_TIMEOUT_S)
        answer = await _answered(call, registration.id)
        reader = Reader()
        node = read_node(answer.node, reader, "node")
        reader.finish()
        return Granted(node=node, lease_s=seconds(answer.lease_duration))

    async def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float
    ) -> Renewed:
        """See ``Registrar``."""
        request = renewal_to_wire(id_, instance, condition, round_trip_s=round_trip_s)
        answer = await _answered(self._stub().RenewNodeLease(request, timeout=_TIMEOUT_S), id_)
        return Renewed(lease_s=seconds(answer.lease_duration), draining=answer.draining)

    async def deregister(self, id_: str, instance: str) -> None:
        """See ``Registrar``."""
        request = _pb.DeregisterNodeRequest(node=id_, instance=instance)
        await _answered(self._stub().DeregisterNode(request, timeout=_TIMEOUT_S), id_)

    def _stub(self) -> topology_service_pb2_grpc.TopologyServiceAsyncStub:
        stub: topology_service_pb2_grpc.TopologyServiceAsyncStub = (
            topology_service_pb2_grpc.TopologyServiceStub(self._channel())
        )
        return stub


class OwnRegistrar:
    """Implements ``Registrar`` for this node: what it follows is said as it is at the time.

    Args:
        registrar: who is asked.
        upstreams: returns the ids of the nodes that this one follows now, the nearest first.
    """

    def __init__(self, registrar: Registrar, upstreams: Callable[[], tuple[str, ...]]) -> None:
        self._registrar = registrar
        self._upstreams = upstreams
        self._said: tuple[str, ...] = ()

    async def register(self, registration: Registration) -> Granted:
        """See ``Registrar``."""
        followed = self._upstreams()[:1]
        granted = await self._registrar.register(replace(registration, upstreams=followed))
        self._said = followed
        return granted

    async def renew(
        self, id_: str, instance: str, condition: Condition, *, round_trip_s: float
    ) -> Renewed:
        """See ``Registrar``. A node that follows another than it said has to register again."""
        followed = self._upstreams()[:1]
        if followed and followed != self._said:
            raise LeaseGone(id_)
        return await self._registrar.renew(id_, instance, condition, round_trip_s=round_trip_s)

    async def deregister(self, id_: str, instance: str) -> None:
        """See ``Registrar``."""
        await self._registrar.deregister(id_, instance)


async def _answered(call: Awaitable[_T], id_: str) -> _T:
    """Wait for an answer; raise what a registry in this process would have raised."""
    try:
        return await call
    except grpc.aio.AioRpcError as rpc_error:
        error = from_rpc_error(rpc_error)
        if rpc_error.code() in _MAY_PASS:
            raise RegistrarAway(str(error)) from rpc_error
        raise _as_here(error, id_) from rpc_error


def _as_here(error: RemoteError, id_: str) -> Exception:
    match error.reason:
        case "NODE_ID_TAKEN":
            after = getattr(error, "retry_after", None)
            return NodeIdTaken(id_, retry_after_s=after.total_seconds() if after else 1.0)
        case "LEASE_GONE":
            return LeaseGone(id_)
        case "UPSTREAM_LOOP":
            return UpstreamLoop(id_)
        case reason:
            return UpstreamRefused(str(error), reason)
