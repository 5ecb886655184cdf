"""Where the shell comes in. Needs nothing but the SDK, to be able to say what is missing."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence

_OF_THE_EXTRA = frozenset({"rich", "typer", "yaml"})


def run(arguments: Sequence[str] | None = None) -> int:
    """Run the command line; return its exit code."""
    # Before the first channel. What it has to say is about itself, not about the call.
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    for stream in (sys.stdout, sys.stderr):
        # A terminal that cannot show a character shows a question mark.
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        from placet.cli import app
    except ModuleNotFoundError as error:
        if error.name is None or error.name.partition(".")[0] not in _OF_THE_EXTRA:
            raise
        print("the command line needs `pip install 'placet[cli]'`", file=sys.stderr)
        return 1
    return app.main(arguments)
