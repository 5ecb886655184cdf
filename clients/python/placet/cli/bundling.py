"""From tenants and folders to bundles, and from bundles to what is published."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from placet import Client, Policy
from placet.bundles import MAX_ENTRIES, Body, Bundle, SigningKey, pack, unpack
from placet.cli import terminal
from placet.cli.compiling import compile_documents, to_engine
from placet.cli.contents import Documents
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.folder_source import FolderSource
from placet.cli.folders import Folder
from placet.cli.publish_reports import owner_name
from placet.cli.sources import SourceAway

_GIT_TIMEOUT_S = 30.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Parts:
    """What goes into a bundle."""

    bodies: Sequence[Body]
    tenant: str | None
    """None: any."""
    revision: int
    created: datetime | None
    source: str


def parts_of_tenant(client: Client, whose: str, revision: int) -> Parts:
    """Read all that a tenant had at a revision, 0 for the newest.

    Raises:
        Failure: it had nothing.
        PlacetError: it cannot be read.
    """
    newest = (it for it in client.history() if not revision or it.revision <= revision)
    at = next(newest, None)
    if at is None:
        then = f" at revision {revision}" if revision else ""
        raise Failure(f"{owner_name(whose)} had nothing{then}; there is nothing to export")
    items = list(client.list_items(revision=at.revision, page_size=1000))
    return Parts(
        bodies=[item.body for item in items],
        tenant=whose,
        revision=at.revision,
        created=at.time,
        source=at.message,
    )


def parts_of_folder(path: Path, whose: str | None) -> Parts:
    """Read a folder that compiles.

    Raises:
        FilesRefused: it does not.
        Failure: there is nothing in it.
    """
    source = FolderSource(path, git_timeout_s=_GIT_TIMEOUT_S)
    try:
        folder = source.read()
    except SourceAway as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    documents = folder.documents
    with folder.quoting():
        to_engine(documents, "any" if whose is None else whose)
        with needs_extra("local", "exporting a folder"):
            compile_documents(documents)
    parts = (documents.schema, documents.settings)
    state = source.state
    return Parts(
        bodies=[
            *documents.policies,
            *documents.links,
            *documents.entities,
            *(part for part in parts if part is not None),
        ],
        tenant=whose,
        revision=0,
        created=None,
        source=f"{state.commit.subject[:200]} (commit {state.commit.hash}"
        f"{' with uncommitted changes' if state.is_dirty else ''})"
        if state.commit is not None
        else "",
    )


def packed(parts: Parts, key: SigningKey | None) -> tuple[bytes, Bundle]:
    """Make a bundle, and read it again as whoever gets it will.

    Raises:
        Failure: there is more than a bundle holds, or SOURCE_DATE_EPOCH is no time.
    """
    if len(parts.bodies) > MAX_ENTRIES:
        raise Failure(
            f"{len(parts.bodies)} items are more than the {MAX_ENTRIES} that can be published at "
            "once, and so be in a bundle"
        )
    data = pack(
        parts.bodies,
        tenant=parts.tenant,
        revision=parts.revision,
        created=_source_date() or parts.created,
        source=parts.source,
        key=key,
    )
    return data, unpack(data)


def _source_date() -> datetime | None:
    text = os.environ.get("SOURCE_DATE_EPOCH", "")
    if not text:
        return None
    try:
        return datetime.fromtimestamp(int(text), UTC)
    except (ValueError, OverflowError, OSError) as error:
        raise Failure(
            f"SOURCE_DATE_EPOCH is `{text}`; give it the seconds since 1970, or none",
            ExitCode.USAGE,
        ) from error


# ------------------------------------------------------------------------------ what it is


def folder_of(bundle: Bundle) -> Folder:
    """Return a bundle as if it had been read from a folder, for findings to have places."""
    change_set = bundle.change_set()
    documents = Documents(
        policies=tuple(change_set.policies),
        links=tuple(change_set.template_links),
        entities=tuple(change_set.entities),
        schema=change_set.schema,
        settings=change_set.settings,
        places={body.key: body.position for body in bundle.bodies if isinstance(body, Policy)},
    )
    return Folder(documents=documents, cases=(), texts={})


def message(bundle: Bundle, why: str, *, verified: bool) -> str:
    """Return what the history says of an import. A server takes 1,024 characters."""
    prefix = f"{why[:200]}; " if why else ""
    signed = f"signed with {bundle.key_id}" if verified else "signature not checked"
    source = f", {bundle.manifest.source[:300]}" if bundle.manifest.source else ""
    return (
        f"{prefix}bundle {bundle.digest[:10]}: {_origin(bundle)}{source} "
        f"(sha256 {bundle.digest}, {signed})"
    )


def described(bundle: Bundle) -> str:
    """Say in a line what a bundle is."""
    items = terminal.counted(len(bundle.bodies), "item", "items")
    when = f", {bundle.manifest.created.isoformat()}" if bundle.manifest.created else ""
    source = f", {bundle.manifest.source}" if bundle.manifest.source else ""
    signed = f"signed with {bundle.key_id}" if bundle.key_id else "not signed"
    return f"{items} of {_origin(bundle)}{when}{source}, sha256 {bundle.digest}, {signed}"


def _origin(bundle: Bundle) -> str:
    manifest = bundle.manifest
    at = f" at revision {manifest.revision}" if manifest.revision else ""
    return f"{manifest.owner_name}{at}"
