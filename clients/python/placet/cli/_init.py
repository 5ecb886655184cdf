"""``placet init``: a folder to start with."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from placet.cli import terminal
from placet.cli.examples import starter_files
from placet.cli.failures import Failure


def init(
    folder: Annotated[
        Path, typer.Argument(help="Where to; made if it is not there.", metavar="DIR")
    ] = Path(),
) -> None:
    """Make a starter folder: configuration, example policies, test cases.

    Nothing that is there already is overwritten.
    """
    files = dict(starter_files())
    taken = [name for name in files if (folder / name).exists()]
    if taken:
        raise Failure(
            f"`{folder / taken[0]}` is there already; choose an empty folder: placet init NAME"
        )
    for name, text in files.items():
        path = folder / name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        except OSError as error:
            raise Failure(f"`{path}` cannot be written: {error.strerror}") from error
        terminal.line(f"  {path}")
    there = "" if folder == Path() else f"cd {folder} && "
    terminal.line(f"made {len(files)} files; try: {there}placet policy test .")
