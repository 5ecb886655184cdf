"""``placet region map``: the regions on a map of the world."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Annotated

import typer
from rich.live import Live

from placet import Client, Node, Region, TopologyKind
from placet.cli import terminal
from placet.cli.failures import ExitCode, Failure
from placet.cli.fleet import tallies
from placet.cli.live import Watch
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Timeout,
    connected,
)
from placet.cli.world_map import Placed, placed, view
from placet.cli.world_svg import world_svg


def map_(
    svg: Annotated[
        Path | None,
        typer.Option(
            help="Write it as a picture, to this file; - for standard output.",
            metavar="FILE",
            show_default=False,
        ),
    ] = None,
    watch: Watch = False,
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
) -> None:
    """Draw the regions on a map of the world, each with how many of its nodes serve.

    `●` all of them do, `◐` some do, `✖` none does, `○` there are none. For programs there is
    `placet region list --json`.
    """
    if svg is not None and watch:
        raise Failure("`--svg` and `--watch` exclude each other", ExitCode.USAGE)
    with connected(address, timeout_s=timeout_s) as client:
        if watch:
            with contextlib.suppress(KeyboardInterrupt):
                _watch(client)
            return
        regions = _placed(client.regions(), client.nodes())
    if svg is None:
        terminal.out().print(view(regions, terminal.out().width))
    else:
        _write(svg, world_svg(regions))


def _watch(client: Client) -> None:
    kinds = (TopologyKind.REGION, TopologyKind.NODE)
    console = terminal.out()
    with (
        closing(client.watch_topology(kinds=kinds)) as states,
        Live(console=console, auto_refresh=False, vertical_overflow="visible") as live,
    ):
        for state in states:
            regions = _placed(list(state.regions.values()), list(state.nodes.values()))
            live.update(view(regions, console.width), refresh=True)


def _placed(regions: Sequence[Region], nodes: Sequence[Node]) -> list[Placed]:
    return placed(regions, tallies(nodes))


def _write(path: Path, picture: str) -> None:
    if str(path) == "-":
        print(picture)
        return
    try:
        path.write_text(picture, "utf-8")
    except OSError as error:
        raise Failure(f"cannot write `{path}`: {error.strerror}", ExitCode.USAGE) from error
    terminal.note(f"the map is in {path}")
