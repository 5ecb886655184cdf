"""The regions on a map of the world, as a picture: one file that needs no other."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from xml.sax.saxutils import escape

from placet.cli.fleet import NodeState, Tally
from placet.cli.world import NORTH, SOUTH, land_dots
from placet.cli.world_map import Placed

_WIDTH = 1200
_MAP_TOP = 64
_MAP_HEIGHT = round(_WIDTH * (NORTH - SOUTH) / 360)
_HEIGHT = _MAP_TOP + _MAP_HEIGHT + 56
_DOT_COLUMNS = 200
_DOT_ROWS = round(_DOT_COLUMNS * (NORTH - SOUTH) / 360)
_BOLD, _LETTER = 8.4, 7.0
"""How wide a letter of a label is, on the safe side."""
_LINE = 17
_LABEL_GAP = 8
_STEPS_OFF = 8

# Told apart by those, too, who see no red or no green.
_COLOURS: Mapping[NodeState, str] = {
    NodeState.SERVING: "#1a9e77",
    NodeState.DRAINING: "#e6a01d",
    NodeState.NOT_SERVING: "#d1495b",
    NodeState.LOST: "#7d3c98",
}
_STYLE = """
  text { font: 13px ui-sans-serif, system-ui, "Segoe UI", Helvetica, Arial, sans-serif }
  .sea { fill: #f7f9fb } .land { stroke: #c6d0db } .name, .count, .title { fill: #15202b }
  .more, .key { fill: #5b6b7b } .name { font-weight: 600 } .title { font-size: 20px }
  .title, .count { font-weight: 600 } .more { font-size: 12px } .core { fill: #ffffff }
  .none { fill: none; stroke: #8797a7; stroke-dasharray: 3 3 }
  .lead { stroke: #8797a7; stroke-width: .8 }
  .halo { fill: #f7f9fb; fill-opacity: .82 }
  @media (prefers-color-scheme: dark) {
    .sea { fill: #0e1620 } .land { stroke: #2d3b4a } .name, .count, .title { fill: #eaf1f7 }
    .more, .key { fill: #93a4b5 } .core { fill: #16212d } .halo { fill: #0e1620 }
  }
"""


def world_svg(regions: Sequence[Placed]) -> str:
    """Return the picture, as the text of an SVG file."""
    return "\n".join(_parts(regions))


def _parts(regions: Sequence[Placed]) -> Iterator[str]:
    nodes = sum(one.tally.total for one in regions)
    serving = sum(one.tally.serving for one in regions)
    what = f"{serving} of {nodes} nodes serve in {len(regions)} regions"
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" '
        f'width="{_WIDTH}" height="{_HEIGHT}" aria-labelledby="title">'
    )
    yield f'<title id="title">Placet: {what}</title><style>{_STYLE}</style>'
    yield f'<rect class="sea" width="{_WIDTH}" height="{_HEIGHT}"/>'
    yield '<text class="title" x="24" y="40">Placet</text>'
    yield f'<text class="key" x="98" y="40">{what}</text>'
    yield f'<path class="land" stroke-width="4" stroke-linecap="round" d="{_land()}"/>'
    spots = [_Spot.of(one) for one in regions if one.region.location is not None]
    taken = [spot.box for spot in spots]
    for spot in spots:
        yield from _label(spot, taken)
    for spot in spots:
        yield from _ring(spot)
    yield from _key([one for one in regions if one.region.location is None])
    yield "</svg>"


def _land() -> str:
    """Return the land as one path of lines without length, whose round ends are the dots."""
    across, down = _WIDTH / _DOT_COLUMNS, _MAP_HEIGHT / _DOT_ROWS
    return "".join(
        f"M{(column + 0.5) * across:g} {_MAP_TOP + (row + 0.5) * down:.5g}h0"
        for column, row in sorted(land_dots(_DOT_COLUMNS, _DOT_ROWS))
    )


@dataclass(frozen=True, slots=True)
class _Box:
    left: float
    top: float
    width: float
    height: float

    def meets(self, other: _Box) -> bool:
        """Whether two of them cover one another."""
        return (
            self.left < other.left + other.width
            and other.left < self.left + self.width
            and self.top < other.top + other.height
            and other.top < self.top + self.height
        )

    @property
    def is_on_the_map(self) -> bool:
        is_within = self.left >= 0 and self.left + self.width <= _WIDTH
        return is_within and _MAP_TOP <= self.top <= _MAP_TOP + _MAP_HEIGHT - self.height


@dataclass(frozen=True, slots=True)
class _Spot:
    """A region on the map."""

    placed: Placed
    x: float
    y: float
    radius: float

    @classmethod
    def of(cls, one: Placed) -> _Spot:
        """Return where a region is; the more nodes, the larger."""
        location = one.region.location
        assert location is not None
        return cls(
            one,
            round((location.longitude + 180) / 360 * _WIDTH, 1),
            round(_MAP_TOP + (NORTH - location.latitude) / (NORTH - SOUTH) * _MAP_HEIGHT, 1),
            round(10 + min(4 * math.log2(1 + one.tally.total), 20), 1),
        )

    @property
    def box(self) -> _Box:
        """What it covers."""
        reach = self.radius + 2
        return _Box(self.x - reach, self.y - reach, 2 * reach, 2 * reach)


def _ring(spot: _Spot) -> Iterator[str]:
    """Draw a ring, of which each state has the part that its nodes are, and their number in it."""
    tally, at = spot.placed.tally, f'cx="{spot.x:g}" cy="{spot.y:g}"'
    name = escape(spot.placed.region.name)
    yield f"<g><title>{name}: {tally.words()}</title>"
    if not tally.total:
        yield f'<circle class="core" {at} r="{spot.radius - 4:g}"/>'
        yield f'<circle class="none" {at} r="{spot.radius - 4:g}" stroke-width="1.5"/></g>'
        return
    yield f'<circle class="core" {at} r="{spot.radius:g}"/>'
    # Each part is a dash as long as its share of the way round.
    radius = spot.radius - 2.5
    around = 2 * math.pi * radius
    done = 0.0
    for state, colour in _COLOURS.items():
        part = tally.counts.get(state, 0) / tally.total * around
        if part:
            yield (
                f'<circle {at} r="{radius:g}" fill="none" stroke="{colour}" stroke-width="5" '
                f'stroke-dasharray="{part:.2f} {around:.2f}" stroke-dashoffset="{-done:.2f}" '
                f'transform="rotate(-90 {spot.x:g} {spot.y:g})"/>'
            )
        done += part
    yield (
        f'<text class="count" x="{spot.x:g}" y="{spot.y + 4.5:g}" text-anchor="middle">'
        f"{tally.total}</text></g>"
    )


def _label(spot: _Spot, taken: list[_Box]) -> Iterator[str]:
    """Write beside a region what it is and how it fares, where it covers nothing."""
    name, more = spot.placed.region.name, _numbers(spot.placed.tally)
    width = max(len(name) * _BOLD, len(more) * _LETTER) + 8
    boxes = list(_places(spot, width, 2 * _LINE + 6))
    free = [
        (anchor, box)
        for anchor, box in boxes
        if box.is_on_the_map and not any(box.meets(other) for other in taken)
    ]
    anchor, box = free[0] if free else boxes[0]
    taken.append(box)
    yield (
        f'<path class="lead" d="M{spot.x:g} {spot.y:g}L{box.left + width / 2:.1f} '
        f'{box.top + box.height / 2:.1f}"/>'
    )
    yield (
        f'<rect class="halo" x="{box.left:.1f}" y="{box.top:.1f}" width="{width:.1f}" '
        f'height="{box.height:g}" rx="4"/>'
    )
    x = {"start": box.left + 4, "middle": box.left + width / 2, "end": box.left + width - 4}[anchor]
    for number, (style, line) in enumerate((("name", name), ("more", more))):
        y = box.top + 4 + (number + 0.75) * _LINE
        yield (
            f'<text class="{style}" x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">'
            f"{escape(line)}</text>"
        )


def _places(spot: _Spot, width: float, height: float) -> Iterator[tuple[str, _Box]]:
    """Yield where a label could be, the best place first, and to which end of it words go."""
    away = spot.radius + _LABEL_GAP
    right, left, centre = spot.x + away, spot.x - away - width, spot.x - width / 2
    middle = spot.y - height / 2
    yield "start", _Box(right, middle, width, height)
    yield "end", _Box(left, middle, width, height)
    yield "middle", _Box(centre, spot.y + away, width, height)
    yield "middle", _Box(centre, spot.y - away - height, width, height)
    # Where regions crowd, further and further off.
    for step in range(1, _STEPS_OFF):
        for aside in (0, step * height):
            for y in (middle + step * height, middle - step * height):
                yield "start", _Box(right + aside, y, width, height)
                yield "end", _Box(left - aside, y, width, height)


def _numbers(tally: Tally) -> str:
    if not tally.total:
        return "no nodes"
    parts = [f"{tally.serving} of {tally.total} serve"]
    if tally.serving:
        parts.append(f"{tally.utilization:.0%} busy")
    return ", ".join(parts)


def _key(elsewhere: Sequence[Placed]) -> Iterator[str]:
    """Explain the colours, and name the regions that nobody has said the place of."""
    y = _MAP_TOP + _MAP_HEIGHT + 32
    x = 24.0
    for state, colour in _COLOURS.items():
        yield f'<circle cx="{x + 5:g}" cy="{y - 4}" r="5" fill="{colour}"/>'
        yield f'<text class="key" x="{x + 16:g}" y="{y}">{state.value}</text>'
        x += 16 + len(state.value) * _BOLD + 16
    if elsewhere:
        told = "; ".join(f"{one.region.name}: {_numbers(one.tally)}" for one in elsewhere)
        text = escape(f"not on the map: {told}")
        yield f'<text class="key" x="{_WIDTH - 24}" y="{y}" text-anchor="end">{text}</text>'
