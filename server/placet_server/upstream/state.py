"""The file that a node without a store keeps what it follows in, and starts from.

It is a snapshot as Subscribe sends it, message after message, so that reading it checks each
item's digest and the sum of all of them. Around it: a digest over every byte, so that what was cut
off or changed anywhere is found out; and a place of fixed size for the time at which it was last
known to be current, which changes far more often than the rest and is written in place.

    magic, 24 bytes · time and its check, 12 · frames: header, then messages · no frame · SHA-256
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from google.protobuf.message import DecodeError

from placet._mirror import MirrorBroken, PolicySetMirror
from placet.v1 import subscribe_service_pb2
from placet.wire import snapshot_to_wire
from placet_engine.items import Item
from placet_server.upstream.copy import new_mirror

_MAGIC = b"placet edge state 1\n\0\0\0\0"
_KNOWN = struct.Struct(">dI")
_LENGTH = struct.Struct(">I")
_MAX_FRAME_BYTES = 64 * 1024 * 1024
_DIGEST_BYTES = hashlib.sha256().digest_size


class StateDamaged(Exception):
    """The file is not what was written to it, or is of another version."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Kept:
    """What the file says beside the items."""

    store_id: str
    region: str
    """Of the node that wrote it. Another region may not hold all of it."""
    known_time_s: float
    """When it was last known to be all there is in the store, in seconds since 1970."""


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What is written: what a mirror held at one moment."""

    kept: Kept
    items: tuple[Item, ...]
    owners: Mapping[str, int]
    revision: int
    checksum: bytes
    cursor: bytes

    @classmethod
    def of(cls, mirror: PolicySetMirror[Item], kept: Kept) -> State:
        """Take what a mirror holds now."""
        snapshot = mirror.snapshot()
        return cls(
            kept=kept,
            items=snapshot.items,
            owners=snapshot.owners,
            revision=snapshot.revision,
            checksum=snapshot.checksum,
            cursor=mirror.cursor,
        )


def write(path: Path, state: State) -> int:
    """Write a state in the place of what the file had, all of it or nothing; return its size.

    Raises:
        OSError: it cannot be written. The file has what it had.
    """
    new = path.with_name(f"{path.name}.new")
    new.unlink(missing_ok=True)
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
    try:
        with os.fdopen(os.open(new, flags, 0o600), "wb") as file:
            _write_to(file, state)
            file.flush()
            os.fsync(file.fileno())
            size = file.tell()
        new.replace(path)
    except BaseException:
        new.unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)
    return size


def write_known_time(path: Path, known_time_s: float) -> None:
    """Note in the file that what it has was known to be current at a later time.

    Raises:
        OSError: it cannot be written.
    """
    descriptor = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(descriptor, _known(known_time_s), len(_MAGIC))
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def read(path: Path) -> tuple[Kept, PolicySetMirror[Item]]:
    """Return what the file has, as a mirror that can be followed on from.

    Raises:
        FileNotFoundError: there is none.
        StateDamaged: it is not what was written.
        OSError: it cannot be read.
    """
    with path.open("rb") as file:
        if file.read(len(_MAGIC)) != _MAGIC:
            raise StateDamaged("it is no state of an edge node, or of another version of placet")
        known_time_s = _read_known(file.read(_KNOWN.size))
        frames = _frames(file)
        kept = _read_header(next(frames, b""), known_time_s)
        mirror = new_mirror()
        mirror.begin_stream()
        try:
            for frame in frames:
                mirror.apply(subscribe_service_pb2.SubscribeResponse.FromString(frame))
        except (DecodeError, MirrorBroken) as error:
            raise StateDamaged(str(error)) from error
    if not mirror.has_snapshot:
        raise StateDamaged("it has no end")
    return kept, mirror


def _write_to(file: IO[bytes], state: State) -> None:
    kept = state.kept
    file.write(_MAGIC)
    file.write(_known(kept.known_time_s))
    digest = hashlib.sha256()

    def put(frame: bytes) -> None:
        for part in (_LENGTH.pack(len(frame)), frame):
            digest.update(part)
            file.write(part)

    header = {"store_id": kept.store_id, "region": kept.region, "known_time_s": kept.known_time_s}
    put(json.dumps(header).encode())
    end = subscribe_service_pb2.SnapshotEnd(checksum=state.checksum, cursor=state.cursor)
    for message in snapshot_to_wire(state.items, state.owners, revision=state.revision, end=end):
        put(message.SerializeToString())
    put(b"")
    file.write(digest.digest())


def _frames(file: IO[bytes]) -> Iterator[bytes]:
    """Yield the frames, and see at their end that they are what was written."""
    digest = hashlib.sha256()
    while True:
        prefix = file.read(_LENGTH.size)
        if len(prefix) < _LENGTH.size:
            raise StateDamaged("it ends too early")
        (length,) = _LENGTH.unpack(prefix)
        if length > _MAX_FRAME_BYTES:
            raise StateDamaged("a part of it is larger than parts are")
        frame = file.read(length)
        if len(frame) < length:
            raise StateDamaged("it ends too early")
        digest.update(prefix)
        digest.update(frame)
        if not length:
            break
        yield frame
    if file.read(_DIGEST_BYTES) != digest.digest() or file.read(1):
        raise StateDamaged("its digest is not that of its content")


def _read_header(frame: bytes, known_time_s: float | None) -> Kept:
    try:
        header = json.loads(frame)
        return Kept(
            store_id=header["store_id"],
            region=header["region"],
            known_time_s=header["known_time_s"] if known_time_s is None else known_time_s,
        )
    except (ValueError, LookupError, TypeError) as error:
        raise StateDamaged("its header cannot be read") from error


def _known(time_s: float) -> bytes:
    """Write a time down, with a check of its own: it may be cut off half-way."""
    check = zlib.crc32(struct.pack(">d", time_s))
    return _KNOWN.pack(time_s, check)


def _read_known(data: bytes) -> float | None:
    """Return the time; None when it was cut off. That of the header is then good enough."""
    if len(data) < _KNOWN.size:
        raise StateDamaged("it ends too early")
    time_s, check = _KNOWN.unpack(data)
    found: float = time_s
    return found if _known(found) == data and check else None


def _sync_folder(folder: Path) -> None:
    """Make sure that a new name is on the disk as well."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
