"""A tenant's schema, as Cedar and the index of policies need it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass

import cedarpy

from placet_engine.model import EntityUid
from placet_engine.nesting import check_text
from placet_engine.schema_growth import check_growth


@dataclass(frozen=True, slots=True)
class CompiledSchema:
    """A parsed schema."""

    handle: cedarpy.Schema
    action_parents: Mapping[EntityUid, tuple[EntityUid, ...]]
    """The actions it declares, and the groups of actions they are in."""


def compile_schema(text: str) -> CompiledSchema:
    """Parse a schema in either syntax.

    Raises:
        ValueError: it does not parse.
    """
    check_text(text, brackets="()[]{}<>")
    check_growth(text)
    if text.lstrip().startswith("{"):
        handle = cedarpy.Schema.from_json_str(text, release_gil=True)
    else:
        handle = cedarpy.Schema.from_str(text, release_gil=True)
    # With a schema, Cedar adds its actions to any entities it parses.
    declared = json.loads(str(cedarpy.Entities.from_json_str("[]", handle)))
    return CompiledSchema(
        handle,
        {
            EntityUid(**entity["uid"]): tuple(EntityUid(**parent) for parent in entity["parents"])
            for entity in declared
        },
    )
