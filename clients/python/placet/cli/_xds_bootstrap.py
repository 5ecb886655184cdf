"""``placet xds bootstrap``: what stock clients of gRPC, and Envoys, are started with."""

from __future__ import annotations

import json
import re
import socket
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from placet import ResidencyRule
from placet.cli import terminal
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import did_you_mean
from placet.cli.options import DEFAULT_ADDRESS
from placet.cli.xds_bootstrap import Document, Tls, Who, for_envoy, for_grpc
from placet_engine.placement.countries import CountryUnknown, place_of

_RULES = [rule.name for rule in ResidencyRule if rule.value]
_BALANCING = ["least_request", "round_robin", "random", "weighted"]
_LISTEN = "127.0.0.1:7718"
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_SCHEME = "dns:///"


def _rules() -> list[str]:
    return _RULES


def _strategies() -> list[str]:
    return _BALANCING


def bootstrap(
    servers: Annotated[
        str,
        typer.Option(
            "--server",
            help="Where control planes are, the preferred one first: HOST:PORT, or "
            "dns:///NAME:PORT for all addresses of a name.",
            metavar="HOST:PORT,...",
        ),
    ] = DEFAULT_ADDRESS,
    tenant: Annotated[
        str,
        typer.Option(
            "--tenant", "-t", help="Whose callers `xds:///placet` is for.", metavar="NAME"
        ),
    ] = "",
    residency: Annotated[
        str,
        typer.Option(
            help=f"Never send calls where this rule forbids: {', '.join(_RULES)}.",
            metavar="RULE",
            autocompletion=_rules,
        ),
    ] = "",
    region: Annotated[
        str, typer.Option(help="The region the client is in.", metavar="REGION")
    ] = "",
    country: Annotated[
        str,
        typer.Option(help="Or the country it is in, by ISO 3166-1, such as IE.", metavar="CODE"),
    ] = "",
    balancing: Annotated[
        str,
        typer.Option(
            help=f"Who gets the next call: {', '.join(_BALANCING)}. Without, the server says.",
            metavar="STRATEGY",
            autocompletion=_strategies,
        ),
    ] = "",
    id_: Annotated[
        str, typer.Option("--id", help="The client's name. Without: this machine's.", metavar="ID")
    ] = "",
    tls: Annotated[
        bool, typer.Option("--tls", help="Talk TLS, and trust whom the machine trusts.")
    ] = False,
    tls_ca: Annotated[
        Path | None,
        typer.Option("--tls-ca", help="Talk TLS, and trust these CAs.", metavar="FILE"),
    ] = None,
    tls_cert: Annotated[
        Path | None,
        typer.Option("--tls-cert", help="Show this certificate.", metavar="FILE"),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option("--tls-key", help="Its private key.", metavar="FILE")
    ] = None,
    token_file: Annotated[
        Path | None,
        typer.Option(
            "--token-file", help="Send control planes the bearer token in it.", metavar="FILE"
        ),
    ] = None,
    envoy: Annotated[
        bool, typer.Option("--envoy", help="Write one for Envoy, which callers go through.")
    ] = False,
    listen: Annotated[
        str, typer.Option(help="With --envoy: where callers reach it.", metavar="HOST:PORT")
    ] = _LISTEN,
    out: Annotated[
        Path | None,
        typer.Option(
            "--out", "-o", help="File to write. Without: standard output.", metavar="FILE"
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace the file.")] = False,
) -> None:
    """Write what a stock client of gRPC, or an Envoy, is started with to balance over all nodes.

    Programs find it by the variable GRPC_XDS_BOOTSTRAP, which names the file, and then connect to
    `xds:///placet`, or to `xds:///TENANT.tenant.placet` and `xds:///RULE.residency.placet`. Nothing
    is asked of a server. Files are named as the client will find them, so write it where it runs.
    """
    named = _servers(servers, envoy=envoy)
    who = _who(id_, tenant, residency, region, country, balancing)
    secured = _tls(tls, tls_ca, tls_cert, tls_key)
    if envoy:
        if token_file is not None:
            raise Failure("`--token-file` is not for `--envoy`; use --tls-cert", ExitCode.USAGE)
        document = for_envoy(
            [_host_port(server, "--server") for server in named],
            who,
            listen=_host_port(listen, "--listen"),
            tls=secured,
        )
    else:
        if listen != _LISTEN:
            raise Failure("`--listen` is for `--envoy`; leave it out", ExitCode.USAGE)
        token = _file(token_file, "--token-file") if token_file is not None else None
        document = for_grpc(named, who, tls=secured, token_file=token)
    _write(document, out, force=force)
    if out is not None:
        how = f"envoy -c {out}" if envoy else f"export GRPC_XDS_BOOTSTRAP={out.absolute()}"
        terminal.note(f"start with it: {how}")


def _who(id_: str, tenant: str, residency: str, region: str, country: str, balancing: str) -> Who:
    if tenant and not _TENANT.fullmatch(tenant):
        raise Failure(
            f"`--tenant` is `{tenant}`; use 1 to 64 letters, digits and `._-`, none of these first",
            ExitCode.USAGE,
        )
    _one_of("--residency", residency, _RULES)
    _one_of("--balancing", balancing, _BALANCING)
    if country:
        if region:
            raise Failure("`--region` and `--country` exclude each other", ExitCode.USAGE)
        try:
            place_of(country)
        except CountryUnknown as error:
            raise Failure(f"`--country`: {error}", ExitCode.USAGE) from error
    return Who(
        id=id_ or socket.gethostname(),
        region=region,
        country=country.upper(),
        tenant=tenant,
        residency=residency,
        balancing=balancing,
    )


def _one_of(option: str, given: str, choices: Sequence[str]) -> None:
    if given and given not in choices:
        raise Failure(f"`{option}` is `{given}`; {did_you_mean(given, choices)}", ExitCode.USAGE)


def _servers(given: str, *, envoy: bool) -> list[str]:
    servers = [part.strip() for part in given.split(",") if part.strip()]
    if not servers:
        raise Failure("`--server` names nobody; give a control plane as HOST:PORT", ExitCode.USAGE)
    if len(set(servers)) < len(servers):
        raise Failure("`--server` names one of them twice; name each once", ExitCode.USAGE)
    for server in servers:
        if envoy and server.startswith(_SCHEME):
            # It looks up every name.
            raise Failure(
                f"`--server` is `{server}`; for Envoy, leave out `{_SCHEME}`", ExitCode.USAGE
            )
        _host_port(server.removeprefix(_SCHEME), "--server")
    return servers


def _host_port(text: str, option: str) -> tuple[str, int]:
    host, colon, port = text.rpartition(":")
    # Slashes are in addresses with a scheme, of which only that of DNS works in all languages.
    if not (host and colon and port.isdecimal() and 0 < int(port) < 65_536) or "/" in host:
        raise Failure(
            f"`{option}` is `{text}`; write it as HOST:PORT, such as eu1.example.net:7717",
            ExitCode.USAGE,
        )
    return host.strip("[]"), int(port)


def _tls(tls: bool, ca: Path | None, cert: Path | None, key: Path | None) -> Tls | None:
    if (cert is None) is not (key is None):
        raise Failure("`--tls-cert` and `--tls-key` go together; give both", ExitCode.USAGE)
    if not (tls or ca or cert):
        return None
    return Tls(
        ca=_file(ca, "--tls-ca") if ca is not None else None,
        cert=_file(cert, "--tls-cert") if cert is not None else None,
        key=_file(key, "--tls-key") if key is not None else None,
    )


def _file(path: Path, option: str) -> Path:
    """Return where a file is, for a client that is started in another folder."""
    if not path.is_file():
        raise Failure(f"`{option}` is `{path}`, and there is no such file", ExitCode.USAGE)
    return path.absolute()


def _write(document: Document, out: Path | None, *, force: bool) -> None:
    text = json.dumps(document, indent=2, ensure_ascii=False)
    if out is None:
        print(text)
        return
    try:
        with out.open("w" if force else "x", encoding="utf-8") as file:
            file.write(text + "\n")
    except FileExistsError:
        raise Failure(
            f"`{out}` is there already; name another file, or replace it with --force",
            ExitCode.USAGE,
        ) from None
    except OSError as error:
        raise Failure(f"cannot write `{out}`: {error.strerror}") from error
