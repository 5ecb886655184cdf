"""From Cedar text to parsed policies: effect, annotations, slots, literals.

Parsing is the expensive part of compiling, and most of a set stays the same
from one revision to the next, so a parser remembers what it parsed.
"""

from __future__ import annotations

import difflib
import json
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import cedarpy
from cachetools import LRUCache

from placet_engine.conditions import Conditions, conditions_of
from placet_engine.model import Effect, EntityUid
from placet_engine.nesting import TooDeep, balanced, check_text
from placet_engine.reads import Reads, entity_literals, reads_of
from placet_engine.scopes import Scope, Within, scope_of, slot_holder


class PolicyTextError(ValueError):
    """A text that is not one good policy. ``reason`` is stable, the message for people."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ParsedPolicy:
    """What a policy's text says, independent of its id and owner."""

    effect: Effect
    slots: frozenset[str]
    """``?principal`` and ``?resource``, as far as they occur. Empty: not a template."""
    json_text: str
    """The policy in Cedar's JSON policy format, which keeps ids of any form."""
    annotations: Mapping[str, str]
    literals: frozenset[EntityUid]
    """Entities named in conditions, whose data the policy may therefore read."""
    scope: Scope
    """Which requests the policy can be about; of a template, before it is linked."""
    reads: Reads
    """What of a request the conditions look at."""
    conditions: Conditions
    """What the conditions come to without any request."""

    @property
    def actions(self) -> frozenset[EntityUid]:
        """Actions named in the scope."""
        return frozenset(
            EntityUid(key.group_type, key.group_id) if isinstance(key, Within) else key
            for key in self.scope.actions
            if isinstance(key, Within | EntityUid)
        )

    @property
    def is_template(self) -> bool:
        """Whether the policy needs a link to have any effect."""
        return bool(self.slots)

    @property
    def log_only(self) -> bool:
        """Whether the policy is reported but does not count."""
        return self.annotations.get("mode") == "log_only"

    @property
    def obligations(self) -> Sequence[str]:
        """What ``@obligation("a, b")`` demands of the caller, one string each."""
        return _listed(self.annotations.get("obligation", ""))

    @property
    def approval_groups(self) -> Sequence[str]:
        """Who may say yes, from ``@approval("a, b")``. Empty: nobody needs to."""
        return _listed(self.annotations.get("approval", ""))

    @property
    def message(self) -> str:
        """Text for people, from ``@reason("...")``."""
        return self.annotations.get("reason", "")

    def link(
        self, *, principal: EntityUid | None = None, resource: EntityUid | None = None
    ) -> ParsedPolicy:
        """Fill a template's slots.

        Slots occur in the scope only, so that filling one is putting the
        entity in its place.

        Raises:
            PolicyTextError: a slot is left open, or a value has no slot.
        """
        values = {"?principal": principal, "?resource": resource}
        given = {slot for slot, value in values.items() if value is not None}
        if given != self.slots:
            raise PolicyTextError(
                "LINK_SLOTS",
                f"the template has {_slot_list(self.slots)} and the link fills {_slot_list(given)}",
            )
        document = json.loads(self.json_text)
        for part in _SLOTTED:
            holder = slot_holder(document[part])
            value = values.get(holder.pop("slot", ""))
            if value is not None:
                holder["entity"] = value.to_json()
        scope = scope_of(document)
        return replace(
            self,
            slots=frozenset(),
            json_text=json.dumps(document, separators=(",", ":")),
            scope=scope,
            conditions=conditions_of(document["conditions"], scope),
        )


_SLOTTED = ("principal", "resource")


def _slot_list(slots: Iterable[str]) -> str:
    return " and ".join(f"`{slot}`" for slot in sorted(slots)) or "no slots"


def _listed(annotation: str) -> list[str]:
    return [part for part in (part.strip() for part in annotation.split(",")) if part]


class PolicyParser:
    """Parses policies and remembers the results, by text. Safe to share between threads."""

    def __init__(self, *, max_entries: int = 50_000) -> None:
        self._parsed: LRUCache[str, ParsedPolicy] = LRUCache(max_entries)
        self._lock = threading.Lock()

    def parse(self, cedar: str) -> ParsedPolicy:
        """Parse one policy or template.

        Raises:
            PolicyTextError: it is not exactly one policy, or not a good one.
        """
        with self._lock:
            known = self._parsed.get(cedar)
        if known is not None:
            return known
        parsed = _parse(cedar)
        with self._lock:
            self._parsed[cedar] = parsed
        return parsed

    def forget(self) -> None:
        """Remember nothing of what was parsed so far."""
        with self._lock:
            self._parsed.clear()


