"""Credentials of gRPC out of TLS files: for those who call this node, and for whom it calls."""

from __future__ import annotations

import datetime

import grpc

from placet_server.config import TlsConfig
from placet_server.tls.files import Material, read_authorities, read_material

SYSTEM = "system"
"""In the place of a file: the CAs that the machine trusts."""
PLAINTEXT = "plaintext"
"""In the place of a file: no TLS."""


class ServerCertificate:
    """What a server shows to new connections. Those there are keep what they were shown."""

    def __init__(self, material: Material) -> None:
        self._shown = self._material = material

    @property
    def expires(self) -> datetime.datetime:
        """When it expires, in UTC."""
        return self._material.expires

    def replace(self, material: Material) -> None:
        """Show something else from now on."""
        self._material = material

    def credentials(self) -> grpc.ServerCredentials:
        """Return credentials that change when this does."""
        return grpc.dynamic_ssl_server_credentials(
            _configuration(self._shown),
            self._changed,  # type: ignore[arg-type]  # None stands for no change
            # gRPC asks everybody for a certificate or nobody.
            require_client_authentication=self._shown.client_ca is not None,
        )

    def _changed(self) -> grpc.ServerCertificateConfiguration | None:
        """Return what is new since gRPC last asked, which it does for each connection."""
        material = self._material
        if material is self._shown:
            return None
        self._shown = material
        return _configuration(material)


def _configuration(material: Material) -> grpc.ServerCertificateConfiguration:
    return grpc.ssl_server_certificate_configuration(
        [(material.key, material.certificate)], material.client_ca
    )


def upstream_credentials(
    config: TlsConfig, now: datetime.datetime
) -> grpc.ChannelCredentials | None:
    """Return how to call other nodes; None for plain text.

    The files are read each time. gRPC cannot change what a channel was opened with: whoever keeps
    channels opens them anew when the files change (``Tls.renewed``).

    Raises:
        TlsRefused: the files are no good.
    """
    trusted = config.upstream_ca or config.client_ca or (SYSTEM if config.cert else PLAINTEXT)
    if trusted == PLAINTEXT:
        return None
    roots = None if trusted == SYSTEM else read_authorities(trusted)
    if not config.cert:
        return grpc.ssl_channel_credentials(roots)
    own = read_material(config, now)
    return grpc.ssl_channel_credentials(roots, own.key, own.certificate)
