"""What every store does with edits before it keeps them: check them and write them out.

The form a body has in a store is canonical JSON. What a store returns was read back from it,
so that all stores return the same, and nobody who kept a reference can reach into one.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterable, Sequence
from itertools import islice
from typing import NamedTuple, TypeVar

from placet_engine.changes import Edit, ItemChange, ItemSet, to_changes
from placet_engine.items import (
    Body,
    ItemKind,
    Revision,
    body_from_json,
    body_to_json,
    canonical_json,
)
from placet_server.store.contract import CommitInfo, Notice, StoreDamaged

Given = TypeVar("Given")
Made = TypeVar("Made")


class WrittenEdit(NamedTuple):
    """An edit beside the text a store keeps for its body."""

    edit: Edit
    text: str | None


async def write_out(owner: str, edits: Sequence[Edit], info: CommitInfo) -> list[WrittenEdit]:
    """Check what can be checked without the store, and return the edits in order of key.

    Raises:
        ValueError: as ``Store.append`` says.
    """
    _check_info(owner, info)
    _check_keys(edits)
    return await in_slices(_write_out_one, sorted(edits, key=lambda edit: edit.key))


def _check_info(owner: str, info: CommitInfo) -> None:
    if info.time.utcoffset() is None:
        raise ValueError("the time of a commit needs a time zone; give it as UTC")
    for text in (owner, info.author, info.message, info.request_id):
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise ValueError(f"a commit holds text that is not valid UTF-8: {error}") from error


def _check_keys(edits: Sequence[Edit]) -> None:
    if not edits:
        raise ValueError("a commit needs at least one edit")
    if len({edit.key for edit in edits}) < len(edits):
        raise ValueError("a commit edits each key at most once; merge the edits of one key")
    for edit in edits:
        if edit.body is not None and edit.body.key != edit.key:
            raise ValueError(f"the edit of {edit.key} has a body that is {edit.body.key}")


def _write_out_one(edit: Edit) -> WrittenEdit:
    if edit.body is None:
        return WrittenEdit(edit, None)
    try:
        text = canonical_json(body_to_json(edit.body)).decode()
    except UnicodeDecodeError as error:
        raise ValueError(f"{edit.key} holds text that is not valid UTF-8: {error}") from error
    return WrittenEdit(Edit(edit.key, read_body(edit.key.kind, text)), text)


def read_body(kind: ItemKind, text: str) -> Body:
    """Read a body as it was written out.

    Raises:
        StoreDamaged: it is none.
    """
    try:
        return body_from_json(kind, json.loads(text))
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise StoreDamaged(
            f"the body of an item does not read as {kind.name}: restore the store from a backup"
        ) from error


def apply_edits(current: ItemSet, edits: Iterable[Edit], revision: Revision) -> list[ItemChange]:
    """Turn edits into changes of what there is. ``current`` may hold the edited items only.

    Raises:
        ValueError: an edit removes what is not there.
    """
    edits = list(edits)
    for edit in edits:
        if edit.body is None and edit.key not in current.items:
            raise ValueError(f"cannot remove {edit.key}: it is not there")
    return to_changes(current, edits, revision)


def write_notice(notice: Notice) -> str:
    """Check a notice, and return its body as text.

    Raises:
        ValueError: as ``Store.put_up`` says.
    """
    if notice.time.utcoffset() is None:
        raise ValueError("the time of a notice needs a time zone; give it as UTC")
    try:
        return json.dumps(notice.body, allow_nan=False)
    except TypeError as error:
        raise ValueError(f"the body of a notice is no json: {error}") from error


def check_limit(limit: int) -> None:
    """Raise a ``ValueError`` for a limit that lets nothing through."""
    if limit < 1:
        raise ValueError(f"limit must be at least 1, not {limit}")


async def in_slices(make: Callable[[Given], Made], given: Iterable[Given]) -> list[Made]:
    """Map a function over many things without keeping the event loop from its other work.

    A thread would not help: what is done here is JSON, which holds the interpreter's lock.
    """
    remaining = iter(given)
    made: list[Made] = []
    while part := [make(one) for one in islice(remaining, _SLICE)]:
        made += part
        if len(part) < _SLICE:
            break
        await asyncio.sleep(0)
    return made


_SLICE = 256  # bodies of usual size take some 20 µs each: the loop waits about 5 ms
