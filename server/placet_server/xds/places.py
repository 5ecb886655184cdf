"""Where nodes are, and what that is to a balancer: a region is a priority, nearest first. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from placet_server.xds.v3 import core_pb2, endpoint_pb2
from placet_server.xds.values import number


@dataclass(frozen=True, slots=True)
class Host:
    """One address that takes calls."""

    ip: str
    port: int
    name: str
    """What it was known by: a name, or the same number."""
    weight: int


@dataclass(frozen=True, slots=True)
class Place:
    """A region with its hosts: at least one."""

    region: str
    hosts: tuple[Host, ...]


@dataclass(frozen=True, slots=True)
class Places:
    """Regions, nearest first. Written down once for all targets that lead there."""

    regions: tuple[Place, ...]
    _written: dict[bool, bytes] = field(default_factory=dict, compare=False, repr=False)

    def assignment(self, name: str, *, weigh: bool) -> bytes:
        """Return what a cluster consists of, as a message.

        Args:
            name: the cluster's.
            weigh: whether hosts get calls by their weights.
        """
        written = self._written.get(weigh)
        if written is None:
            localities = endpoint_pb2.ClusterLoadAssignment(endpoints=self._localities(weigh))
            written = self._written[weigh] = localities.SerializeToString(deterministic=True)
        # By protobuf's encoding, one message after the other is both of them together.
        named = endpoint_pb2.ClusterLoadAssignment(cluster_name=name)
        return named.SerializeToString() + written

    def _localities(self, weigh: bool) -> Iterator[endpoint_pb2.LocalityLbEndpoints]:
        for priority, place in enumerate(self.regions):
            weights = [host.weight if weigh else 1 for host in place.hosts]
            yield endpoint_pb2.LocalityLbEndpoints(
                locality=core_pb2.Locality(region=place.region),
                lb_endpoints=map(_endpoint, place.hosts, weights),
                load_balancing_weight=number(sum(weights)),
                priority=priority,
            )


def _endpoint(host: Host, weight: int) -> endpoint_pb2.LbEndpoint:
    socket = core_pb2.SocketAddress(address=host.ip, port_value=host.port)
    return endpoint_pb2.LbEndpoint(
        endpoint=endpoint_pb2.Endpoint(
            address=core_pb2.Address(socket_address=socket), hostname=host.name
        ),
        load_balancing_weight=number(weight),
    )
