"""What a node without a store serves in the place of what needs one: where to go instead.

What nodes tell of themselves it takes, and passes on.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any

import grpc
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from placet.v1 import policy_service_pb2, rollout_service_pb2
from placet_engine.items import Item, Placement, Revision
from placet_server.api.node_reports import NodeReports, ReportRpcs
from placet_server.errors import NotAControlNode

_Context = grpc.aio.ServicerContext[Any, Any]
# Handlers of every method stand here, whatever their types.
_Handler = Any
_pb = rollout_service_pb2

ControlNodes = Callable[[], Sequence[str]]
"""Returns the addresses of control nodes, as far as they are known."""

NEED_A_STORE: tuple[ServiceDescriptor, ...] = (
    policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"],
    rollout_service_pb2.DESCRIPTOR.services_by_name["RolloutService"],
)
"""Services of which a node without a store serves nothing to clients."""


def edge_handlers(
    control_nodes: ControlNodes, reports: NodeReports
) -> tuple[grpc.GenericRpcHandler, ...]:
    """Return what answers calls of the services that need a store."""
    passing = ReportRpcs(reports)
    taken: Mapping[str, _Handler] = {
        "AcknowledgeRevision": grpc.unary_unary_rpc_method_handler(
            passing.AcknowledgeRevision,
            _pb.AcknowledgeRevisionRequest.FromString,
            _serialized,
        ),
        "ReportRolloutSamples": grpc.unary_unary_rpc_method_handler(
            passing.ReportRolloutSamples,
            _pb.ReportRolloutSamplesRequest.FromString,
            _serialized,
        ),
    }
    return tuple(_handlers(service, control_nodes, taken) for service in NEED_A_STORE)


class NoStore:
    """Stands where on a control node things are written to the store.

    Args:
        control_nodes: returns where to go instead.
    """

    def __init__(self, control_nodes: ControlNodes) -> None:
        self._control_nodes = control_nodes

    async def place(
        self, placement: Placement, *, etag: str, author: str, timeout_s: float
    ) -> Item:
        """See ``Places``. Raises ``NotAControlNode``."""
        raise NotAControlNode(self._control_nodes())

    async def update(
        self,
        node: str,
        *,
        weight: int | None = None,
        draining: bool | None = None,
        etag: str = "",
        author: str = "",
    ) -> Revision:
        """See ``KeepsSettings``. Raises ``NotAControlNode``."""
        raise NotAControlNode(self._control_nodes())


def _handlers(
    service: ServiceDescriptor,
    control_nodes: ControlNodes,
    taken: Mapping[str, _Handler],
) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        service.full_name,
        {
            method.name: taken.get(method.name) or _refusing(method, control_nodes)
            for method in service.methods
        },
    )


def _refusing(method: MethodDescriptor, control_nodes: ControlNodes) -> _Handler:
    read = GetMessageClass(method.input_type).FromString

    async def refuse(request: Message, context: _Context) -> Message:
        raise NotAControlNode(control_nodes())

    async def refuse_stream(request: Message, context: _Context) -> AsyncIterator[Message]:
        for message in _NONE:
            yield message
        raise NotAControlNode(control_nodes())

    if method.server_streaming:
        return grpc.unary_stream_rpc_method_handler(refuse_stream, read, _serialized)
    return grpc.unary_unary_rpc_method_handler(refuse, read, _serialized)


_NONE: Sequence[Message] = ()


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
