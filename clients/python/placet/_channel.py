"""Opening connections to servers: to one target, or to endpoints that calls are balanced over."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import grpc

from placet._balancing.aio_channel import BalancedAioChannel
from placet._balancing.balancer import Balancer
from placet._balancing.channel import BalancedChannel
from placet._balancing.endpoints import Endpoint, in_order, split_addresses
from placet._balancing.options import Balancing
from placet._balancing.sources import Dns, DnsSource, Listed, Source, Topology, TopologySource
from placet._callers import TellingChannel
from placet._calls import Metadata
from placet._credentials import Credentials, opened
from placet._redirecting import RedirectingAioChannel, RedirectingChannel
from placet._values import refusal

ChannelOptions: TypeAlias = Sequence[tuple[str, "int | str"]]
Target: TypeAlias = "str | Endpoint | Dns | Topology | Sequence[str | Endpoint]"
"""Where servers are. A text with one address is a target of gRPC's own: ``localhost:7717``,
``dns:///placet.internal:7717``. Everything else is endpoints that calls are balanced over: several
addresses with commas, a sequence of addresses or ``Endpoint``, ``Dns``, ``Topology``."""


@dataclass(frozen=True, slots=True)
class Dialing:
    """How to talk to servers, whichever they are. Opening connects at the first call."""

    credentials: grpc.ChannelCredentials | Credentials | None = None
    """Plain text without."""
    options: tuple[tuple[str, int | str], ...] = ()
    """Channel arguments, over the defaults below."""
    caller: Metadata = ()
    """Goes with every call."""

    def __post_init__(self) -> None:
        """Say now, and not at the first call, what is wrong with files.

        Raises:
            InvalidRequest: one cannot be used.
        """
        if isinstance(self.credentials, Credentials):
            self.credentials.check()

    def open(self, target: str, defaults: dict[str, int | str]) -> grpc.Channel:
        """Return a channel for threads."""
        channel = opened(grpc, target, self.credentials, self._options(defaults))
        return cast("grpc.Channel", self._telling(channel))

    def open_aio(self, target: str, defaults: dict[str, int | str]) -> grpc.aio.Channel:
        """Return a channel for the running event loop."""
        channel = opened(grpc.aio, target, self.credentials, self._options(defaults))
        return cast("grpc.aio.Channel", self._telling(channel))

    def _telling(self, channel: object) -> object:
        return TellingChannel(channel, self.caller) if self.caller else channel

    def _options(self, defaults: dict[str, int | str]) -> list[tuple[str, int | str]]:
        return list({**defaults, **dict(self.options)}.items())


class Destination:
    """Where servers are and how to talk to them. Opening connects at the first call."""

    def __init__(
        self,
        target: Target,
        dialing: Dialing | None = None,
        *,
        balancing: Balancing | None = None,
        tenant: str | None = None,
    ) -> None:
        """Read where servers are.

        Raises:
            InvalidRequest: the target cannot be one, or does not go with the options.
        """
        self._dialing = dialing or Dialing()
        self._tenant = tenant
        self._plain = target if isinstance(target, str) and is_plain(target, balancing) else None
        self._balancing = balancing or Balancing()
        self._target = target
        if self._plain is None:
            # What is wrong with it is said now, and not at the first call.
            self._source()

    @property
    def is_balanced(self) -> bool:
        """Whether there are endpoints to choose from."""
        return self._plain is None

    def open(self) -> grpc.Channel:
        """Return a channel for threads."""
        if self._plain is not None:
            plain = self._dialing.open(self._plain, self._plain_options(self._plain))
            return cast("grpc.Channel", RedirectingChannel(plain, self.open_balanced))
        return cast("grpc.Channel", self.open_balanced())

    def open_balanced(self) -> BalancedChannel:
        """Return a channel for threads that chooses between endpoints."""
        return BalancedChannel(
            Balancer(self._balancing),
            self._source(),
            open_channel=self._open_endpoint,
            open_aio=self._open_endpoint_aio,
            repeatable=REPEATABLE,
            tenant=self._tenant or "",
        )

    def open_aio(self) -> grpc.aio.Channel:
        """Return a channel for the running event loop."""
        if self._plain is not None:
            plain = self._dialing.open_aio(self._plain, self._plain_options(self._plain))
            return cast("grpc.aio.Channel", RedirectingAioChannel(plain, self.open_balanced_aio))
        return cast("grpc.aio.Channel", self.open_balanced_aio())

    def open_balanced_aio(self) -> BalancedAioChannel:
        """Return a channel for the running event loop that chooses between endpoints."""
        return BalancedAioChannel(
            Balancer(self._balancing),
            self._source(),
            open_aio=self._open_endpoint_aio,
            repeatable=REPEATABLE,
            tenant=self._tenant or "",
        )

    def _open_endpoint(self, endpoint: Endpoint) -> grpc.Channel:
        return self._dialing.open(endpoint.address, self._endpoint_options(endpoint))

    def _open_endpoint_aio(self, endpoint: Endpoint) -> grpc.aio.Channel:
        return self._dialing.open_aio(endpoint.address, self._endpoint_options(endpoint))

    def _plain_options(self, target: str) -> dict[str, int | str]:
        # By xDS, gRPC chooses between nodes: a call at one that hangs would wait for its deadline,
        # instead of being made again at another.
        return {**_OPTIONS, **self._pings()} if target.startswith(_XDS_SCHEME) else _OPTIONS

    def _pings(self) -> dict[str, int | str]:
        timeout_ms = round(self._balancing.ping_timeout_s * 1000)
        return {
            "grpc.keepalive_time_ms": round(self._balancing.ping_every_s * 1000),
            "grpc.keepalive_timeout_ms": timeout_ms,
            # Without it a process that is stopped, and whose kernel still takes what is sent,
            # is not noticed for a minute.
            "grpc.http2.ping_timeout_ms": timeout_ms,
        }

    def _endpoint_options(self, endpoint: Endpoint) -> dict[str, int | str]:
        options: dict[str, int | str] = {
            **_OPTIONS,
            **self._pings(),
            # Repeating is done here, at another endpoint; what gRPC repeated on its own would
            # multiply with that, and be paid for by no budget.
            "grpc.service_config": "{}",
            "grpc.enable_retries": 0,
            "grpc.max_reconnect_backoff_ms": 1_000,
        }
        if endpoint.authority:
            options["grpc.default_authority"] = endpoint.authority
            if self._dialing.credentials is not None:
                host = endpoint.authority.rpartition(":")[0]
                options["grpc.ssl_target_name_override"] = host
        return options

    def _source(self) -> Source:
        balancing, target = self._balancing, self._target
        rng = random.Random()  # noqa: S311  # spreads retries and look-ups
        if isinstance(target, str) and target.startswith(_DNS_SCHEME):
            target = Dns(target.removeprefix(_DNS_SCHEME).lstrip("/"))
        match target:
            case Topology():
                if balancing.regions:
                    raise refusal("regions", "is given, and the route orders them; leave it out")
                return TopologySource(target.endpoints(), target.request(self._tenant), rng)
            case Dns():
                if balancing.regions and target.region not in balancing.regions:
                    raise refusal("regions", f"has nothing of `{target.region}`")
                return DnsSource(target, tuple(balancing.regions), rng)
            case _:
                return Listed(_tiers(target, balancing.regions))


def is_plain(target: str, balancing: Balancing | None) -> bool:
    """Return whether a text is one target of gRPC's, with nothing to choose from."""
    # gRPC has lists of its own, behind a scheme.
    has_several = "," in target and not target.startswith(("ipv4:", "ipv6:"))
    return balancing is None and not has_several


