"""``placet config``: what a server would be configured with, and why."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from placet.cli import configuration, terminal
from placet.cli.configuration import ConfigFile
from placet.cli.options import Json


def config(
    config_file: ConfigFile = None,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say where each value is from and what it does.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Show the configuration that `placet serve` would run with here."""
    _, origins = configuration.read(config_file)
    texts = configuration.documentation()
    if as_json:
        terminal.print_json(
            {
                origin.key: {
                    "value": origin.value,
                    "source": origin.source,
                    "documentation": texts.get(origin.key, ""),
                }
                for origin in origins
            }
        )
        return
    if not explain:
        # TOML, so that it can be a file.
        section = ""
        for origin in origins:
            name, _, key = origin.key.partition(".")
            if name != section:
                terminal.line(f"{chr(10) if section else ''}[{name}]")
                section = name
            terminal.line(f"{key} = {json.dumps(origin.value)}")
        return
    table = terminal.table("key", "value", "from", "what it is")
    for origin in origins:
        row = (origin.key, json.dumps(origin.value), origin.source, texts.get(origin.key, ""))
        style = "" if origin.source == "default" else "bold"
        table.add_row(*map(terminal.safe, row), style=style)
    terminal.out().print(table)
