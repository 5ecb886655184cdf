"""What a template asks for: parameters, each of a kind that says what it takes.

A value is given as text, as people type it, or as a Python value of the kind. It is checked and
taken apart here; how it is written into a policy is for ``_literals``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum
from typing import Any, TypeAlias

from placet import EntityRef, InvalidRequest, Violation
from placet.templates import _literals as literals
from placet.templates._literals import Literal
from placet.wire.values import TYPE_NAME

Value: TypeAlias = "EntityRef | str | int | datetime | timedelta | tuple[EntityRef | str, ...]"


class Kind(Enum):
    """What a parameter takes, by the words descriptions use."""

    ENTITY = "entity"
    """``Group::"editors"`` or ``Group::editors``; in Python, an ``EntityRef``."""
    ENTITY_TYPE = "entity type"
    """``Document`` or ``Acme::Document``."""
    ACTIONS = "actions"
    """Names of actions, such as ``read, write``; with their type where it is not ``Action``."""
    STRING = "string"
    STRINGS = "strings"
    """Several texts: ``EU, CH``, or a JSON list; in Python, a collection of ``str``."""
    LONG = "long"
    """A whole number of 64 bits."""
    DATETIME = "datetime"
    """``2026-12-20T00:00:00Z``; in Python, a ``datetime`` with time zone."""
    DURATION = "duration"
    """``15m``, ``1d12h``; in Python, a ``timedelta``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Parameter:
    """One thing to fill in."""

    name: str
    kind: Kind
    about: str
    """What it is, in a sentence."""
    example: str
    """As it would be typed. The shipped cases are about these."""
    default: str | None = None
    """As it would be typed."""
    optional: bool = False
    """Whether it may be left out though there is no default."""
    minimum: int | None = None
    """Of a long."""
    before: str = ""
    """The parameter that has to be later than this one."""

    @property
    def required(self) -> bool:
        """Whether it has to be given."""
        return self.default is None and not self.optional

    def read(self, given: object) -> Value:
        """Return the value that was meant.

        Raises:
            ValueError: there is none; the message goes on from the parameter's name.
        """
        value: Value = _KINDS[self.kind].read(given)
        if self.minimum is not None and isinstance(value, int) and value < self.minimum:
            raise ValueError(f"is {value}; give {self.minimum} or more")
        return value

    def literal(self, value: Value) -> Literal:
        """Return a value as Cedar."""
        written: Literal = _KINDS[self.kind].write(value)
        return written


def read_values(
    parameters: Iterable[Parameter], given: Mapping[str, object]
) -> tuple[dict[str, Value], list[Violation]]:
    """Read what was given for parameters, and what was not; return also all that is wrong."""
    known = {parameter.name: parameter for parameter in parameters}
    listed = ", ".join(f"`{name}`" for name in known)
    wrong = [
        Violation(name, f"is no parameter; use one of {listed}")
        for name in given
        if name not in known
    ]
    values: dict[str, Value] = {}
    for parameter in known.values():
        text = given.get(parameter.name, parameter.default)
        if text is None:
            if parameter.required:
                wrong.append(Violation(parameter.name, f"is missing; {_form(parameter)}"))
            continue
        try:
            values[parameter.name] = parameter.read(text)
        except ValueError as error:
            wrong.append(Violation(parameter.name, f"{error}"))
    wrong.extend(_out_of_order(known, values))
    return values, wrong


def _form(parameter: Parameter) -> str:
    article = "an" if parameter.kind.value[0] in "aeiou" else "a"
    plural = parameter.kind in (Kind.ACTIONS, Kind.STRINGS)
    what = parameter.kind.value if plural else f"{article} {parameter.kind.value}"
    return f"give {what}, such as {parameter.example}"


def _out_of_order(
    known: Mapping[str, Parameter], values: Mapping[str, Value]
) -> Iterable[Violation]:
    for name, parameter in known.items():
        earlier, later = values.get(name), values.get(parameter.before)
        if isinstance(earlier, datetime) and isinstance(later, datetime) and earlier >= later:
            yield Violation(name, f"is not before `{parameter.before}`; give an earlier moment")


# ------------------------------------------------------------------------------------ kinds


def _entity(given: object) -> EntityRef:
    match given:
        case EntityRef(type_, id_) | (str(type_), str(id_)):
            ref = EntityRef(type_, _text(id_))
        case str():
            try:
                ref = EntityRef.parse(_text(given))
            except InvalidRequest:
                raise _unlike(given, 'Group::"editors"') from None
        case _:
            raise _unlike(given, 'Group::"editors"')
    _entity_type(ref.type)
    if not ref.id:
        raise ValueError(f'is `{ref}`, which has an empty id; write it like {ref.type}::"editors"')
    return ref


# What the grammar keeps for itself.
_RESERVED = frozenset({"__cedar", "else", "false", "has", "if", "in", "is", "like", "then", "true"})


def _entity_type(given: object) -> str:
    if not isinstance(given, str) or not TYPE_NAME.fullmatch(given):
        raise _unlike(given, "Document, or Acme::Document", "no type")
    reserved = _RESERVED.intersection(given.split("::"))
    if reserved:
        raise ValueError(f"is `{given}`, but Cedar keeps `{min(reserved)}` for itself; rename it")
    return given


def _string(given: object) -> str:
    if not isinstance(given, str):
        raise ValueError(f"is {_what(given)}; give text")
    if not given.strip():
        raise ValueError("is empty; give text")
    return _text(given)


