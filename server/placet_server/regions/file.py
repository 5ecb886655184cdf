"""The file of regions: TOML, a table for each region. It takes the place of the six that ship."""

from __future__ import annotations

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from placet_engine.placement.geography import GeoPoint
from placet_engine.placement.regions import DEFAULT_REGIONS, LOCAL, Region, Regions
from placet_server.config import ConfigError, is_address

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_JURISDICTION = re.compile(r"[A-Z][A-Z0-9-]{0,31}")
_KEYS = ("title", "jurisdiction", "regulations", "latitude", "longitude", "endpoints")


def load_regions(file: str, *, here: str) -> Regions:
    """Return the regions there are, as a node in one of them sees them.

    Args:
        file: path of the file. Empty: those that ship.
        here: the node's own region.

    Raises:
        ConfigError: the file cannot be used, or the node's region is none of them. All that is
            wrong in the file is in the message.
    """
    regions = read_regions(Path(file)) if file else DEFAULT_REGIONS
    known = Regions(regions)
    if here != LOCAL and here not in known:
        names = [region.name for region in known]
        close = difflib.get_close_matches(here, names, 1)
        hint = f"; did you mean `{close[0]}`?" if close else ""
        raise ConfigError(
            f"`server.region` is `{here}`, which is no region; use one of {', '.join(names)}, "
            f"or {LOCAL}, or name a file of regions that has it in `topology.file`{hint}"
        )
    return Regions(regions, here=here)


def read_regions(file: Path) -> tuple[Region, ...]:
    """Read a file of regions.

    Raises:
        ConfigError: it cannot be read, or something in it is not as it has to be.
    """
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(
            f"cannot read the regions in `{file}`: {error.strerror}; check `topology.file`"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"the regions in `{file}` are not valid TOML: {error}") from error
    wrong = [
        f"`{file}`: {problem}"
        for name, table in document.items()
        for problem in _problems(name, table)
    ]
    if not document:
        wrong = [f"`{file}` has no regions; write a table for each, such as [eu-west]"]
    if wrong:
        raise ConfigError("\n".join(wrong))
    return tuple(_region(name, table) for name, table in document.items())


def _region(name: str, table: Mapping[str, Any]) -> Region:
    return Region(
        name=name,
        title=table.get("title", ""),
        jurisdiction=table.get("jurisdiction", ""),
        regulations=tuple(table.get("regulations", ())),
        location=GeoPoint(float(table["latitude"]), float(table["longitude"])),
        endpoints=tuple(table.get("endpoints", ())),
    )


def _problems(name: str, table: object) -> Iterator[str]:
    if not isinstance(table, dict):
        yield f"`{name}` is not in a region; put it under one, such as [eu-west]"
        return
    if not _NAME.fullmatch(name):
        yield f"[{name}]: call it by 1 to 64 letters, digits and `._-`, none of these first"
    if name == LOCAL:
        yield f"[{name}]: that is what nodes are in that have no region; call it something else"
    for key in table.keys() - set(_KEYS):
        close = difflib.get_close_matches(key, _KEYS, 1)
        hint = f"did you mean `{close[0]}`?" if close else f"use {', '.join(_KEYS)}"
        yield f"[{name}]: unknown key `{key}`; {hint}"
    for key, what, is_such in _SHAPES:
        if key in table and not is_such(table[key]):
            yield f"[{name}]: `{key}` is `{table[key]}`, which is not {what}"
    yield from _place_problems(name, table)


def _place_problems(name: str, table: Mapping[str, Any]) -> Iterator[str]:
    place = table.get("latitude"), table.get("longitude")
    if None in place:
        yield (
            f"[{name}]: `latitude` and `longitude` are missing; without them nobody knows who is "
            "near it"
        )
    elif all(map(_is_number, place)):
        try:
            GeoPoint(*map(float, place))  # type: ignore[arg-type]  # numbers, as was just seen
        except ValueError as error:
            yield f"[{name}]: {error}"


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_jurisdiction(value: object) -> bool:
    return isinstance(value, str) and _JURISDICTION.fullmatch(value) is not None


def _are_texts(value: object) -> bool:
    return isinstance(value, list) and all(map(_is_text, value))


def _are_addresses(value: object) -> bool:
    return isinstance(value, list) and all(_is_text(one) and is_address(one) for one in value)


_SHAPES = (
    ("title", "a text", _is_text),
    # A law in small letters would be one that no rule knows, and nothing would be allowed there.
    ("jurisdiction", "the name of a law in capitals, such as `EU`", _is_jurisdiction),
    ("regulations", "a list of texts, such as [`GDPR`]", _are_texts),
    ("latitude", "a number of degrees", _is_number),
    ("longitude", "a number of degrees", _is_number),
    ("endpoints", "a list of addresses as host:port", _are_addresses),
)