def _tiers(
    target: str | Endpoint | Sequence[str | Endpoint], regions: Sequence[str]
) -> Sequence[Sequence[Endpoint]]:
    if isinstance(target, str):
        listed: Iterable[str | Endpoint] = split_addresses(target)
    else:
        listed = [target] if isinstance(target, Endpoint) else target
    endpoints = [each if isinstance(each, Endpoint) else Endpoint(each) for each in listed]
    if not endpoints:
        raise refusal("target", "is empty; name where a server is")
    addresses = [endpoint.address for endpoint in endpoints]
    twice = next((each for each in addresses if addresses.count(each) > 1), None)
    if twice is not None:
        raise refusal("target", f"has `{twice}` twice")
    tiers = in_order(endpoints, regions)
    if not any(tiers):
        listed_regions = ", ".join(f"`{region}`" for region in regions)
        raise refusal("target", f"has no endpoint in any of the regions {listed_regions}")
    return tiers


_DNS_SCHEME, _XDS_SCHEME = "dns:", "xds:"

# Repeating these changes nothing: what writes carries a request id. The streams are
# not here: EvaluateStream cannot be replayed, Subscribe goes on by its cursor.
_RETRIED = {
    "placet.v1.EvaluateService": ("Evaluate", "EvaluateBatch", "Explain", "Search"),
    "placet.v1.PolicyService": (
        "Publish",
        "Validate",
        "Get",
        "List",
        "History",
        "Diff",
        "Test",
    ),
    "placet.v1.NodeService": ("GetCacheStatistics", "ListXdsClients"),
    "placet.v1.TopologyService": (
        "ListRegions",
        "PutTenant",
        "GetTenant",
        "ListTenants",
        "GetRoute",
    ),
    "placet.v1.RolloutService": (
        "StartRollout",
        "ApproveRollout",
        "PauseRollout",
        "ResumeRollout",
        "PromoteRollout",
        "RollBack",
        "GetRollout",
        "ListRollouts",
        "ListNodeRevisions",
    ),
}

REPEATABLE = frozenset(
    f"/{service}/{method}" for service, methods in _RETRIED.items() for method in methods
)

_SERVICE_CONFIG = {
    "methodConfig": [
        {
            "name": [
                {"service": service, "method": method}
                for service, methods in _RETRIED.items()
                for method in methods
            ],
            "retryPolicy": {
                "maxAttempts": 3,
                # gRPC adds the jitter.
                "initialBackoff": "0.05s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # A retry budget: when more than a tenth of the calls fail, retries stop.
    "retryThrottling": {"maxTokens": 20, "tokenRatio": 0.1},
}

_OPTIONS: dict[str, int | str] = {
    "grpc.service_config": json.dumps(_SERVICE_CONFIG),
    # A connection whose other end is gone without a word is noticed while calls are out.
    "grpc.keepalive_time_ms": 30_000,
    "grpc.keepalive_timeout_ms": 5_000,
    "grpc.http2.max_pings_without_data": 0,
    # Calls fail at once while a connection is being made anew, so that this must not
    # take the two minutes it may by default.
    "grpc.initial_reconnect_backoff_ms": 100,
    "grpc.min_reconnect_backoff_ms": 1_000,
    "grpc.max_reconnect_backoff_ms": 5_000,
    # A page of a thousand policies is larger than the default of 4 MiB.
    "grpc.max_receive_message_length": 64 * 1024 * 1024,
}
