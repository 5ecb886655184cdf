"""Publishes what commands have read: once, or whatever a tenant does not have of it yet.

Everything that brings policies to a server passes :func:`publish_folder`.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import TypeAlias

from placet import (
    ChangeSet,
    Client,
    Conflict,
    InvalidRequest,
    Item,
    ItemKey,
    ItemKind,
    NotFound,
    OutOfRange,
    Publication,
    Validation,
)
from placet._publishing import change_set_to_wire
from placet.cli import items
from placet.cli.compiling import findings_of
from placet.cli.findings import FilesRefused
from placet.cli.folders import Folder
from placet.cli.plan import planned_changes

Change: TypeAlias = "tuple[str, ItemKey, str]"
"""``added``, ``changed`` or ``removed``; which item; what of it."""

Planned: TypeAlias = "list[tuple[str, ItemKey]]"
"""The same of what would change: no more is known of it."""


def publish_folder(
    client: Client,
    change_set: ChangeSet,
    folder: Folder,
    *,
    message: str,
    expected: int | None,
    request_id: str | None = None,
) -> Publication:
    """Publish a change set that was read from a folder.

    Raises:
        FilesRefused: it does not compile; findings say where in the folder.
        PlacetError: as ``Client.publish`` does.
    """
    with naming_places(client, change_set, folder):
        return client.publish(
            change_set, message=message, expected_revision=expected, request_id=request_id
        )


def has_other_entities(client: Client, folder: Folder) -> bool:
    """Whether there are entities that a folder says nothing of."""
    if folder.documents.lists_entities:
        return False
    return next(client.list_items(kinds=[ItemKind.ENTITY], page_size=1), None) is not None


@contextmanager
def naming_places(client: Client, change_set: ChangeSet, folder: Folder) -> Iterator[None]:
    """Let a change set's problems that leave the block name the places in its files.

    Raises:
        FilesRefused: it does not compile.
    """
    try:
        yield
    except InvalidRequest as error:
        # Publish names fields, validate names places.
        problems = client.validate(change_set).problems
        findings = findings_of(problems, folder.documents)
        if not findings:
            raise
        raise FilesRefused(findings) from error


def published_changes(client: Client, publication: Publication) -> list[Change]:
    """Return what the publish changed, as far as the server can still tell."""
    if not publication.upserts and not publication.deletes:
        return []
    try:
        diff = client.diff(publication.revision - 1, publication.revision)
    except OutOfRange:
        return []
    found = []
    for change in diff.items:
        item = change.after or change.before
        assert item is not None
        remark = ""
        if change.before is not None and change.after is not None:
            remark = items.changed_parts(change.before.body, change.after.body)
        found.append((items.change_word(change.before, change.after), item.key, remark))
    return found


# ------------------------------------------------------------- as often as one likes

_ATTEMPTS = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Current:
    """What an owner has now."""

    revision: int
    """0: it is not there yet."""
    items: tuple[Item, ...]


def publish_missing(
    client: Client,
    change_set: ChangeSet,
    folder: Folder,
    whose: str,
    *,
    message: str,
    origin: str,
    is_whole: bool = False,
) -> Publication:
    """Publish a change set if that would change anything, however often, and whoever asks.

    Several may do so at the same time with the same change set: one of them publishes, and the
    others find that it is done. The request id has the revision that is built upon in it, beside
    ``origin`` and content. Without, content that was there before, and comes back, would be
    answered with the first publish of it, and nothing would be published.

    Args:
        client: of the server.
        change_set: the whole content.
        folder: where it is from.
        whose: tenant, or the platform; the client's.
        message: for the history.
        origin: names where the content is from: a commit, a bundle.
        is_whole: whether what the change set has none of is to go, too.

    Raises:
        FilesRefused: it does not compile.
        Conflict: others kept publishing.
        PlacetError: as ``Client.publish`` does.
    """
    for attempt in range(1, _ATTEMPTS + 1):
        current = read_current(client)
        edits = _whole(change_set) if is_whole else change_set
        if not planned_changes(edits, current.items, owner=whose):
            return Publication(revision=current.revision, warnings=(), upserts=0, deletes=0)
        try:
            return publish_folder(
                client,
                edits,
                folder,
                message=message,
                expected=current.revision,
                request_id=_request_id(whose, origin, current.revision, edits),
            )
        except Conflict:
            if attempt == _ATTEMPTS:
                raise
    raise AssertionError("the loop above returns or raises")


def read_current(client: Client) -> Current:
    """Return what the client's tenant has now; nothing if it is not there."""
    # The revision first: what is read after it is newer if anything, and then publishing on top
    # of the revision is refused.
    revision = head(client)
    items_now = tuple(client.list_items(page_size=1000)) if revision else ()
    return Current(revision=revision, items=items_now)


def _whole(change_set: ChangeSet) -> ChangeSet:
    """Return a change set that removes all it does not write.

    Replacing all leaves entities, schema and settings alone if the change set has none of them,
    since a folder may leave these to others.
    """
    kinds = (ItemKind.ENTITY, ItemKind.SCHEMA, ItemKind.SETTINGS)
    return replace(change_set, replace_all=True, replace_kinds=kinds)


def try_folder(
    client: Client, change_set: ChangeSet, whose: str, *, is_whole: bool = False
) -> tuple[Validation, Planned]:
    """Return what a server says of a change set, and what it would change."""
    current = read_current(client)
    edits = _whole(change_set) if is_whole else change_set
    validation = client.validate(edits)
    if not validation.valid:
        return validation, []
    return validation, planned_changes(edits, current.items, owner=whose)


def head(client: Client) -> int:
    """Return the newest revision that changed the client's tenant; 0 if none did."""
    try:
        newest = next(client.history(page_size=1), None)
    except NotFound:
        return 0
    return newest.revision if newest is not None else 0


def _request_id(whose: str, origin: str, base: int, change_set: ChangeSet) -> str:
    content = change_set_to_wire(change_set).SerializeToString(deterministic=True)
    parts = (whose, origin, str(base), hashlib.sha256(content).hexdigest())
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()
