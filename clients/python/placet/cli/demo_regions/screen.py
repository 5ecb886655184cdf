"""The demo on a terminal: the picture drawn over and over, and keys."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.live import Live

from placet.cli import terminal
from placet.cli.demo_regions import picture
from placet.cli.demo_regions.acting import Acting
from placet.cli.demo_regions.demo import Demo
from placet.cli.demo_regions.keys import Keyboard
from placet.cli.demo_regions.sights import seen
from placet.cli.demo_regions.tasks import beside, cancelled

_DRAW_EVERY_S = 0.25
_MOST_ACTIONS = 8


def can_show() -> bool:
    """Whether there is a terminal that can be drawn on, and keys can come from."""
    console = terminal.out()
    return console.is_terminal and not console.is_dumb_terminal and sys.stdin.isatty()


class Screen:
    """Shows a demo, and does what keys say.

    Args:
        demo: what is shown.
        quit_: set when somebody wants it to end.
    """

    def __init__(self, demo: Demo, quit_: asyncio.Event) -> None:
        self._demo = demo
        self._quit = quit_
        self._actions: set[asyncio.Task[object]] = set()
        self._acting = Acting(demo, self._start, quit_.set)
        self._keyboard = Keyboard(sys.stdin.fileno())
        self._console = terminal.out()
        self._live = Live(console=self._console, auto_refresh=False, screen=True)
        self._failure: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self) -> None:
        """Show it until cancelled.

        Raises:
            whatever an action does that nobody foresaw.
        """
        with self._on_terminal():
            try:
                await beside(self._draw_on_and_on(), self._failed())
            finally:
                await cancelled(self._actions)

    async def _draw_on_and_on(self) -> None:
        while True:
            self._draw()
            await asyncio.sleep(_DRAW_EVERY_S)

    async def _failed(self) -> None:
        await self._failure

    def _draw(self) -> None:
        if not self._keyboard.is_taken:
            # Somebody else has the terminal.
            return
        width, height = self._console.size
        if self._acting.shows_help:
            view = picture.help_page(width=width, height=height)
        else:
            choice = self._acting.choice
            view = picture.draw(seen(self._demo), choice, width=width, height=height)
        self._live.update(view, refresh=True)

    # ------------------------------------------------------------------------------- actions

    def _start(self, action: Coroutine[Any, Any, object]) -> None:
        if len(self._actions) >= _MOST_ACTIONS:
            action.close()
            self._demo.news.add("too much at once: wait until something is done")
            return
        task = asyncio.create_task(action)
        self._actions.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[object]) -> None:
        self._actions.discard(task)
        if not task.cancelled() and (error := task.exception()) and not self._failure.done():
            self._failure.set_exception(error)

    def _pressed(self) -> None:
        keys = self._keyboard.read()
        if keys is None:
            # The terminal is gone.
            self._quit.set()
            return
        for key in keys:
            self._acting.press(key)
        self._draw()

    # ------------------------------------------------------------------------------ terminal

    @contextmanager
    def _on_terminal(self) -> Iterator[None]:
        """Have the terminal for the block, but for when it is suspended."""
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        loop.add_signal_handler(signal.SIGCONT, self._take)
        loop.add_signal_handler(signal.SIGWINCH, self._draw)
        self._take()
        try:
            yield
        finally:
            self._give_back()
            for number in (signal.SIGTSTP, signal.SIGCONT, signal.SIGWINCH):
                loop.remove_signal_handler(number)

    def _take(self) -> None:
        if self._keyboard.is_taken or not self._keyboard.is_ours:
            return
        self._keyboard.take()
        self._live.start()
        asyncio.get_running_loop().add_reader(self._keyboard.file, self._pressed)

    def _give_back(self) -> None:
        if not self._keyboard.is_taken:
            return
        asyncio.get_running_loop().remove_reader(self._keyboard.file)
        # The terminal may be gone, with whoever sat there.
        with suppress(OSError):
            self._live.stop()
        self._keyboard.give_back()

    def _suspend(self) -> None:
        """Stop, as Ctrl-Z asks for; the regions go on meanwhile."""
        self._give_back()
        loop = asyncio.get_running_loop()
        loop.remove_signal_handler(signal.SIGTSTP)
        os.kill(os.getpid(), signal.SIGTSTP)
        # Here it goes on, in the foreground or not: then SIGCONT comes once more.
        loop.add_signal_handler(signal.SIGTSTP, self._suspend)
        self._take()
