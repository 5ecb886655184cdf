"""The event loop that works for threads."""

from __future__ import annotations

import asyncio
import logging
import threading

import pytest

from placet._loop_thread import background_loop


async def _thread_name() -> str:
    return threading.current_thread().name


async def _fail() -> None:
    raise KeyError("mine")


def test_there_is_one_for_the_whole_process() -> None:
    assert background_loop() is background_loop()
    assert "placet-loop" == background_loop().run(_thread_name())


def test_what_a_coroutine_raises_comes_through() -> None:
    with pytest.raises(KeyError, match="mine"):
        background_loop().run(_fail())


def test_what_grpc_stumbles_over_is_not_reported_and_the_rest_is(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def report(message: str) -> None:
        asyncio.get_running_loop().call_exception_handler({"message": message})

    with caplog.at_level(logging.ERROR, logger="asyncio"):
        background_loop().run(report("Exception in callback PollerCompletionQueue._handle_events"))
        background_loop().run(report("something else"))

    assert ["something else"] == [record.getMessage() for record in caplog.records]