def _strings(given: object) -> tuple[str, ...]:
    # In one order, so that the same set is the same text.
    return tuple(sorted({_string(element) for element in _elements(given)}))


def _actions(given: object) -> tuple[EntityRef, ...]:
    named = {_action(element) for element in _elements(given)}
    return tuple(sorted(named, key=lambda ref: (ref.type, ref.id)))


def _action(given: object) -> EntityRef:
    if isinstance(given, str) and "::" not in given:
        return EntityRef("Action", _string(given))
    ref = _entity(given)
    if ref.type.rpartition("::")[2] != "Action":
        raise ValueError(f'has `{ref}`, which is no action; write it like read, or Action::"read"')
    return ref


def _elements(given: object) -> list[object]:
    """Take a set apart: a collection, a JSON list, or texts with commas between them."""
    if isinstance(given, str) and given.lstrip().startswith("["):
        try:
            elements = json.loads(given)
        except (ValueError, RecursionError) as error:
            raise _unlike(given, '["one", "two"]', "no JSON list") from error
        assert isinstance(elements, list)
    elif isinstance(given, str):
        elements = [part.strip() for part in given.split(",")]
    elif isinstance(given, list | tuple | set | frozenset):
        elements = list(given)
    else:
        raise ValueError(f"is {_what(given)}; give several texts, such as one,two")
    if not elements or "" in elements:
        raise ValueError("has an empty element; leave it out" if elements else "is empty; give one")
    return elements


def _long(given: object) -> int:
    if isinstance(given, str) and re.fullmatch(r"-?[0-9]{1,19}", given.strip()):
        given = int(given)
    if not isinstance(given, int) or isinstance(given, bool):
        raise _unlike(given, "1000", "no whole number")
    if not -(2**63) <= given < 2**63:
        raise ValueError(f"is {given}, which does not fit into 64 bits; give a smaller number")
    return given


_MOMENT = re.compile(
    r"\d{4}-\d\d-\d\dT\d\d:\d\d(:\d\d(\.\d{1,3})?)?(Z|[+-]\d\d:?\d\d)", re.ASCII | re.IGNORECASE
)


def _datetime(given: object) -> datetime:
    like = "2026-12-20T00:00:00Z"
    if isinstance(given, str):
        try:
            moment = datetime.fromisoformat(given.strip())
        except ValueError:
            raise _unlike(given, like, "no moment") from None
        if moment.tzinfo is not None and not _MOMENT.fullmatch(given.strip()):
            raise _unlike(given, like, "no moment")
    elif isinstance(given, datetime):
        moment = given
    else:
        raise _unlike(given, like, "no moment")
    if moment.utcoffset() is None:
        raise ValueError(f"is `{given}`, which has no time zone; write it like {like}")
    if moment.microsecond % 1000:
        raise ValueError(f"is `{given}`; leave out what is finer than milliseconds")
    try:
        literals.instant(moment)
    except OverflowError:
        raise ValueError(f"is `{given}`, which is outside the years 1 to 9999 in UTC") from None
    return moment


_DURATION = re.compile(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)
_LONGEST = timedelta(days=36_500)


def _duration(given: object) -> timedelta:
    if isinstance(given, str):
        found = _DURATION.fullmatch(given.strip())
        if found is None or not any(found.groups()) or len(given) > 40:
            raise _unlike(given, "15m, or 1d12h", "no length of time")
        days, hours, minutes, seconds, milliseconds = (int(part or 0) for part in found.groups())
        try:
            given = timedelta(days, seconds, 0, milliseconds, minutes, hours)
        except OverflowError:
            given = _LONGEST * 2
    if not isinstance(given, timedelta):
        raise _unlike(given, "15m, or 1d12h", "no length of time")
    if not timedelta(milliseconds=1) <= given <= _LONGEST:
        raise ValueError("is out of range; give from 1ms to 36500d")
    if given.microseconds % 1000:
        raise ValueError("is finer than milliseconds, which is all Cedar has; round it")
    return given


def _text(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise ValueError("has half of a surrogate pair in it; give whole characters") from None
    return text


def _unlike(given: object, like: str, what: str = "no entity") -> ValueError:
    shown = f"`{given[:80]}`" if isinstance(given, str) else _what(given)
    return ValueError(f"is {shown}, which is {what}; write it like {like}")


def _what(given: object) -> str:
    return f"of Python's type `{type(given).__name__}`"


@dataclass(frozen=True, slots=True)
class _Handling:
    """How values of a kind are read and written. What the one returns, the other takes."""

    read: Callable[[object], Any]
    write: Callable[[Any], Literal]


_KINDS: Mapping[Kind, _Handling] = {
    Kind.ENTITY: _Handling(_entity, literals.entity),
    Kind.ENTITY_TYPE: _Handling(_entity_type, literals.entity_type),
    Kind.ACTIONS: _Handling(
        _actions, lambda refs: literals.listed(literals.entity(ref) for ref in refs)
    ),
    Kind.STRING: _Handling(_string, literals.string),
    Kind.STRINGS: _Handling(_strings, lambda texts: literals.listed(map(literals.string, texts))),
    Kind.LONG: _Handling(_long, literals.long),
    Kind.DATETIME: _Handling(_datetime, literals.instant),
    Kind.DURATION: _Handling(_duration, literals.span),
}
