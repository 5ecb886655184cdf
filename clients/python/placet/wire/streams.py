"""What a Subscribe stream begins with: a whole set, in messages of a size that gRPC takes."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice

from placet.v1 import policy_pb2, subscribe_service_pb2
from placet.wire.items import item_to_wire
from placet_engine.items import Item

_CHUNK_BYTES = 512 * 1024
_CHUNK_OWNERS = 5000


def snapshot_to_wire(
    items: Sequence[Item],
    owners: Mapping[str, int],
    *,
    revision: int,
    end: subscribe_service_pb2.SnapshotEnd,
) -> Iterator[subscribe_service_pb2.SubscribeResponse]:
    """Yield the messages of a snapshot.

    Args:
        items: all of them.
        owners: whose they are, with the newest revision that changed each.
        revision: that of the set.
        end: the last message; its revision is filled in.
    """
    yield subscribe_service_pb2.SubscribeResponse(
        snapshot_begin=subscribe_service_pb2.SnapshotBegin(revision=revision, items=len(items))
    )
    remaining = iter(owners.items())
    while some := list(islice(remaining, _CHUNK_OWNERS)):
        yield subscribe_service_pb2.SubscribeResponse(
            snapshot_chunk=subscribe_service_pb2.SnapshotChunk(
                owners=(
                    subscribe_service_pb2.OwnerRevision(owner=owner, revision=at)
                    for owner, at in some
                )
            )
        )
    for chunk in _chunks(map(item_to_wire, items)):
        yield subscribe_service_pb2.SubscribeResponse(
            snapshot_chunk=subscribe_service_pb2.SnapshotChunk(items=chunk)
        )
    end.revision = revision
    yield subscribe_service_pb2.SubscribeResponse(snapshot_end=end)


def _chunks(messages: Iterable[policy_pb2.Item]) -> Iterator[list[policy_pb2.Item]]:
    """Group messages so that none of the chunks is near the limit of one gRPC message."""
    chunk: list[policy_pb2.Item] = []
    size = 0
    for message in messages:
        chunk.append(message)
        size += message.ByteSize()
        if size >= _CHUNK_BYTES:
            yield chunk
            chunk, size = [], 0
    if chunk:
        yield chunk