def _parse(cedar: str) -> ParsedPolicy:
    try:
        check_text(cedar)
        documents = json.loads(cedarpy.policies_to_json_str(cedar))
    except TooDeep as error:
        raise PolicyTextError("POLICY_TOO_DEEP", str(error)) from error
    except RecursionError as error:
        raise PolicyTextError(
            "POLICY_TOO_DEEP", "has too many operators in a row; split it into several policies"
        ) from error
    except ValueError as error:
        hint = "; a policy ends with `;`" if not cedar.rstrip().endswith(";") else ""
        raise PolicyTextError("POLICY_SYNTAX", f"{error}{hint}") from error
    found = [*documents["staticPolicies"].values(), *documents["templates"].values()]
    if len(found) != 1:
        raise PolicyTextError(
            "POLICY_COUNT",
            f"holds {len(found)} policies; give each policy an item of its own",
        )
    document = found[0]
    try:
        document["conditions"] = balanced(document["conditions"])
    except TooDeep as error:
        raise PolicyTextError("POLICY_TOO_DEEP", str(error)) from error
    annotations = {name: value or "" for name, value in document.get("annotations", {}).items()}
    effect = Effect.PERMIT if document["effect"] == "permit" else Effect.FORBID
    _check_annotations(annotations, effect)
    scope = scope_of(document)
    return ParsedPolicy(
        effect=effect,
        slots=frozenset(
            slot for part in _SLOTTED if (slot := slot_holder(document[part]).get("slot"))
        )
        or _NOTHING,
        json_text=json.dumps(document, separators=(",", ":")),
        annotations=annotations,
        literals=frozenset(entity_literals(document["conditions"])) or _NOTHING,
        scope=scope,
        reads=reads_of(document["conditions"]),
        conditions=conditions_of(document["conditions"], scope),
    )


# Most policies have neither slots nor literals, and an empty set of its own takes 216 bytes.
_NOTHING: frozenset[Any] = frozenset()

# Annotations that mean something to Placet. Others are the author's own.
_KNOWN_ANNOTATIONS = ("id", "mode", "approval", "obligation", "reason")
_MODES = ("enforce", "log_only")
# A misspelt `@approval` would silently allow, so what comes this close to a
# known name is refused. Chosen so that the plural and one wrong letter are
# caught and ordinary words such as `@season` are not.
_MISSPELT_RATIO = 0.85
_ORDINARY_WORDS = frozenset({"model"})
# Words further off that people use for the same.
_OTHER_WORDS = {
    "approve": "approval",
    "approver": "approval",
    "approvers": "approval",
    "oblige": "obligation",
}


def _check_annotations(annotations: Mapping[str, str], effect: Effect) -> None:
    def refuse(message: str) -> PolicyTextError:
        return PolicyTextError("POLICY_ANNOTATION", message)

    mode = annotations.get("mode", "enforce")
    if mode not in _MODES:
        raise refuse(f'`@mode("{mode}")` is not a mode; use `enforce` or `log_only`')
    for name in ("approval", "obligation"):
        if name not in annotations:
            continue
        if not _listed(annotations[name]):
            raise refuse(f"`@{name}` needs a value, as in {_ANNOTATION_EXAMPLES[name]}")
        if effect is Effect.FORBID:
            raise refuse(f"`@{name}` has no meaning on a `forbid`; put it on the `permit`")
    for name in annotations:
        if name in _KNOWN_ANNOTATIONS or name in _ORDINARY_WORDS:
            continue
        lower = name.lower()
        close = difflib.get_close_matches(lower, _KNOWN_ANNOTATIONS, 1, _MISSPELT_RATIO)
        meant = close[0] if close else _OTHER_WORDS.get(lower)
        if meant:
            raise refuse(f"`@{name}` has no meaning; did you mean `@{meant}`?")


_ANNOTATION_EXAMPLES = {
    "approval": '`@approval("finance-leads")`',
    "obligation": '`@obligation("redact:ssn")`',
}
