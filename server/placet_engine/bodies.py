"""Frozen dataclasses as JSON objects and back, by their annotations.

For records that are kept: a member that is at its default is left out, so that a field can be
added later; one that is not known is refused, since it means something.

=====================  =======================================
annotation             JSON
=====================  =======================================
str, int, float, bool  themselves
Any, Mapping[str, Any] themselves, not looked into
datetime               text in UTC, to the microsecond
timedelta              seconds
bytes                  text, hexadecimal
an Enum                its value
a dataclass            an object
tuple[T, ...]          an array
Mapping[str, T]        an object
T | None               T, or null
=====================  =======================================
"""

from __future__ import annotations

import datetime
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from enum import Enum
from functools import cache
from typing import Any, TypeVar, Union, cast, get_args, get_origin, get_type_hints

Body = TypeVar("Body")


class BodyRefused(ValueError):
    """A JSON object that is not the form of what is to be read from it."""


def to_body(value: Any) -> dict[str, Any]:
    """Return a dataclass's object as a JSON object."""
    return {
        name: write(getattr(value, name))
        for name, write, default in _writers(value.__class__)
        if default is _REQUIRED or getattr(value, name) != default
    }


def from_body(kind: type[Body], body: Mapping[str, Any]) -> Body:
    """Return the dataclass's object that a JSON object is of.

    Raises:
        BodyRefused: it has not the members, or they are not what they should be.
    """
    readers = _readers(cast(Any, kind))
    if unknown := body.keys() - readers.keys():
        raise BodyRefused(f"`{kind.__name__}` has no `{min(unknown)}`")
    try:
        return kind(**{name: readers[name](value) for name, value in body.items()})
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise BodyRefused(f"`{kind.__name__}` cannot be read: {error}") from error


_REQUIRED = object()
_Convert = Callable[[Any], Any]


@cache
def _writers(kind: Any) -> list[tuple[str, _Convert, object]]:
    hints = get_type_hints(kind)
    return [(one.name, _writer(hints[one.name]), _default(one)) for one in fields(kind)]


@cache
def _readers(kind: Any) -> dict[str, _Convert]:
    hints = get_type_hints(kind)
    return {one.name: _reader(hints[one.name]) for one in fields(kind)}


def _default(one: Field[Any]) -> object:
    if one.default is not MISSING:
        return one.default
    return one.default_factory() if one.default_factory is not MISSING else _REQUIRED


def _writer(hint: Any) -> _Convert:
    if inner := _optional(hint):
        write = _writer(inner)
        return lambda value: None if value is None else write(value)
    match get_origin(hint) or hint:
        case origin if origin is tuple:
            write = _writer(get_args(hint)[0])
            return lambda value: [write(one) for one in value]
        case origin if _is_mapping(origin):
            write = _writer(get_args(hint)[1])
            return lambda value: {key: write(one) for key, one in value.items()}
        case datetime.datetime:
            return _time_to_text
        case datetime.timedelta:
            return datetime.timedelta.total_seconds
        case origin if origin is bytes:
            return bytes.hex
        case origin if isinstance(origin, type) and issubclass(origin, Enum):
            return lambda value: value.value
        case origin if is_dataclass(origin):
            return to_body
    return _same


def _reader(hint: Any) -> _Convert:
    if inner := _optional(hint):
        read = _reader(inner)
        return lambda value: None if value is None else read(value)
    match get_origin(hint) or hint:
        case origin if origin is tuple:
            read = _reader(get_args(hint)[0])
            return lambda value: tuple(read(one) for one in value)
        case origin if _is_mapping(origin):
            read = _reader(get_args(hint)[1])
            return lambda value: {key: read(one) for key, one in value.items()}
        case datetime.datetime:
            return datetime.datetime.fromisoformat
        case datetime.timedelta:
            return lambda value: datetime.timedelta(seconds=value)
        case origin if origin is bytes:
            return bytes.fromhex
        case origin if isinstance(origin, type) and issubclass(origin, Enum):
            return origin
        case origin if isinstance(origin, type) and is_dataclass(origin):
            return lambda value: from_body(origin, value)
    return _same


def _optional(hint: Any) -> Any:
    """Return what a hint is beside None, or None if it cannot be None."""
    if get_origin(hint) not in (Union, types.UnionType):
        return None
    inner = [one for one in get_args(hint) if one is not types.NoneType]
    if len(inner) != 1:
        raise TypeError(f"a body cannot hold one of several things: {hint}")
    return inner[0]


def _is_mapping(origin: Any) -> bool:
    return isinstance(origin, type) and issubclass(origin, Mapping)


def _time_to_text(time: datetime.datetime) -> str:
    return time.astimezone(datetime.UTC).isoformat(timespec="microseconds")


def _same(value: Any) -> Any:
    return value
