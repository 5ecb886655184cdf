"""How a client knows its server, and proves to it who it is."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeAlias

import grpc

from placet._callers import TellingChannel
from placet._calls import Metadata
from placet._errors import InvalidRequest, PlacetError, Unauthenticated

Pem: TypeAlias = "bytes | str | os.PathLike[str]"
"""PEM itself as bytes, or the file it is in."""
Token: TypeAlias = "str | Callable[[], str]"  # noqa: S105  # a type
"""A bearer token, or what returns one that is good now. It is asked for each call, from any
thread, and must not block."""


_NAME_OVERRIDE = "grpc.ssl_target_name_override"


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """How to know a server, and how to prove who calls. Without more: TLS, and nobody is known.

    Files are read when a connection to an endpoint is prepared; gRPC goes on with what was in them
    then for as long as the client has that endpoint. Tokens are asked for each call.
    """

    ca: Pem | None = None
    """Who vouches for the server. None: those this machine trusts."""
    cert: Pem | None = field(default=None, repr=False)
    """The client's certificate, followed by those between it and its CA."""
    key: Pem | None = field(default=None, repr=False)
    """Its private key."""
    server_name: str = ""
    """The name on the server's certificate, where it is not that of the address."""
    token: Token | None = field(default=None, repr=False)
    """Sent with every call; see ``TokenFile``."""
    plaintext: bool = False
    """Whether there is no TLS. Only for servers on this machine: gRPC refuses to connect to any
    other, so that no token travels in the open."""

    def __post_init__(self) -> None:
        """Refuse what contradicts itself.

        Raises:
            InvalidRequest: it does.
        """
        if (self.cert is None) is not (self.key is None):
            raise InvalidRequest("`cert` and `key` go together; pass both, or none")
        if self.plaintext and (self.ca is not None or self.cert is not None or self.server_name):
            raise InvalidRequest("`plaintext` goes with a token only; leave it out for TLS")

    @property
    def prove_somebody(self) -> bool:
        """Whether they say who calls."""
        return self.cert is not None or self.token is not None

    def check(self) -> None:
        """Read the files once.

        Raises:
            InvalidRequest: one cannot be used.
        """
        self._channel_credentials()

    def opened(self, api: Any, target: str, options: list[tuple[str, int | str]]) -> Any:
        """Return a channel.

        Args:
            api: ``grpc``, or ``grpc.aio``.
            target: a target of gRPC's.
            options: channel arguments.

        Raises:
            InvalidRequest: a file cannot be read.
        """
        # What is said of one endpoint goes before what is said of all.
        if self.server_name and all(key != _NAME_OVERRIDE for key, _ in options):
            options = [*options, (_NAME_OVERRIDE, self.server_name)]
        channel = api.secure_channel(target, self._channel_credentials(), options)
        if self.token is None:
            return channel
        return TellingChannel(channel, self._authorization)

    def _channel_credentials(self) -> grpc.ChannelCredentials:
        if self.plaintext:
            return grpc.local_channel_credentials(grpc.LocalConnectionType.LOCAL_TCP)
        return grpc.ssl_channel_credentials(
            _pem(self.ca, "ca", "CERTIFICATE"),
            _pem(self.key, "key", "PRIVATE KEY"),
            _pem(self.cert, "cert", "CERTIFICATE"),
        )

    def _authorization(self) -> Metadata:
        token = self._token_now()
        if not token or not token.isascii() or not token.isprintable() or " " in token:
            # It may be a good one with something around it, so it is not quoted.
            raise InvalidRequest("the token is empty, or has blanks or other odd characters in it")
        return (("authorization", f"Bearer {token}"),)

    def _token_now(self) -> str:
        if not callable(self.token):
            return self.token or ""
        try:
            return self.token()
        except PlacetError:
            raise
        except Exception as error:
            raise Unauthenticated(f"there is no token to call with: {error}") from error


def _pem(given: Pem | None, name: str, what: str) -> bytes | None:
    if given is None:
        return None
    data, where = given, "it"
    if not isinstance(data, bytes):
        path = Path(data)
        where = f"`{path}`"
        try:
            data = path.read_bytes()
        except OSError as error:
            raise InvalidRequest(
                f"cannot read {where}: {error.strerror}; check `{name}`"
            ) from error
    # gRPC would connect nowhere, and say why in a log of its own only.
    if f"{what}-----".encode() not in data:
        raise InvalidRequest(f"`{name}` is to be a {what.lower()} in PEM, and {where} holds none")
    return data


class TokenFile:
    """A token in a file, which others renew: ``Credentials(token=TokenFile("token"))``."""

    def __init__(self, path: str | os.PathLike[str]) -> None:
        """Take the token from a file, now and whenever that changes.

        Raises:
            InvalidRequest: it cannot be read.
        """
        self._path = Path(path)
        self._read: tuple[object, str] | None = None
        self()

    def __call__(self) -> str:
        """Return the token of now; the last one there was, while the file cannot be read."""
        try:
            found = self._path.stat()
            state = (found.st_ino, found.st_mtime_ns, found.st_size)
            read = self._read
            if read is None or read[0] != state:
                read = self._read = (state, self._path.read_text().strip())
        except (OSError, UnicodeDecodeError) as error:
            if self._read is None:
                raise InvalidRequest(f"cannot read the token in `{self._path}`: {error}") from error
            read = self._read
        return read[1]


def opened(
    api: Any,
    target: str,
    credentials: grpc.ChannelCredentials | Credentials | None,
    options: list[tuple[str, int | str]],
) -> Any:
    """Return a channel, in plain text without credentials.

    Args:
        api: ``grpc``, or ``grpc.aio``.
        target: a target of gRPC's.
        credentials: how to know the server, and prove who calls.
        options: channel arguments.
    """
    if isinstance(credentials, Credentials):
        return credentials.opened(api, target, options)
    if credentials is None:
        return api.insecure_channel(target, options)
    return api.secure_channel(target, credentials, options)
