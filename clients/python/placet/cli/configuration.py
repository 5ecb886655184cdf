"""The server's configuration as the commands see it: which file, and what each key means."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure

if TYPE_CHECKING:
    from placet_server.config import Config, Origin

ConfigFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--config",
        envvar="PLACET_CONFIG",
        help="Configuration file. Without, ./placet.toml if it is there.",
        metavar="FILE",
        show_default=False,
    ),
]

_DEFAULT_FILE = Path("placet.toml")


def read(
    file: Path | None, flags: Mapping[str, object] | None = None
) -> tuple[Config, list[Origin]]:
    """Read the configuration from file, environment and flags.

    Raises:
        Failure: it cannot be used; the message says what to change.
    """
    with needs_extra("server", "a server"):
        from placet_server.config import ConfigError, read_config
    if file is None and _DEFAULT_FILE.is_file():
        file = _DEFAULT_FILE
    try:
        return read_config(file=file, flags=flags)
    except ConfigError as error:
        raise Failure(str(error), ExitCode.USAGE) from error


def documentation() -> dict[str, str]:
    """Return what each key is for, from the texts below the fields."""
    from placet_server import config

    try:
        module = ast.parse(inspect.getsource(config))
    except OSError:
        # Installed without its source.
        return {}
    texts = {node.name: _texts(node) for node in module.body if isinstance(node, ast.ClassDef)}
    return {
        f"{section}.{key}": text
        for section, type_name in _sections(module).items()
        for key, text in texts.get(type_name, {}).items()
    }


def _sections(module: ast.Module) -> dict[str, str]:
    """Map each section to its class, as `Config` declares them."""
    declared = next(
        node for node in module.body if isinstance(node, ast.ClassDef) and node.name == "Config"
    )
    return {
        field.target.id: field.annotation.id
        for field in declared.body
        if isinstance(field, ast.AnnAssign)
        and isinstance(field.target, ast.Name)
        and isinstance(field.annotation, ast.Name)
    }


def _texts(section: ast.ClassDef) -> dict[str, str]:
    found = {}
    for field, below in zip(section.body, section.body[1:], strict=False):
        match field, below:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(text))),
            ):
                found[name] = " ".join(text.split())
    return found
