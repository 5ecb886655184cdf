"""``placet tls``: certificates for trying TLS out."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Annotated

import typer

from placet.cli import terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.options import Json

_DAYS = 30
_SPIFFE = "spiffe://placet.dev/"
# What stock clients look for on a certificate: the name of their target, see docs/xds.md.
_TARGETS = ("placet", "*.tenant.placet", "*.residency.placet")


def dev(
    out: Annotated[
        Path, typer.Option("--out", "-o", help="Folder to put them in.", metavar="DIR")
    ] = Path("placet-tls"),
    hosts: Annotated[
        list[str] | None,
        typer.Option(
            "--host",
            help="Name or address the server is reached by, besides localhost. Repeatable.",
            metavar="NAME",
        ),
    ] = None,
    clients: Annotated[
        list[str] | None,
        typer.Option(
            "--client", help="A caller to make a certificate for. Repeatable.", metavar="NAME"
        ),
    ] = None,
    days: Annotated[
        int, typer.Option(min=1, max=397, help="How long they are good.", metavar="N")
    ] = _DAYS,
    as_json: Json = False,
) -> None:
    """Make a CA, a server's certificate and clients' certificates, for trying TLS out.

    Beside them a configuration that uses them, and an access file in which the clients may do
    everything. Existing files are never replaced. For production, use certificates of your own CA:
    nobody can take these back.
    """
    with needs_extra("signing", "certificates"):
        from placet.cli.certificates import Authority

    now, lifetime = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=days)
    names = clients or ["admin"]
    for name in names:
        if not name.isascii() or not name.replace("-", "").replace("_", "").isalnum():
            raise Failure(f"`--client` is `{name}`; use letters, digits and -_", ExitCode.USAGE)
    authority = Authority.make("placet development CA", now=now, lifetime=lifetime)
    files = {
        "ca.pem": authority.files.certificate,
        "placet.toml": _config(out).encode(),
        "access.toml": _access(names).encode(),
    }
    made = {
        "server": authority.issue(
            "server",
            dict.fromkeys(["localhost", "127.0.0.1", "::1", *_TARGETS, *(hosts or ())]),
            now=now,
            lifetime=lifetime,
        ),
        **{
            name: authority.issue(name, [_SPIFFE + name], now=now, lifetime=lifetime)
            for name in names
        },
    }
    for name, issued in made.items():
        files[f"{name}.pem"], files[f"{name}.key"] = issued.certificate, issued.key
    _write(out, files)
    if as_json:
        terminal.print_json({"folder": str(out), "files": sorted(files)})
        return
    first = names[0]
    terminal.line(f"{len(files)} files are in {out}, good for {days} days")
    terminal.line(f"serve with them: placet serve --config {out / 'placet.toml'}")
    terminal.line(
        f"and ask: placet cache --tls-ca {out / 'ca.pem'} --tls-cert {out / f'{first}.pem'} "
        f"--tls-key {out / f'{first}.key'}"
    )


def _write(folder: Path, files: dict[str, bytes]) -> None:
    there = [name for name in files if (folder / name).exists()]
    if there:
        raise Failure(
            f"`{folder / there[0]}` is there already; name another folder with --out",
            ExitCode.USAGE,
        )
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for name, data in files.items():
            path = folder / name
            # A key that others can read proves nothing.
            path.touch(mode=0o600 if name.endswith(".key") else 0o644, exist_ok=False)
            path.write_bytes(data)
    except OSError as error:
        raise Failure(f"cannot write `{error.filename}`: {error.strerror}") from error


def _config(folder: Path) -> str:
    folder = folder.absolute()
    return f"""\
[tls]
cert = {str(folder / "server.pem")!r}
key = {str(folder / "server.key")!r}
client_ca = {str(folder / "ca.pem")!r}

[identity]
access = {str(folder / "access.toml")!r}
"""


def _access(names: list[str]) -> str:
    listed = ", ".join(f'"{_SPIFFE}{name}"' for name in names)
    return f"""\
# Who may do what. See docs/identity.md.
[[access]]
names = [{listed}]
permissions = ["decide", "read", "publish", "approve", "operate", "act", "node"]
tenants = ["*"]
platform = true
"""
