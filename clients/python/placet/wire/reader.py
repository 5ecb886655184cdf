"""What all reading of messages has in common: the small parts, and the list of what is wrong.

What only requests, items or change sets have is read in the modules of these,
by functions that are given the reader.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import IntEnum
from typing import TypeVar

from placet.v1 import value_pb2
from placet.wire.limits import LIMITS
from placet.wire.refusals import Malformed, ValueRefused, Violation
from placet.wire.values import TYPE_NAME, fields_from_wire, type_refusal
from placet_engine import model

_E = TypeVar("_E", bound=IntEnum)
_TENANT = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_NO_UID = model.EntityUid("Unknown", "unknown")


class Reader:
    """Reads parts of one message and gathers everything that is wrong with it."""

    def __init__(self) -> None:
        self._violations: list[Violation] = []

    def refuse(self, field: str, message: str) -> None:
        """Note that a field is not as it has to be."""
        self._violations.append(Violation(field, message))

    def finish(self) -> None:
        """Raise :class:`Malformed` if anything was refused."""
        if self._violations:
            raise Malformed(self._violations)

    def tenant(self, tenant: str, *, field: str = "tenant", platform: bool = False) -> str:
        """Read the name of a tenant; empty only where the platform is meant by that."""
        if not tenant and not platform:
            self.refuse(field, "is missing; say whose policies decide")
        elif tenant and not _TENANT.fullmatch(tenant):
            self.refuse(
                field,
                f"is `{tenant[:80]}`; use 1 to 64 letters, digits and `._-`, none of these first",
            )
        return tenant

    def uid(self, type_name: str, id_: str, field: str, *, id_field: str = "id") -> model.EntityUid:
        """Read an entity's uid."""
        if not TYPE_NAME.fullmatch(type_name):
            self.refuse(f"{field}.type", type_refusal(type_name))
            return _NO_UID
        if len(id_) > LIMITS.max_id_chars:
            self.refuse(f"{field}.{id_field}", f"is longer than {LIMITS.max_id_chars} characters")
        return model.EntityUid(type_name, id_)

    def attributes(
        self, values: Mapping[str, value_pb2.Value], field: str
    ) -> dict[str, model.Value]:
        """Read named values."""
        if not values:
            return {}
        try:
            return fields_from_wire(values)
        except ValueRefused as refused:
            self.refuse(f"{field}{refused.path}", refused.message)
            return {}

    def entity(self, entity: value_pb2.Entity, field: str) -> model.Entity:
        """Read an entity."""
        return model.Entity(
            uid=self.uid(entity.uid.type, entity.uid.id, f"{field}.uid"),
            attributes=self.attributes(entity.attributes, f"{field}.attributes"),
            parents=tuple(
                self.uid(parent.type, parent.id, f"{field}.parents[{index}]")
                for index, parent in enumerate(entity.parents)
            ),
            tags=self.attributes(entity.tags, f"{field}.tags"),
        )

    def entities(self, entities: Sequence[value_pb2.Entity], field: str) -> list[model.Entity]:
        """Read entities that came with a request."""
        if not entities:
            return []
        if len(entities) > LIMITS.max_entities:
            self.refuse(field, f"has more than {LIMITS.max_entities} entries; send fewer")
            return []
        return [self.entity(entity, f"{field}[{index}]") for index, entity in enumerate(entities)]

    def choice(self, enum: type[_E], number: int, field: str, instead: _E) -> _E:
        """Read an enum that has to be one of those known here."""
        try:
            return enum(number)
        except ValueError:
            known = ", ".join(f"{member.name} ({member.value})" for member in enum)
            what = f"is {number}, which is not known" if number else "is not given"
            self.refuse(field, f"{what}; use one of {known}")
            return instead
