"""Several things at once, of which the first that fails ends the others with its own error."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterable
from typing import Any, TypeVar

T = TypeVar("T")


async def together(coroutines: Iterable[Coroutine[Any, Any, T]]) -> list[T]:
    """Run coroutines until all have ended, or one fails; return what they do."""
    tasks = [asyncio.create_task(coroutine) for coroutine in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        await cancelled(tasks)


async def beside(main: Coroutine[Any, Any, T], *others: Coroutine[Any, Any, Any]) -> T | None:
    """Run a coroutine until it ends, or one of the others does; return what it does.

    None if it was another that ended. If that failed, its error is raised.
    """
    task = asyncio.create_task(main)
    tasks = [task, *(asyncio.create_task(other) for other in others)]
    try:
        ended, _ = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for each in ended:
            await each
        return task.result() if task in ended else None
    finally:
        await cancelled(tasks)


async def cancelled(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancel tasks and wait until they have ended."""
    tasks = list(tasks)
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
