"""What can be said of a policy's conditions without any request.

Conditions are folded as far as literals and the policy's own scope decide them, and what is left is
cut at each ``&&``. Of a policy whose scope matches, all of these conjuncts hold exactly when it
matches: so two policies can be compared by comparing sets of texts. Analysis errs on the side of
"nobody knows".
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from sys import intern
from typing import Any, NamedTuple, TypeAlias

from placet_engine.model import EntityUid
from placet_engine.scopes import Key, Scope, Within


@dataclass(frozen=True, slots=True)
class Conditions:
    """The conditions of one policy."""

    conjuncts: tuple[str, ...] = ()
    """What has to hold, in the order Cedar looks at it, as canonical JSON. What always holds where
    the policy's scope matches is left out: nothing left means that the policy always matches."""
    can_hold: bool = True
    can_fail: bool = False
    """Whether an evaluation error is possible, so far as is known."""


ALWAYS = Conditions()


def conditions_of(conditions: Sequence[Mapping[str, Any]], scope: Scope) -> Conditions:
    """Analyse the conditions of a policy in Cedar's JSON policy format."""
    if not conditions:
        return ALWAYS
    known = _known_of(scope)
    left: list[str] = []
    can_fail = False
    for conjunct in _conjuncts(conditions):
        text = _text(conjunct)
        if len(text) > _LONGEST:
            left.append(text)
            can_fail = True
            continue
        found = _fold(conjunct, known)
        can_fail = can_fail or not found.is_safe
        if found.value is False:
            return _shared(Conditions((text,), can_hold=False, can_fail=can_fail))
        if found.value is None or not found.is_safe:
            left.append(text)
        known = _learning(known, conjunct)
    return _shared(Conditions(tuple(left), can_fail=can_fail))


# What is longer could be nested deeper than Python calls itself, and is not looked into.
_LONGEST = 1_500


@lru_cache(maxsize=4096)
def _shared(conditions: Conditions) -> Conditions:
    """Return one object for all that are equal: many policies ask for the same."""
    return conditions


def forget() -> None:
    """Keep no object for those to come that are equal to it."""
    _shared.cache_clear()


def _conjuncts(conditions: Sequence[Mapping[str, Any]]) -> Iterator[Any]:
    """Go through what has to hold, in Cedar's order."""
    for condition in conditions:
        if condition["kind"] == "unless":
            yield {"!": {"arg": condition["body"]}}
            continue
        # Deep on the left side: that is how `a && b && c` is read.
        later = [condition["body"]]
        while later:
            body = later.pop()
            if "&&" in body:
                later += (body["&&"]["right"], body["&&"]["left"])
            else:
                yield body


def _text(expression: object) -> str:
    return intern(_TO_JSON(expression))


_TO_JSON = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode


# --------------------------------------------------------------------------- what is known


class _About(NamedTuple):
    """What is known of one variable."""

    type: str | None
    uid: EntityUid | None = None


_Known: TypeAlias = "Mapping[str, _About]"


def _known_of(scope: Scope) -> _Known:
    action = scope.actions[0] if len(scope.actions) == 1 else None
    return {
        "principal": _about(scope.principal),
        "action": _about(action),
        "resource": _about(scope.resource),
    }


def _about(key: Key) -> _About:
    match key:
        case EntityUid():
            return _About(key.type, key)
        case Within():
            return _About(key.type)
    return _About(key)


def _learning(known: _Known, expression: Any) -> _Known:
    """Return what is known once an expression holds."""
    ((operator, operand),) = expression.items()
    if operator == "&&":
        return _learning(_learning(known, operand["left"]), operand["right"])
    if operator == "==":
        for one, other in ("left", "right"), ("right", "left"):
            name, uid = operand[one].get("Var"), _uid(operand[other], known)
            if name in known and uid is not None:
                return {**known, name: _About(uid.type, uid)}
    if operator == "is":
        name = operand["left"].get("Var")
        if name in known:
            return {**known, name: known[name]._replace(type=operand["entity_type"])}
    return known


def _uid(expression: Any, known: _Known) -> EntityUid | None:
    """Return the entity that an expression is, if that is known."""
    if "Var" in expression:
        name = expression["Var"]
        return known[name].uid if name in known else None
    value = expression.get("Value")
    if isinstance(value, dict) and "__entity" in value:
        return EntityUid(**value["__entity"])
    return None


def _type(expression: Any, known: _Known) -> str | None:
    """Return the type of the entity that an expression is, if that is known."""
    if "Var" in expression:
        name = expression["Var"]
        return known[name].type if name in known else None
    uid = _uid(expression, known)
    return uid.type if uid is not None else None


def _is_entity(expression: Any, known: _Known) -> bool:
    return expression.get("Var") in known or _uid(expression, known) is not None


# --------------------------------------------------------------------------------- folding


class _Folded(NamedTuple):
    """What an expression comes to."""

    value: bool | None
    """What it is if it is anything; None when that depends on the request."""
    is_safe: bool
    """Whether it is a truth value for every request, and never an error."""


_Fold: TypeAlias = "Callable[[Any, _Known], _Folded]"
_UNKNOWN = _Folded(None, is_safe=False)


