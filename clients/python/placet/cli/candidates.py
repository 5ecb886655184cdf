"""What a rollout's candidate changes, as a server keeps it."""

from __future__ import annotations

from placet import (
    CandidateEdits,
    Client,
    Entity,
    Item,
    ItemDiff,
    ItemKey,
    ItemKind,
    NotFound,
    OutOfRange,
)
from placet._policies import Body


def candidate_changes(client: Client, revision: int) -> list[ItemDiff]:
    """Return what a candidate of that revision changes; nothing when it is no longer kept."""
    try:
        (candidate,) = client.get([ItemKey(ItemKind.CANDIDATE)], revision=revision)
    except (NotFound, OutOfRange):
        return []
    edits = candidate.body
    assert isinstance(edits, CandidateEdits)
    after = {
        item.key: item
        for item in (Item(candidate.owner, revision, b"", body) for body in _written(edits))
    }
    keys = [*after, *edits.deletes]
    kinds = {key.kind for key in keys}
    # The content of the candidate's revision is still that of the stable one.
    before = {
        item.key: item for item in client.list_items(kinds=kinds, revision=revision, page_size=1000)
    }
    return [ItemDiff(before.get(key), after.get(key)) for key in keys]


def _written(edits: CandidateEdits) -> list[Body]:
    single: list[Body | None] = [edits.schema, edits.settings]
    entities: tuple[Entity, ...] = edits.entities
    return [
        *edits.policies,
        *edits.template_links,
        *entities,
        *(body for body in single if body is not None),
    ]
