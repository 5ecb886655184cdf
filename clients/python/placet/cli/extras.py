"""Parts of Placet that are extras: what to install when one is missing."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from placet.cli.failures import Failure


@contextmanager
def needs_extra(extra: str, what: str) -> Iterator[None]:
    """Turn an import of the block that fails into advice."""
    try:
        yield
    except ModuleNotFoundError as error:
        raise Failure(f"{what} needs `pip install 'placet[{extra}]'`: {error.msg}") from error
