"""Bundles and keys as files: what is read is bounded, what is written is there whole or not."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from placet.bundles import (
    MAX_BYTES,
    Bundle,
    BundleRefused,
    KeyRefused,
    PublicKey,
    SigningKey,
    unpack,
    verify,
)
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure

_Key = TypeVar("_Key")

_MAX_KEY_BYTES = 64 * 1024


def read_verified(file: Path, keys: Sequence[Path]) -> Bundle:
    """Read a bundle that one of these keys has signed.

    Raises:
        Failure: it is not to be used; the message says why.
    """
    if not keys:
        raise Failure("with which key? name a public key with --key", ExitCode.USAGE)
    with needs_extra("signing", "verifying"):
        trusted = [_read_key(path, PublicKey) for path in keys]
        return _read(file, lambda data: verify(data, trusted))


def read_unverified(file: Path) -> Bundle:
    """Read a bundle, whoever made it.

    Raises:
        Failure: it is none, or not whole.
    """
    return _read(file, unpack)


def read_signing_key(path: Path) -> SigningKey:
    """Read a private key.

    Raises:
        Failure: it is none.
    """
    with needs_extra("signing", "signing"):
        return _read_key(path, SigningKey)


def _read(file: Path, read: Callable[[bytes], Bundle]) -> Bundle:
    data = _bytes(file, MAX_BYTES + 1)
    try:
        return read(data)
    except BundleRefused as refused:
        raise Failure(f"`{file}` is refused: {refused.message}") from refused


def _read_key(path: Path, read: Callable[[bytes], _Key]) -> _Key:
    try:
        return read(_bytes(path, _MAX_KEY_BYTES))
    except KeyRefused as refused:
        raise Failure(f"`{path}`: {refused.message}", ExitCode.USAGE) from refused


def _bytes(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(most)
    except OSError as error:
        raise Failure(f"`{path}` cannot be read: {error.strerror}", ExitCode.USAGE) from error


# --------------------------------------------------------------------------------- writing


def write(file: Path, data: bytes) -> None:
    """Write a file in place of what was there, which stays if that fails."""
    beside = file.with_name(f".{file.name}.{os.getpid()}")
    with _explaining(file):
        try:
            beside.write_bytes(data)
            beside.replace(file)
        finally:
            with contextlib.suppress(OSError):
                beside.unlink(missing_ok=True)


def write_new(files: Mapping[Path, tuple[bytes, int]]) -> None:
    """Write files that are not there yet, with their modes; all of them or none."""
    written: list[Path] = []
    try:
        for path, (data, mode) in files.items():
            with _explaining(path):
                handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
                written.append(path)
                with os.fdopen(handle, "wb") as stream:
                    stream.write(data)
    except Failure:
        for path in written:
            path.unlink(missing_ok=True)
        raise


@contextmanager
def _explaining(path: Path) -> Iterator[None]:
    try:
        yield
    except FileExistsError as error:
        raise Failure(f"`{path}` is there already, and is not overwritten") from error
    except OSError as error:
        raise Failure(f"`{path}` cannot be written: {error.strerror}", ExitCode.USAGE) from error
