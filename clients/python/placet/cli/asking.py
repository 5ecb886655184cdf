"""Questions that a person answers before something is done that cannot be undone."""

from __future__ import annotations

import sys
from typing import Annotated, TypeAlias

import typer

from placet.cli.failures import ExitCode, Failure

Yes: TypeAlias = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")]


def ask(question: str, *, nobody: str, refused: str) -> None:
    """Go on after a person's yes only.

    Args:
        question: what is asked.
        nobody: what to say where there is no terminal to ask on.
        refused: what to say to a no.
    """
    if not sys.stdin.isatty():
        raise Failure(nobody, ExitCode.USAGE)
    if not typer.confirm(question, err=True):
        raise Failure(refused)
