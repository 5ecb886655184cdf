"""How columns keep what the domain may hold and a database may not: any text, any time."""

from __future__ import annotations

import datetime
import hashlib
import re
from typing import Any

from sqlalchemy import BigInteger, Dialect, Text, TypeDecorator
from sqlalchemy.types import TypeEngine


class AnyText(TypeDecorator[str]):
    r"""Text that may hold NUL, which PostgreSQL refuses and SQLite's functions stop at.

    NUL is written as ``\0`` and a backslash twice, so that texts that differ still do.
    """

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        # A database's own order of texts changes with the system's libraries, and breaks indexes.
        return Text(collation="C" if dialect.name == "postgresql" else None)

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or ("\\" not in value and "\0" not in value):
            return value
        return value.replace("\\", r"\\").replace("\0", r"\0")

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is None or "\\" not in value:
            return value
        return _ESCAPED.sub(lambda match: "\0" if match[0] == r"\0" else "\\", value)


_ESCAPED = re.compile(r"\\[\\0]")


class SortedText(TypeDecorator[str]):
    """Text without NUL that is compared in order of its code points, whatever the database."""

    impl = Text
    cache_ok = True

    def load_dialect_impl(self, dialect: Dialect) -> TypeEngine[Any]:
        return Text(collation="C" if dialect.name == "postgresql" else None)


class KeyText(AnyText):
    r"""Text in an index, of which PostgreSQL takes 2,704 bytes a row.

    There a longer one is written as ``\#`` and its digest, which no other text looks like, and
    read as a ``Digest``: see ``long_texts``.
    """

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if isinstance(value, Digest):
            return rf"\#{value}"
        kept = super().process_bind_param(value, dialect)
        if kept is None or dialect.name != "postgresql" or not is_long(kept):
            return kept
        return rf"\#{Digest.of(kept)}"

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and value.startswith(r"\#"):
            return Digest(value[2:])
        return super().process_result_value(value, dialect)


class Digest(str):
    """What stands in an index for a text that is too long for one."""

    __slots__ = ()

    @classmethod
    def of(cls, kept: str) -> Digest:
        """Return the digest of a text in the form ``AnyText`` writes."""
        return cls(hashlib.sha256(kept.encode()).hexdigest())


def is_long(kept: str) -> bool:
    """Whether a text is too long for an index that has three of them."""
    return len(kept) * 4 > _LONG_BYTES and len(kept.encode()) > _LONG_BYTES


_LONG_BYTES = 800


class RequestId(KeyText):
    r"""A request id, or a ``Nonce``, which is written as ``\~`` and its text and read as none."""

    cache_ok = True

    def process_bind_param(self, value: str | None, dialect: Dialect) -> str | None:
        if isinstance(value, Nonce):
            return rf"\~{value}"
        return super().process_bind_param(value, dialect)

    def process_result_value(self, value: str | None, dialect: Dialect) -> str | None:
        if value is not None and value.startswith(r"\~"):
            return None
        return super().process_result_value(value, dialect)


class Nonce(str):
    """Tells an append that has no request id from all others, should it have to be looked for."""

    __slots__ = ()


class Instant(TypeDecorator[datetime.datetime]):
    """A point in time, kept as microseconds since 1970: SQLite has no type for one."""

    impl = BigInteger
    cache_ok = True

    def process_bind_param(self, value: datetime.datetime | None, dialect: Dialect) -> int | None:
        return None if value is None else (value - _EPOCH) // _MICROSECOND

    def process_result_value(self, value: int | None, dialect: Dialect) -> datetime.datetime | None:
        return None if value is None else _EPOCH + value * _MICROSECOND


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC)
_MICROSECOND = datetime.timedelta(microseconds=1)
