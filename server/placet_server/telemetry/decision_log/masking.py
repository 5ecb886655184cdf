"""Takes out of a record what must not be written down, before anything is written.

A path names a field of the request: ``context.ssn``, ``subject.properties.email``,
``resource.properties.*``, ``entities.*.attributes.salary``. Segments are separated by dots, ``*``
stands for any one name or place, and everything below what a path names goes with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import os
from collections.abc import Iterable, Iterator
from enum import StrEnum
from typing import Any

from placet_server.telemetry.decision_log.records import Document

_ROOTS = ("subject", "action", "resource", "context", "entities")
_REPLACEMENT = "***"


class MaskMode(StrEnum):
    """What becomes of a masked value."""

    REPLACE = "replace"
    """It is ``***``."""
    DROP = "drop"
    """It is not there at all."""
    HASH = "hash"
    """It is a keyed hash: equal values can be told to be equal, and no more."""


class MaskRefused(ValueError):
    """A path that would mask nothing."""


class Masker:
    """Masks documents of records."""

    def __init__(
        self,
        paths: Iterable[str] = (),
        mode: MaskMode = MaskMode.REPLACE,
        *,
        salt: bytes = b"",
    ) -> None:
        """Read the paths.

        Args:
            paths: what to mask.
            mode: how.
            salt: key of the hashes. Without, one is made up: hashes of two runs then differ.

        Raises:
            MaskRefused: a path names nothing a record has.
        """
        self._paths = [(path, _segments(path)) for path in paths]
        self._mode = mode
        self._salt = salt or os.urandom(32)

    def mask(self, document: Document) -> list[str]:
        """Mask in place; return the paths that were there to mask."""
        hit = [path for path, segments in self._paths if self._mask(document, segments)]
        if self._paths:
            # Cedar's messages quote entities and values.
            for error in document["errors"]:
                error["message"] = ""
        return hit

    def _mask(self, holder: Any, segments: list[str]) -> bool:
        name, rest = segments[0], segments[1:]
        found = False
        # The last first, so that dropping one does not move the others.
        for key in reversed(list(_keys(holder, name))):
            if rest:
                found |= self._mask(holder[key], rest)
            else:
                found = True
                self._replace(holder, key)
        return found

    def _replace(self, holder: Any, key: Any) -> None:
        if self._mode is MaskMode.DROP:
            del holder[key]
        elif self._mode is MaskMode.HASH:
            text = json.dumps(holder[key], sort_keys=True, ensure_ascii=False).encode()
            digest = hmac.new(self._salt, text, hashlib.sha256).hexdigest()
            holder[key] = f"hmac-sha256:{digest[:32]}"
        else:
            holder[key] = _REPLACEMENT


def _keys(holder: Any, name: str) -> Iterator[Any]:
    """Yield the keys of a record, or the places of a list, that a segment names."""
    if isinstance(holder, dict):
        yield from list(holder) if name == "*" else [name] if name in holder else []
    elif isinstance(holder, list):
        yield from (place for place in range(len(holder)) if name in ("*", str(place)))


def _segments(path: str) -> list[str]:
    segments = path.split(".")
    if segments[0] not in _ROOTS or "" in segments:
        raise MaskRefused(
            f"`{path}` names nothing to mask; begin with one of {', '.join(_ROOTS)}, "
            "such as `context.ssn` or `subject.properties.*`"
        )
    return segments
