"""What stock clients are started with: where their control planes are, and who they are.

gRPC's file is that of gRFC A27, with A65's credentials and A71's several servers. Envoy's is its
bootstrap: a port for callers on this machine, whose routes come from the control plane.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias

Document: TypeAlias = dict[str, Any]


@dataclass(frozen=True, slots=True, kw_only=True)
class Tls:
    """How clients talk TLS, to control planes and, in Envoy, to nodes."""

    ca: Path | None = None
    """None: whom the machine trusts."""
    cert: Path | None = None
    key: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Who:
    """What a client says of itself."""

    id: str
    region: str = ""
    country: str = ""
    tenant: str = ""
    residency: str = ""
    balancing: str = ""

    def node(self, **more: str) -> Document:
        """Return it as xDS has it."""
        said = {
            "placet.tenant": self.tenant,
            "placet.residency": self.residency,
            "placet.country": self.country,
            "placet.balancing": self.balancing,
            **more,
        }
        # grpc-js-xds fails every call of a client that has no locality at all.
        locality = {"region": self.region} if self.region else {}
        node: Document = {"id": self.id, "locality": locality}
        metadata = {key: value for key, value in said.items() if value}
        if metadata:
            node["metadata"] = metadata
        return node


def for_grpc(
    servers: Sequence[str], who: Who, *, tls: Tls | None = None, token_file: Path | None = None
) -> Document:
    """Return a bootstrap for gRPC's libraries.

    Args:
        servers: control planes, the preferred one first: ``host:port``, or a target such as
            ``dns:///name:port``.
        who: the client.
        tls: how it talks TLS to them. None: plain text.
        token_file: has a bearer token for them.
    """
    credentials = _credentials(tls)
    calls: Document = {}
    if token_file is not None:
        # gRFC A97.
        config = {"jwt_token_file": str(token_file)}
        calls = {"call_creds": [{"type": "jwt_token_file", "config": config}]}
    return {
        "xds_servers": [
            {
                "server_uri": server,
                "channel_creds": [credentials],
                **calls,
                # What older libraries need, to speak the third version of the API.
                "server_features": ["xds_v3"],
            }
            for server in servers
        ],
        "node": who.node(),
    }


def _credentials(tls: Tls | None) -> Document:
    if tls is None:
        return {"type": "insecure"}
    files = {
        "ca_certificate_file": tls.ca,
        "certificate_file": tls.cert,
        "private_key_file": tls.key,
    }
    config = {name: str(path) for name, path in files.items() if path is not None}
    return {"type": "tls", "config": config} if config else {"type": "tls"}


# ------------------------------------------------------------------------------------- Envoy


_TYPES = "type.googleapis.com/envoy."
_TLS_CONTEXT = f"{_TYPES}extensions.transport_sockets.tls.v3.UpstreamTlsContext"
_CA, _CERTIFICATE = "placet_ca", "placet_certificate"
_CONTROL = "placet-control"
_FROM_CONTROL = {"ads": {}, "resource_api_version": "V3"}
_HTTP2 = {"connection_keepalive": {"interval": "5s", "timeout": "2s"}}


def for_envoy(
    servers: Sequence[tuple[str, int]],
    who: Who,
    *,
    listen: tuple[str, int],
    tls: Tls | None = None,
) -> Document:
    """Return a bootstrap for an Envoy that callers on this machine go through.

    Args:
        servers: hosts and ports of control planes, any of which will do.
        who: the Envoy.
        listen: where callers reach it, in plain text.
        tls: how it talks TLS to control planes and nodes. None: plain text.
    """
    mutual = tls is not None and tls.cert is not None
    said = {} if tls is None else {"placet.tls": "mutual" if mutual else "server"}
    return {
        "node": {**who.node(**said), "cluster": "placet-clients"},
        "dynamic_resources": {
            "ads_config": {
                "api_type": "GRPC",
                "transport_api_version": "V3",
                "grpc_services": [{"envoy_grpc": {"cluster_name": _CONTROL}}],
            },
            "cds_config": _FROM_CONTROL,
        },
        "static_resources": {
            "listeners": [_listener(listen)],
            "clusters": [_control(servers, tls)],
            **({"secrets": _secrets(tls)} if tls is not None else {}),
        },
    }


def _listener(listen: tuple[str, int]) -> Document:
    router = {"@type": f"{_TYPES}extensions.filters.http.router.v3.Router"}
    manager = {
        "@type": (
            f"{_TYPES}extensions.filters.network.http_connection_manager.v3.HttpConnectionManager"
        ),
        "stat_prefix": "placet",
        # Streams of policies may be silent for as long as they like.
        "stream_idle_timeout": "0s",
        "rds": {"route_config_name": "placet", "config_source": _FROM_CONTROL},
        "http_filters": [{"name": "envoy.filters.http.router", "typed_config": router}],
    }
    return {
        "name": "placet",
        "address": _address(listen),
        "filter_chains": [
            {
                "filters": [
                    {
                        "name": "envoy.filters.network.http_connection_manager",
                        "typed_config": manager,
                    }
                ]
            }
        ],
    }


def _control(servers: Sequence[tuple[str, int]], tls: Tls | None) -> Document:
    cluster: Document = {
        "name": _CONTROL,
        "type": "STRICT_DNS",
        "connect_timeout": "1s",
        "typed_extension_protocol_options": {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                "@type": f"{_TYPES}extensions.upstreams.http.v3.HttpProtocolOptions",
                "explicit_http_config": {"http2_protocol_options": _HTTP2},
            }
        },
        "load_assignment": {
            "cluster_name": _CONTROL,
            "endpoints": [
                {
                    "lb_endpoints": [
                        {"endpoint": {"address": _address(server), "hostname": server[0]}}
                        for server in servers
                    ]
                }
            ],
        },
    }
    if tls is not None:
        cluster["transport_socket"] = {
            "name": "envoy.transport_sockets.tls",
            "typed_config": {
                "@type": _TLS_CONTEXT,
                "auto_host_sni": True,
                "auto_sni_san_validation": True,
                "common_tls_context": _common(tls),
            },
        }
    return cluster


def _common(tls: Tls) -> Document:
    shown = [{"name": _CERTIFICATE}] if tls.cert is not None else []
    return {
        "alpn_protocols": ["h2"],
        "validation_context_sds_secret_config": {"name": _CA},
        **({"tls_certificate_sds_secret_configs": shown} if shown else {}),
    }


def _secrets(tls: Tls) -> list[Document]:
    trusted: Mapping[str, Any] = (
        {"trusted_ca": {"filename": str(tls.ca)}}
        if tls.ca is not None
        else {"system_root_certs": {}}
    )
    secrets: list[Document] = [{"name": _CA, "validation_context": trusted}]
    if tls.cert is not None and tls.key is not None:
        certificate = {
            "certificate_chain": {"filename": str(tls.cert)},
            "private_key": {"filename": str(tls.key)},
        }
        secrets.append({"name": _CERTIFICATE, "tls_certificate": certificate})
    return secrets


def _address(host_port: tuple[str, int]) -> Document:
    host, port = host_port
    return {"socket_address": {"address": host, "port_value": port}}
