"""The regions on a map of the world, out of characters."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from placet import Region
from placet.cli import terminal
from placet.cli.fleet import NO_NODES, STYLES, NodeState, Tally, load_text
from placet.cli.world import NORTH, SOUTH, land_dots

_SEA_AND_LAND = "bright_black"
_NOBODY = ("○", "default")
_MARKS: Mapping[NodeState, str] = {
    # By their shapes as well: not everybody, and not every terminal, has colours.
    NodeState.SERVING: "●",
    NodeState.DRAINING: "◐",
    NodeState.NOT_SERVING: "✖",
    NodeState.LOST: "✖",
}
_LEAST_COLUMNS, _MOST_COLUMNS = 40, 120
# A character of braille is two dots wide and four high, and about twice as high as it is wide.
_DOTS_ACROSS, _DOTS_DOWN = 2, 4
_BRAILLE = 0x2800
_BITS = ((0x01, 0x08), (0x02, 0x10), (0x04, 0x20), (0x40, 0x80))


@dataclass(frozen=True, slots=True)
class Placed:
    """A region and how it fares."""

    region: Region
    tally: Tally


def placed(regions: Sequence[Region], tallies: Mapping[str, Tally]) -> list[Placed]:
    """Return regions with what was counted, and those that only nodes say there are."""
    known = {region.name for region in regions}
    others = (Region(name=name) for name in sorted(tallies.keys() - known))
    return [Placed(region, tallies.get(region.name, NO_NODES)) for region in (*regions, *others)]


def mark(tally: Tally) -> Text:
    """Return the mark that stands for a region."""
    state = tally.state
    sign, style = (_MARKS[state], STYLES[state]) if state is not None else _NOBODY
    return Text(sign, style)


def view(regions: Sequence[Placed], columns: int) -> RenderableType:
    """Return the map, and below it the regions with their numbers.

    Args:
        regions: what is on it.
        columns: how many characters wide it may be.
    """
    return Group(*_lines(regions, min(columns, _MOST_COLUMNS)), Text(), table(regions))


def table(regions: Sequence[Placed]) -> Table:
    """Return the regions with their numbers."""
    grid = terminal.table("", "region", "where", "jurisdiction", "nodes", "load", "calls/s")
    for column in (5, 6):
        grid.columns[column].justify = "right"
    for one in regions:
        region, tally = one.region, one.tally
        grid.add_row(
            mark(tally),
            terminal.safe(region.name),
            terminal.safe(region.title) or "-",
            terminal.safe(region.jurisdiction) or "not known",
            tally.words(),
            load_text(tally.utilization) if tally.serving else "-",
            f"{tally.requests_per_second:,.0f}" if tally.total else "-",
        )
    return grid


# ----------------------------------------------------------------------------------- drawing


class _Canvas:
    """Cells that hold one character each."""

    def __init__(self, columns: int, rows: int) -> None:
        self._columns = columns
        self._rows = rows
        self._cells = [[(" ", "")] * columns for _ in range(rows)]
        self._taken: set[tuple[int, int]] = set()

    def cell(self, longitude: float, latitude: float) -> tuple[int, int]:
        """Return the column and row of a place; the nearest there is for one off the map."""
        column = int((longitude + 180) / 360 * self._columns)
        row = int((NORTH - latitude) / (NORTH - SOUTH) * self._rows)
        return min(max(column, 0), self._columns - 1), min(max(row, 0), self._rows - 1)

    def put(self, column: int, row: int, text: Text) -> None:
        """Write a text from a cell on, over whatever is there."""
        style = str(text.style)
        for offset, character in enumerate(text.plain):
            self._cells[row][column + offset] = (character, style)
            self._taken.add((column + offset, row))

    def has_room(self, column: int, row: int, width: int) -> bool:
        """Whether a text fits in there that covers no other."""
        is_on_it = 0 <= row < self._rows and column >= 0 and column + width <= self._columns
        return is_on_it and self._taken.isdisjoint((column + n, row) for n in range(width))

    def ground(self, column: int, row: int, character: str) -> None:
        """Write what is below everything."""
        self._cells[row][column] = (character, _SEA_AND_LAND)

    def lines(self) -> Iterator[Text]:
        """Return all of it."""
        for row in self._cells:
            line = Text(no_wrap=True, overflow="crop")
            for character, style in row:
                line.append(character, style)
            yield line


def _lines(regions: Sequence[Placed], columns: int) -> list[Text]:
    columns = max(columns, _LEAST_COLUMNS)
    rows = round(columns * (NORTH - SOUTH) / 360 * _DOTS_ACROSS / _DOTS_DOWN)
    canvas = _Canvas(columns, rows)
    dots = land_dots(columns * _DOTS_ACROSS, rows * _DOTS_DOWN)
    for row in range(rows):
        for column in range(columns):
            canvas.ground(column, row, _ground(dots, column, row))
    cells = [
        (one, *canvas.cell(one.region.location.longitude, one.region.location.latitude))
        for one in regions
        if one.region.location is not None
    ]
    for one, column, row in cells:
        canvas.put(column, row, mark(one.tally))
    for one, column, row in cells:
        _label(canvas, one, column, row)
    return list(canvas.lines())


def _ground(dots: frozenset[tuple[int, int]], column: int, row: int) -> str:
    pattern = sum(
        bit
        for down, bits in enumerate(_BITS)
        for across, bit in enumerate(bits)
        if (column * _DOTS_ACROSS + across, row * _DOTS_DOWN + down) in dots
    )
    return chr(_BRAILLE + pattern) if pattern else " "


def _label(canvas: _Canvas, one: Placed, column: int, row: int) -> None:
    """Write a region's name and numbers beside its mark, where there is room."""
    tally = one.tally
    numbers = f" {tally.serving}/{tally.total}" if tally.total else ""
    text = Text(f" {terminal.safe(one.region.name)}{numbers} ", "bold")
    width = len(text.plain)
    for left, top in (
        *((column + 1, row), (column - width, row)),
        *((column + 1, row + 1), (column - width, row + 1)),
        *((column + 1, row - 1), (column - width, row - 1)),
        *((column - width // 2, row + 1), (column - width // 2, row - 1)),
    ):
        if canvas.has_room(left, top, width):
            canvas.put(left, top, text)
            return
