"""A node in a process of its own that can be asked what it holds of a tenant.

    python -m tests.wire.held REGION STORE [UPSTREAM]

prints where it serves, and then, for each line `look WORD` on its standard input, in how many
objects of the process the word occurs. The word comes backwards, so that asking does not put it
there. With an upstream it follows that, and STORE is its state file.
"""

from __future__ import annotations

import asyncio
import gc
import sys
from pathlib import Path
from types import FrameType
from typing import Any

from placet_engine.items import Revision
from placet_server.testing import running_edge, running_server

_ATOMS = (str, bytes, bytearray)


def occurrences(word: str) -> list[str]:
    """Return the texts and bytes in this process that contain a word, shortened."""
    gc.collect()
    data = word.encode()
    own = {id(word), id(data)}
    seen: set[int] = set()
    found: list[str] = []
    # What the collector does not track is reached from what it does.
    waiting: list[Any] = gc.get_objects()
    while waiting:
        one = waiting.pop()
        if id(one) in seen or id(one) in own or one is waiting or isinstance(one, FrameType):
            continue
        seen.add(id(one))
        if isinstance(one, str):
            found += [one[:200]] if word in one else []
        elif isinstance(one, bytes | bytearray):
            found += [repr(bytes(one[:200]))] if data in one else []
        elif one is not seen and one is not found:
            waiting.extend(gc.get_referents(one))
    return found


async def _main(region: str, store: str, upstream: str = "") -> None:
    running = (
        running_edge(upstream, state_path=Path(store), region=region)
        if upstream
        else running_server(path=Path(store), region=region)
    )
    async with running as node:
        _say(node.address)
        while line := await asyncio.to_thread(sys.stdin.readline):
            command, _, word = line.strip().partition(" ")
            if command == "look":
                _look(word[::-1])
            elif command == "reach":
                await node.active.wait_for(Revision(int(word)), 10)
                _say("there")


def _look(word: str) -> None:
    found = occurrences(word)
    _say(f"{len(found)} {found[:5]}")


def _say(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    asyncio.run(_main(*sys.argv[1:]))
