"""``placet bundle``: a tenant's whole content in one signed file, from server to server."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, TypeAlias

import typer

from placet import PLATFORM
from placet.bundles import Bundle
from placet.cli import bundle_files, bundling, terminal
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Platform,
    Tenant,
    Timeout,
    connected,
    owner,
)
from placet.cli.publish_reports import show_publication, show_trial
from placet.cli.publishing import publish_missing, published_changes, try_folder

_File: TypeAlias = Annotated[
    Path, typer.Argument(help="The bundle.", metavar="FILE", show_default=False)
]
_Keys: TypeAlias = Annotated[
    list[Path] | None,
    typer.Option(
        "--key",
        "-k",
        help="Public key that is trusted, in PEM. Repeat it while keys change.",
        metavar="FILE",
    ),
]


def keygen(
    name: Annotated[
        Path, typer.Option("--out", "-o", help="How the two files' names begin.", metavar="NAME")
    ] = Path("placet-bundle"),
    as_json: Json = False,
) -> None:
    """Make an Ed25519 key pair: NAME.key.pem signs bundles, NAME.pub.pem verifies them.

    Only you can read the private key, which is not encrypted. Files that are there already are not
    overwritten.
    """
    from placet.bundles import generate_keys

    private, public = Path(f"{name}.key.pem"), Path(f"{name}.pub.pem")
    with needs_extra("signing", "making keys"):
        pair = generate_keys()
    bundle_files.write_new({private: (pair.private_pem, 0o600), public: (pair.public_pem, 0o644)})
    if as_json:
        terminal.print_json({"private": str(private), "public": str(public), "key_id": pair.key_id})
        return
    terminal.line(f"{private}  signs; keep it where bundles are made, and secret")
    terminal.line(f"{public}  verifies; give it to those who import")
    terminal.line(f"key id {pair.key_id}")


def export(
    file: Annotated[
        Path, typer.Option("--out", "-o", help="Where to.", metavar="FILE", show_default=False)
    ],
    tenant: Tenant = "",
    platform: Platform = False,
    revision: Annotated[
        int, typer.Option("--revision", min=0, help="As it was then; 0: now.", metavar="N")
    ] = 0,
    folder: Annotated[
        Path | None,
        typer.Option(
            "--from",
            help="A folder of policies instead of what a server has.",
            metavar="DIR",
            show_default=False,
        ),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key",
            "-k",
            help="Private key to sign with, in PEM.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Write all that a tenant has at a revision, or a folder, into one file, and sign it.

    The same content makes the same bytes. The time in it is that of the revision, or
    SOURCE_DATE_EPOCH.
    """
    if folder is not None and revision:
        raise Failure("`--revision` is for what a server has, not for `--from`", ExitCode.USAGE)
    signing = bundle_files.read_signing_key(key) if key is not None else None
    if folder is not None:
        whose = owner(tenant, platform=platform) if tenant or platform else None
        parts = bundling.parts_of_folder(folder, whose)
    else:
        whose = owner(tenant, platform=platform)
        with (
            connected(address, tenant=whose, timeout_s=timeout_s) as client,
            terminal.working("reading"),
        ):
            parts = bundling.parts_of_tenant(client, whose, revision)
    data, bundle = bundling.packed(parts, signing)
    bundle_files.write(file, data)
    if as_json:
        terminal.print_json({"file": str(file), **_to_json(bundle)})
        return
    terminal.line(f"{file}: {bundling.described(bundle)}")
    if signing is None:
        terminal.note("it is not signed; --key signs it, and import refuses it otherwise")


def verify(file: _File, keys: _Keys = None, as_json: Json = False) -> None:
    """Check that a bundle is whole, and signed with one of the keys."""
    bundle = bundle_files.read_verified(file, keys or [])
    if as_json:
        terminal.print_json({"file": str(file), **_to_json(bundle)})
        return
    terminal.line(f"{file} is good: {bundling.described(bundle)}")


def show(file: _File, as_json: Json = False) -> None:
    """Show what a bundle has and where it says it is from. Nobody is asked who signed it."""
    bundle = bundle_files.read_unverified(file)
    entries = bundle.manifest.entries
    if as_json:
        listed = [
            {
                "kind": entry.kind.name.lower(),
                "name": entry.name,
                "size": entry.size,
                "sha256": entry.sha256,
            }
            for entry in entries
        ]
        terminal.print_json({"file": str(file), **_to_json(bundle), "entries": listed})
        return
    table = terminal.table("kind", "name", "bytes", "sha-256")
    for entry in entries:
        kind = entry.kind.name.lower().replace("_", " ")
        table.add_row(kind, terminal.safe(entry.name), str(entry.size), entry.sha256[:16])
    terminal.out().print(table)
    terminal.line(f"{file}: {bundling.described(bundle)}")
    if bundle.key_id:
        terminal.note("the signature was not checked; `placet bundle verify` does that")


def import_(
    file: _File,
    tenant: Tenant = "",
    platform: Platform = False,
    keys: _Keys = None,
    allow_unsigned: Annotated[
        bool,
        typer.Option("--allow-unsigned", help="Without --key: take it, whoever made it."),
    ] = False,
    any_tenant: Annotated[
        bool, typer.Option("--any-tenant", help="Take it although it is another tenant's.")
    ] = False,
    message: Annotated[
        str,
        typer.Option("--message", "-m", help="Goes before what the history says.", metavar="TEXT"),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check, and show what would change; change nothing.")
    ] = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> int:
    """Publish a bundle as one revision, if it is whole and signed with a key that is trusted.

    A bundle that was exported from a server is all the tenant has afterwards; one that was made of
    a folder does what `placet policy push FOLDER` would. Importing it again changes nothing.
    """
    whose = owner(tenant, platform=platform)
    if keys:
        bundle = bundle_files.read_verified(file, keys)
    elif allow_unsigned:
        bundle = bundle_files.read_unverified(file)
    else:
        raise Failure(
            "whose bundles are trusted? name a public key with --key, or --allow-unsigned",
            ExitCode.USAGE,
        )
    made_for = bundle.manifest.tenant
    if made_for is not None and made_for != whose and not any_tenant:
        wanted = "the platform" if whose == PLATFORM else f"tenant `{whose}`"
        raise Failure(
            f"`{file}` is of {bundle.manifest.owner_name}, not of {wanted}; --any-tenant takes it "
            "all the same"
        )
    folder = bundling.folder_of(bundle)
    change_set = bundle.change_set()
    with connected(address, tenant=whose, timeout_s=timeout_s) as client:
        if dry_run:
            with terminal.working("checking"):
                trial = try_folder(client, change_set, whose, is_whole=bundle.is_whole)
            return show_trial(*trial, folder, as_json=as_json)
        with terminal.working("publishing"):
            publication = publish_missing(
                client,
                change_set,
                folder,
                whose,
                message=bundling.message(bundle, message, verified=bool(keys)),
                origin=bundle.digest,
                is_whole=bundle.is_whole,
            )
            changes = published_changes(client, publication)
    show_publication(publication, changes, folder, whose, as_json=as_json)
    return ExitCode.OK


def _to_json(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "digest": bundle.digest,
        "key_id": bundle.key_id or None,
        "tenant": manifest.tenant,
        "revision": manifest.revision,
        "store_id": manifest.store_id,
        "created": manifest.created.isoformat() if manifest.created is not None else None,
        "source": manifest.source,
        "items": len(manifest.entries),
    }
