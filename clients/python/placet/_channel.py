"""Opening connections to a server: one target now, several to choose from later."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias, cast

import grpc

from placet._callers import TellingChannel
from placet._calls import Metadata
from placet._credentials import Credentials, opened

ChannelOptions: TypeAlias = Sequence[tuple[str, "int | str"]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """Where a server is and how to talk to it. Opening connects at the first call."""

    target: str
    """A gRPC target, such as ``localhost:7717`` or ``dns:///placet.internal:7717``."""
    credentials: grpc.ChannelCredentials | Credentials | None = None
    """Plain text without."""
    options: tuple[tuple[str, int | str], ...] = ()
    """Channel arguments, over the defaults below."""
    caller: Metadata = ()
    """Goes with every call."""

    def open(self) -> grpc.Channel:
        """Return a channel for threads."""
        channel = opened(grpc, self.target, self.credentials, self._options())
        return cast("grpc.Channel", self._telling(channel))

    def open_aio(self) -> grpc.aio.Channel:
        """Return a channel for the running event loop."""
        channel = opened(grpc.aio, self.target, self.credentials, self._options())
        return cast("grpc.aio.Channel", self._telling(channel))

    def _telling(self, channel: object) -> object:
        return TellingChannel(channel, self.caller) if self.caller else channel

    def _options(self) -> list[tuple[str, int | str]]:
        return list({**_OPTIONS, **dict(self.options)}.items())


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
    "placet.v1.NodeService": ("GetCacheStatistics",),
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
