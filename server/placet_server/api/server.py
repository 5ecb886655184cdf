"""The gRPC server: services, health, reflection, channelz, and how it stops."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.message import Message
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from placet.v1 import (
    evaluate_service_pb2,
    node_service_pb2,
    node_service_pb2_grpc,
    policy_service_pb2,
    policy_service_pb2_grpc,
    rollout_service_pb2,
    rollout_service_pb2_grpc,
    subscribe_service_pb2,
    subscribe_service_pb2_grpc,
    topology_service_pb2,
)
from placet_server.admission.control import AdmissionControl
from placet_server.api.admitting import AdmissionInterceptor
from placet_server.api.discovery import DiscoveryService, discovery_handlers
from placet_server.api.edge import NEED_A_STORE
from placet_server.api.evaluate import EvaluateService
from placet_server.api.health import HealthService
from placet_server.api.identity import IdentityInterceptor
from placet_server.api.interceptor import TRANSPORT_BYTES, EdgeInterceptor
from placet_server.api.node import NodeService
from placet_server.api.policy import PolicyService
from placet_server.api.probe import Prober
from placet_server.api.reflection import add_reflection
from placet_server.api.residency import ResidencyGuard
from placet_server.api.rollout import RolloutService
from placet_server.api.subscribe import SubscribeService
from placet_server.api.topology import TopologyService
from placet_server.api.topology_nodes import TopologyNodes
from placet_server.api.topology_watching import TopologyWatching
from placet_server.identity.callers import Callers
from placet_server.listening import AddressUnavailable, Listening
from placet_server.policies.hub import Hub
from placet_server.regions.audience import Audience
from placet_server.telemetry.rpc import RpcTelemetry

log = logging.getLogger(__name__)

PLACET_SERVICES: tuple[str, ...] = (
    evaluate_service_pb2.DESCRIPTOR.services_by_name["EvaluateService"].full_name,
    policy_service_pb2.DESCRIPTOR.services_by_name["PolicyService"].full_name,
    subscribe_service_pb2.DESCRIPTOR.services_by_name["SubscribeService"].full_name,
    rollout_service_pb2.DESCRIPTOR.services_by_name["RolloutService"].full_name,
    node_service_pb2.DESCRIPTOR.services_by_name["NodeService"].full_name,
    topology_service_pb2.DESCRIPTOR.services_by_name["TopologyService"].full_name,
)
_OTHER_SERVICES: tuple[str, ...] = (
    health_pb2.DESCRIPTOR.services_by_name["Health"].full_name,
    channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].full_name,
)


# A token and a certificate together take some kilobytes.
_METADATA_BYTES = 32 * 1024


def _options(listening: Listening) -> list[tuple[str, int]]:
    options = [
        ("grpc.max_metadata_size", _METADATA_BYTES),
        ("grpc.absolute_max_metadata_size", 2 * _METADATA_BYTES),
        ("grpc.max_receive_message_length", TRANSPORT_BYTES),
        # A second server on a taken port has to fail, not to share its connections.
        ("grpc.so_reuseport", int(listening.is_shared)),
        # Clients find out by pings that a node hangs; they must be allowed to. (C-core calls
        # the argument MIN_RECV_PING_INTERVAL_WITHOUT_DATA, and names it like this.)
        ("grpc.http2.min_ping_interval_without_data_ms", 100),
        ("grpc.keepalive_permit_without_calls", 1),
        # Streams of xDS may be silent for as long as nothing changes: whoever is gone without a
        # word is found out by pings of this side.
        ("grpc.keepalive_time_ms", 60_000),
        ("grpc.keepalive_timeout_ms", 20_000),
    ]
    if listening.max_connection_age_s:
        # gRPC varies it by a tenth, and lets calls under way end whenever they do.
        age_ms = round(listening.max_connection_age_s * 1000)
        options.append(("grpc.max_connection_age_ms", age_ms))
    return options


@dataclass(frozen=True, slots=True, kw_only=True)
class Services:
    """What is served."""

    evaluate: EvaluateService
    subscribe: SubscribeService
    node: NodeService
    topology: TopologyService
    topology_nodes: TopologyNodes
    topology_watching: TopologyWatching
    discovery: DiscoveryService
    policy: PolicyService | None = None
    """None on a node without a store, and so are rollouts."""
    rollout: RolloutService | None = None
    in_their_place: tuple[grpc.GenericRpcHandler, ...] = ()
    """What answers the calls of services that are not here."""


class ApiServer:
    """One gRPC server on one address.

    Args:
        listening: where.
        services: what is served.
        hub: subscribers, who are told when it stops.
        admission: decides what is taken.
        write_timeout_s: for how long a stream's caller may read nothing.
        drain_s: how long calls under way may take when it stops.
        telemetry: measures calls. None: nobody does.
        callers: knows callers. None: everybody may do everything.
        credentials: TLS. None: plain text.
    """

    def __init__(
        self,
        *,
        listening: Listening,
        services: Services,
        hub: Hub,
        audience: Audience,
        admission: AdmissionControl,
        guard: ResidencyGuard,
        write_timeout_s: float,
        drain_s: float,
        telemetry: RpcTelemetry | None = None,
        callers: Callers | None = None,
        credentials: grpc.ServerCredentials | None = None,
    ) -> None:
        self._listening = listening
        self._credentials = credentials
        self._hub = hub
        self._audience = audience
        self._drain_s = drain_s
        self._is_ready = self._is_turned_away = self._is_draining = self._is_drained = False
        absent = () if services.policy else (service.full_name for service in NEED_A_STORE)
        self._health = HealthService(PLACET_SERVICES, absent)
        self._admission = admission
        self._prober = Prober(admission)
        interceptors: list[grpc.aio.ServerInterceptor] = [
            AdmissionInterceptor(admission, self._prober),
            EdgeInterceptor(write_timeout_s=write_timeout_s, telemetry=telemetry),
        ]
        if callers is not None:
            interceptors.append(
                IdentityInterceptor(callers, is_behind_envoy=listening.is_behind_envoy)
            )
        interceptors.append(guard)
        self._server = grpc.aio.server(
            interceptors=interceptors,
            options=_options(listening),
        )
        self._server.add_generic_rpc_handlers((_evaluate_handlers(services.evaluate),))
        if services.policy is not None:
            policy_service_pb2_grpc.add_PolicyServiceServicer_to_server(
                services.policy, self._server
            )
        if services.rollout is not None:
            rollout_service_pb2_grpc.add_RolloutServiceServicer_to_server(
                services.rollout, self._server
            )
        self._server.add_generic_rpc_handlers(services.in_their_place)
        subscribe_service_pb2_grpc.add_SubscribeServiceServicer_to_server(
            services.subscribe, self._server
        )
        node_service_pb2_grpc.add_NodeServiceServicer_to_server(services.node, self._server)
        topology = (services.topology, services.topology_nodes, services.topology_watching)
        self._server.add_generic_rpc_handlers(
            (_topology_handlers(*topology), discovery_handlers(services.discovery))
        )
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        channelz.add_channelz_servicer(self._server)
        add_reflection(self._server, (*PLACET_SERVICES, *_OTHER_SERVICES))

    async def start(self, *, is_ready: bool = True) -> int:
        """Listen and serve; return the port.

        Args:
            is_ready: whether there is anything to serve. If not, health says so until
                :meth:`be_ready`.

        Raises:
            AddressUnavailable: it is taken, or not this machine's.
        """
        address = self._listening.address
        try:
            port = (
                self._server.add_insecure_port(address)
                if self._credentials is None
                else self._server.add_secure_port(address, self._credentials)
            )
        except RuntimeError as error:
            raise AddressUnavailable(
                f"cannot listen on `{address}`: it is in use or not an address of this machine; "
                "choose another with --listen"
            ) from error
        if self._admission.limits.target_wait_s:
            self._prober.listen(self._server)
        await self._server.start()
        if is_ready:
            await self.be_ready()
        return port

    async def be_ready(self) -> None:
        """Say from now on that there is something to serve."""
        self._is_ready = True
        await self._tell_health()

    async def _tell_health(self) -> None:
        is_away = self._is_turned_away or self._is_draining
        await self._health.set_serving(self._is_ready and not is_away)

    async def turn_away(self, is_turned_away: bool) -> None:
        """Send callers elsewhere who have somewhere else to go, or have them come again.

        Health says that nothing is served, and subscribers are told to go. Calls that come all the
        same are answered: they may be of somebody who knows no other node.
        """
        self._is_turned_away = is_turned_away
        await self._tell_health()
        if is_turned_away:
            self._hub.leave()
        else:
            self._hub.stay()
        log.info("calls are sent elsewhere" if is_turned_away else "calls are taken again")

    async def drain(self) -> None:
        """Stop: tell health watchers and subscribers first, then let calls under way finish."""
        if self._is_drained:
            return
        self._is_draining = True
        await self._tell_health()
        self._hub.leave()
        self._audience.leave()
        await self._prober.aclose()
        await self._server.stop(self._drain_s)
        self._is_drained = True
        log.info("drained")


def _evaluate_handlers(service: EvaluateService) -> grpc.GenericRpcHandler:
    """Register the service by hand: its hot methods take and return bytes."""
    pb = evaluate_service_pb2
    return grpc.method_handlers_generic_handler(
        pb.DESCRIPTOR.services_by_name["EvaluateService"].full_name,
        {
            "Evaluate": grpc.unary_unary_rpc_method_handler(service.Evaluate),
            "EvaluateBatch": grpc.unary_unary_rpc_method_handler(service.EvaluateBatch),
            "EvaluateStream": grpc.stream_stream_rpc_method_handler(service.EvaluateStream),
            "Explain": grpc.unary_unary_rpc_method_handler(
                service.Explain, pb.ExplainRequest.FromString, _serialized
            ),
            "Search": grpc.unary_unary_rpc_method_handler(
                service.Search, pb.SearchRequest.FromString, _serialized
            ),
        },
    )


def _topology_handlers(*parts: object) -> grpc.GenericRpcHandler:
    """Register a service whose rpcs several classes have."""
    service = topology_service_pb2.DESCRIPTOR.services_by_name["TopologyService"]
    handlers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
    for method in service.methods:
        request = getattr(topology_service_pb2, method.input_type.name)
        handle = next(getattr(part, method.name) for part in parts if hasattr(part, method.name))
        make = (
            grpc.unary_stream_rpc_method_handler
            if method.server_streaming
            else grpc.unary_unary_rpc_method_handler
        )
        handlers[method.name] = make(handle, request.FromString, _serialized)
    return grpc.method_handlers_generic_handler(service.full_name, handlers)


def _serialized(message: Message) -> bytes:
    return message.SerializeToString()