def _fold(expression: Any, known: _Known) -> _Folded:
    """Evaluate an expression as far as it can be done without a request."""
    ((operator, operand),) = expression.items()
    fold = _FOLDS.get(operator)
    return _UNKNOWN if fold is None else fold(operand, known)


def _literal(value: Any, _known: _Known) -> _Folded:
    return _Folded(value, is_safe=True) if isinstance(value, bool) else _UNKNOWN


def _not(operand: Any, known: _Known) -> _Folded:
    inner = _fold(operand["arg"], known)
    return inner._replace(value=None if inner.value is None else not inner.value)


def _both(operand: Any, known: _Known) -> _Folded:
    one = _fold(operand["left"], known)
    if one.value is False:
        return one
    other = _fold(operand["right"], _learning(known, operand["left"]))
    is_safe = one.is_safe and other.is_safe
    value = other.value if other.value is False or one.value else None
    return _Folded(value, is_safe)


def _either(operand: Any, known: _Known) -> _Folded:
    one = _fold(operand["left"], known)
    if one.value is True:
        return one
    other = _fold(operand["right"], known)
    is_safe = one.is_safe and other.is_safe
    value = other.value if other.value or one.value is False else None
    return _Folded(value, is_safe)


def _chosen(operand: Any, known: _Known) -> _Folded:
    tested = _fold(operand["if"], known)
    one = _fold(operand["then"], _learning(known, operand["if"]))
    other = _fold(operand["else"], known)
    if tested.value is not None:
        taken = one if tested.value else other
        return _Folded(taken.value, tested.is_safe and taken.is_safe)
    value = one.value if one.value is other.value else None
    return _Folded(value, tested.is_safe and one.is_safe and other.is_safe)


def _equal(operand: Any, known: _Known) -> _Folded:
    """Compare. Of any two things Cedar says whether they are equal, unless making them fails."""
    left, right = operand["left"], operand["right"]
    if _uid(left, known) is not None and _uid(right, known) is not None:
        return _Folded(_uid(left, known) == _uid(right, known), is_safe=True)
    types = _type(left, known), _type(right, known)
    if None not in types and types[0] != types[1]:
        return _Folded(value=False, is_safe=True)
    if _is_plain(left) and _is_plain(right):
        # By their text: Python takes `True` for `1`.
        return _Folded(_text(left) == _text(right), is_safe=True)
    are_starts = _is_start(left) and _is_start(right)
    return _Folded(True if are_starts and left == right else None, are_starts)


def _differ(operand: Any, known: _Known) -> _Folded:
    return _not({"arg": {"==": operand}}, known)


def _is_plain(expression: Any) -> bool:
    """Whether an expression is a truth value, a number or a text."""
    return isinstance(expression.get("Value"), bool | int | str)


def _is_start(expression: Any) -> bool:
    """Whether an expression is there for every request: a variable or a literal."""
    return "Var" in expression or "Value" in expression


def _compared(holds: Callable[[int, int], bool]) -> _Fold:
    """Fold a comparison of two numbers."""

    def fold(operand: Any, _known: _Known) -> _Folded:
        numbers = operand["left"].get("Value"), operand["right"].get("Value")
        if not all(type(number) is int for number in numbers):
            return _UNKNOWN
        return _Folded(holds(*numbers), is_safe=True)

    return fold


def _typed(operand: Any, known: _Known) -> _Folded:
    left, entity_type = operand["left"], operand["entity_type"]
    if not _is_entity(left, known):
        return _UNKNOWN
    its_type = _type(left, known)
    if its_type is not None and its_type != entity_type:
        return _Folded(value=False, is_safe=True)
    inner = _Folded(value=True, is_safe=True)
    if "in" in operand:
        inner = _within({"left": left, "right": operand["in"]}, known)
    return inner if its_type is not None else inner._replace(value=None)


def _within(operand: Any, known: _Known) -> _Folded:
    """Look for an entity among those it may be in; every entity is in itself."""
    left, right = operand["left"], operand["right"]
    groups = right.get("Set", [right])
    if not all(_is_entity(expression, known) for expression in (left, *groups)):
        return _UNKNOWN
    if not groups:
        return _Folded(value=False, is_safe=True)
    uid = _uid(left, known)
    is_one = left in groups or (uid is not None and uid in [_uid(one, known) for one in groups])
    return _Folded(True if is_one else None, is_safe=True)


def _has(operand: Any, known: _Known) -> _Folded:
    left = operand["left"]
    return _Folded(None, is_safe=_is_entity(left, known) or left == {"Var": "context"})


def _has_tag(operand: Any, known: _Known) -> _Folded:
    is_named = isinstance(operand["right"].get("Value"), str)
    return _Folded(None, is_safe=is_named and _is_entity(operand["left"], known))


_FOLDS: Mapping[str, _Fold] = {
    "Value": _literal,
    "!": _not,
    "&&": _both,
    "||": _either,
    "if-then-else": _chosen,
    "==": _equal,
    "!=": _differ,
    "<": _compared(int.__lt__),
    "<=": _compared(int.__le__),
    ">": _compared(int.__gt__),
    ">=": _compared(int.__ge__),
    "is": _typed,
    "in": _within,
    "has": _has,
    "hasTag": _has_tag,
}
