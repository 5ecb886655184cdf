"""Clients that speak xDS, as messages for people who look after them."""

from __future__ import annotations

from collections.abc import Mapping

from placet.v1 import node_service_pb2, topology_pb2
from placet.wire import timestamp
from placet_server.xds.clients import Balancing, Kind
from placet_server.xds.exchange import Subscription
from placet_server.xds.resources import Type
from placet_server.xds.roster import Session

_pb = node_service_pb2

_LIBRARIES: Mapping[Kind, _pb.XdsLibrary.ValueType] = {
    Kind.CORE: _pb.XDS_LIBRARY_C_CORE,
    Kind.GO: _pb.XDS_LIBRARY_GO,
    Kind.JAVA: _pb.XDS_LIBRARY_JAVA,
    Kind.NODE: _pb.XDS_LIBRARY_NODE,
    Kind.ENVOY: _pb.XDS_LIBRARY_ENVOY,
    Kind.OTHER: _pb.XDS_LIBRARY_UNSPECIFIED,
}
_TYPES: Mapping[Type, _pb.XdsResourceType.ValueType] = {
    Type.CLUSTER: _pb.XDS_RESOURCE_TYPE_CLUSTER,
    Type.ENDPOINTS: _pb.XDS_RESOURCE_TYPE_ENDPOINTS,
    Type.LISTENER: _pb.XDS_RESOURCE_TYPE_LISTENER,
    Type.ROUTES: _pb.XDS_RESOURCE_TYPE_ROUTES,
}


def xds_client_to_wire(session: Session, balancing: Balancing) -> _pb.XdsClient:
    """Return a client as a message."""
    client = session.client
    message = _pb.XdsClient(
        id=client.id,
        library=_LIBRARIES[client.kind],
        user_agent=client.agent,
        version=client.version,
        region=client.region,
        tenant=client.default.tenant,
        balancing=balancing.value,
        peer=session.peer,
        caller=session.caller,
        connect_time=timestamp(session.start_time),
        subscriptions=(
            _subscription(type_, session.exchange.subscriptions[type_])
            for type_ in Type
            if type_ in session.exchange.subscriptions
        ),
    )
    if client.bound is not None:
        message.residency = topology_pb2.ResidencyRule.ValueType(client.bound.value)
    return message


def _subscription(type_: Type, subscription: Subscription) -> _pb.XdsSubscription:
    message = _pb.XdsSubscription(
        type=_TYPES[type_],
        names=sorted(subscription.names),
        sent_version=subscription.sent,
        accepted_version=subscription.accepted,
    )
    refused = subscription.refused
    if refused is not None:
        message.refusal.version = refused.version
        message.refusal.message = refused.message
        message.refusal.time.CopyFrom(timestamp(refused.time))
    return message
