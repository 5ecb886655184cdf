"""From the configuration to a certificate that is renewed without a restart."""

from __future__ import annotations

import datetime
import logging
from collections.abc import Callable, Coroutine
from typing import Any

import grpc

from placet_server.changing_files import ChangingFiles
from placet_server.clock import Clock
from placet_server.config import ConfigError, TlsConfig
from placet_server.telemetry.recorders import Metrics
from placet_server.tls.credentials import ServerCertificate, upstream_credentials
from placet_server.tls.files import Material, paths, read_material

log = logging.getLogger(__name__)

_SOON = datetime.timedelta(days=14)


class Tls:
    """A server's TLS, by its configuration, and as its files are.

    Args:
        config: the configuration; it has ``tls.cert``.
        clock: tells what has expired.
        metrics: where it can be seen when the certificate expires.

    Raises:
        ConfigError: the files are no good.
    """

    def __init__(self, config: TlsConfig, clock: Clock, metrics: Metrics | None = None) -> None:
        self._clock = clock
        self.renewed: list[Callable[[], None]] = []
        """Called when there are other files, and they are good."""
        self._reload_s = config.reload_s
        self._files = ChangingFiles(
            paths(config), lambda: read_material(config, clock.now()), what="the TLS certificate"
        )
        try:
            material = self._files.read()
        except ValueError as error:
            raise ConfigError(str(error)) from error
        self._certificate = ServerCertificate(material)
        self._warn(material)
        if metrics is not None:
            metrics.observe(
                "placet.tls.certificate.remaining",
                "s",
                "How long the server's certificate is good for from now.",
                lambda: (self._certificate.expires - clock.now()).total_seconds(),
            )

    def credentials(self) -> grpc.ServerCredentials:
        """Return what a port is opened with."""
        return self._certificate.credentials()

    def tasks(self) -> list[tuple[Coroutine[Any, Any, None], str]]:
        """Return what has to run as long as the node does, and names for it."""
        return [(self._files.follow(self._replace, self._reload_s), "tls")]

    def _replace(self, material: Material) -> None:
        self._certificate.replace(material)
        self._warn(material)
        for tell in self.renewed:
            tell()

    def _warn(self, material: Material) -> None:
        if material.expires - self._clock.now() < _SOON:
            log.warning(
                "the TLS certificate expires soon", extra={"expires": material.expires.isoformat()}
            )


class PeerTls:
    """How this node calls other nodes.

    Args:
        config: the configuration.
        clock: tells what has expired.
        own: the server's TLS, whose certificate is shown; None for a server without.

    Raises:
        ConfigError: the files for that are no good.
    """

    def __init__(self, config: TlsConfig, clock: Clock, own: Tls | None) -> None:
        self._config = config
        self._clock = clock
        self._own = own
        try:
            self.credentials()
        except ValueError as error:
            raise ConfigError(str(error)) from error

    def credentials(self) -> grpc.ChannelCredentials | None:
        """Return what to open a channel with, by the files as they are now; None: plain text.

        Raises:
            TlsRefused: the files are no good.
        """
        return upstream_credentials(self._config, self._clock.now())

    def when_renewed(self, tell: Callable[[], None]) -> None:
        """Have somebody told when channels are to be opened anew."""
        if self._own is not None:
            self._own.renewed.append(tell)
