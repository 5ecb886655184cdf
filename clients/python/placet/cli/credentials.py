"""Options by which commands know their server and prove who calls, the same for all that ask one.

They are added to a command where it is wired in, so that none can be without them; what came of
them is here for whoever connects.
"""

from __future__ import annotations

import functools
import inspect
import os
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Annotated, Any

import typer

from placet import Credentials, InvalidRequest, TokenFile
from placet.cli.failures import ExitCode, Failure

_PANEL = "Connection"
_TOKEN_VARIABLE = "PLACET_TOKEN"  # noqa: S105  # where it is, not what

_CURRENT: ContextVar[Credentials | None] = ContextVar("placet_credentials", default=None)


def current() -> Credentials | None:
    """Return what this command connects with; None for plain text, and nobody in particular."""
    return _CURRENT.get()


def _options(
    tls: Annotated[
        bool,
        typer.Option(
            "--tls",
            envvar="PLACET_CLIENT_TLS",
            help="Talk TLS, and trust whom this machine trusts.",
            rich_help_panel=_PANEL,
        ),
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option(
            "--tls-ca",
            envvar="PLACET_CLIENT_CA",
            help="Talk TLS, and trust these CAs.",
            metavar="FILE",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option(
            "--tls-cert",
            envvar="PLACET_CLIENT_CERT",
            help="Prove who calls with this certificate.",
            metavar="FILE",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    tls_key: Annotated[
        Path | None,
        typer.Option(
            "--tls-key",
            envvar="PLACET_CLIENT_KEY",
            help="Its private key.",
            metavar="FILE",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
    tls_server_name: Annotated[
        str,
        typer.Option(
            "--tls-server-name",
            envvar="PLACET_SERVER_NAME",
            help="The name on the server's certificate, where it is not that of the address.",
            metavar="NAME",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = "",
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file",
            envvar="PLACET_TOKEN_FILE",
            help="Prove who calls with the bearer token in this file, or else in PLACET_TOKEN.",
            metavar="FILE",
            rich_help_panel=_PANEL,
            show_default=False,
        ),
    ] = None,
) -> Credentials | None:
    token = TokenFile(token_file) if token_file else os.environ.get(_TOKEN_VARIABLE)
    if tls or tls_ca or tls_cert or tls_key or tls_server_name:
        return Credentials(
            ca=tls_ca, cert=tls_cert, key=tls_key, server_name=tls_server_name, token=token or None
        )
    # Without TLS a token goes to this machine only, and gRPC sees to that.
    return Credentials(token=token, plaintext=True) if token else None


_PARAMETERS = inspect.signature(_options, eval_str=True).parameters


def with_credentials(command: Callable[..., Any]) -> Callable[..., Any]:
    """Return a command with these options, if it connects to a server that is named."""
    signature = inspect.signature(command, eval_str=True)
    if "address" not in signature.parameters:
        return command

    @functools.wraps(command)
    def run(**given: Any) -> Any:
        try:
            credentials = _options(**{name: given.pop(name) for name in _PARAMETERS})
        except InvalidRequest as error:
            raise Failure(error.message, ExitCode.USAGE) from error
        token = _CURRENT.set(credentials)
        try:
            return command(**given)
        finally:
            _CURRENT.reset(token)

    parameters = [*signature.parameters.values(), *_PARAMETERS.values()]
    run.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
    run.__annotations__ = {each.name: each.annotation for each in parameters}
    return run


def from_environment() -> Credentials | None:
    """Return what the environment says, for what runs before options are read."""
    given: dict[str, Any] = {
        name: os.environ.get(parameter.annotation.__metadata__[0].envvar)
        for name, parameter in _PARAMETERS.items()
    }
    given["tls"] = given["tls"] in ("1", "true", "yes")
    return _options(**{name: value for name, value in given.items() if value})
