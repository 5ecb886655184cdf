"""How Envoy has its TLS: out of the files of the configuration, which it reads anew when told.

It reads them by itself, so that no key lies about in another place. That it does so again is had
by moving something into a folder it watches, once somebody has seen that the new files are good.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from placet_server.config import TlsConfig

_Document = dict[str, Any]

_TYPES = "type.googleapis.com/envoy."
_SECRETS = "extensions.transport_sockets.tls.v3"
_WATCHED, _SIGN = "renewed", "sign"
_VERSIONS = {"1.2": "TLSv1_2", "1.3": "TLSv1_3"}


def prepare(config: TlsConfig, folder: Path) -> None:
    """Put down what Envoy reads at its start: where the files are, and what it is to watch."""
    (folder / _WATCHED).mkdir(parents=True)
    watched = {"watched_directory": {"path": str(folder / _WATCHED)}}
    _write_secret(
        folder,
        "server",
        tls_certificate={
            "certificate_chain": _file(config.cert),
            "private_key": _file(config.key),
            **watched,
        },
    )
    if config.client_ca:
        _write_secret(
            folder,
            "clients",
            validation_context={"trusted_ca": _file(config.client_ca), **watched},
        )


def renew(folder: Path) -> None:
    """Have Envoy read the files again."""
    sign = folder / _SIGN
    sign.touch()
    sign.rename(folder / _WATCHED / _SIGN)


def transport(config: TlsConfig, folder: Path) -> _Document:
    """Return what a listener is wrapped in."""
    context: _Document = {
        "alpn_protocols": ["h2"],
        "tls_params": {"tls_minimum_protocol_version": _VERSIONS[config.min_version]},
        "tls_certificate_sds_secret_configs": [_secret(folder, "server")],
    }
    if config.client_ca:
        context["validation_context_sds_secret_config"] = _secret(folder, "clients")
    return {
        "name": "envoy.transport_sockets.tls",
        "typed_config": {
            "@type": f"{_TYPES}{_SECRETS}.DownstreamTlsContext",
            "common_tls_context": context,
            "require_client_certificate": bool(config.client_ca) and config.require_client_cert,
        },
    }


def forwarding(config: TlsConfig) -> _Document:
    """Return what is told of callers to whom they are passed on: their certificate, if any.

    What they say of that themselves is removed.
    """
    if not config.client_ca:
        return {"forward_client_cert_details": "SANITIZE"}
    return {
        "forward_client_cert_details": "SANITIZE_SET",
        "set_current_client_cert_details": {"cert": True},
    }


def _write_secret(folder: Path, name: str, **content: _Document) -> None:
    secret = {"@type": f"{_TYPES}{_SECRETS}.Secret", "name": name, **content}
    (folder / f"{name}.json").write_text(json.dumps({"resources": [secret]}))


def _secret(folder: Path, name: str) -> _Document:
    source = {"path": str(folder / f"{name}.json")}
    return {
        "name": name,
        "sds_config": {"path_config_source": source, "resource_api_version": "V3"},
    }


def _file(path: str) -> _Document:
    # Envoy may run elsewhere than whoever wrote the configuration.
    return {"filename": str(Path(path).absolute())}
