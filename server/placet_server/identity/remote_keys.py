"""Key sets behind an address: fetched in the background, with a deadline for everything."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable
from http.client import HTTPException
from typing import Any
from urllib.parse import urlsplit

from placet_server.identity.keys import Keys, KeySet, KeysRefused, read_keys

log = logging.getLogger(__name__)

_TIMEOUT_S = 5.0
_MAX_BYTES = 1024 * 1024
_PART_BYTES = 64 * 1024
# What fails is tried again sooner than what went well.
_RETRY_FIRST_S = 1.0
# However many tokens come with keys that nobody knows, this is how often they have it looked up.
_AT_MOST_EVERY_S = 10.0
# How long a call waits for the keys it may be signed with.
_WAIT_S = 3.0
# And so many may do so at the same time.
_MOST_WAITING = 100


class RemoteKeys:
    """Keeps a key set as it is at an address.

    The keys there are stay when they cannot be fetched: who has issued them being away says
    nothing against them.

    Args:
        address: where they are; see :func:`check_address`.
        keys: what is kept.
        refresh_s: how often they are fetched, in seconds.
        monotonic: a clock that does not jump, in seconds.
    """

    def __init__(
        self,
        address: str,
        keys: KeySet,
        *,
        refresh_s: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._address = address
        self._keys = keys
        self._refresh_s = refresh_s
        self._monotonic = monotonic
        self._asked_at_s = float("-inf")
        self._fetching: asyncio.Future[bool] | None = None
        self._waiting = 0

    async def run(self) -> None:
        """Fetch them again and again, until cancelled."""
        retry_s = _RETRY_FIRST_S
        try:
            while True:
                if await self._fetch():
                    retry_s = _RETRY_FIRST_S
                    await asyncio.sleep(self._refresh_s)
                else:
                    await asyncio.sleep(min(retry_s, self._refresh_s))
                    retry_s = min(2 * retry_s, self._refresh_s)
        finally:
            if self._fetching is not None:
                self._fetching.cancel()

    async def look_again(self) -> None:
        """Have them fetched out of turn, since a key is missing; return when they are there.

        However often this is asked, it is done once in some seconds; nobody waits for long, and
        not many do at all.
        """
        if self._waiting >= _MOST_WAITING:
            return
        if self._fetching is None:
            now_s = self._monotonic()
            if now_s - self._asked_at_s < _AT_MOST_EVERY_S:
                return
            self._asked_at_s = now_s
        self._waiting += 1
        try:
            async with asyncio.timeout(_WAIT_S):
                await self._fetch()
        except TimeoutError:
            return
        finally:
            self._waiting -= 1

    async def _fetch(self) -> bool:
        """Fetch them, together with whoever else is about to; return whether that went well."""
        if self._fetching is None:
            self._fetching = asyncio.ensure_future(self._fetched())
            self._fetching.add_done_callback(self._done)
        return await asyncio.shield(self._fetching)

    def _done(self, fetching: asyncio.Future[bool]) -> None:
        self._fetching = None

    async def _fetched(self) -> bool:
        try:
            async with asyncio.timeout(2 * _TIMEOUT_S):
                data = await _in_thread(lambda: _get(self._address))
            keys = read_keys(data)
        except (OSError, ValueError, HTTPException) as error:
            reason = str(error) or f"no answer within {_TIMEOUT_S:g} s"
            log.warning(
                "the keys of tokens cannot be fetched; those there are stay",
                extra={"address": self._address, "reason": reason},
            )
            return False
        self._take_over(keys)
        return True

    def _take_over(self, keys: Keys) -> None:
        if self._keys.replace(keys):
            log.info("the keys of tokens were taken over", extra={"keys": len(keys)})


def check_address(address: str) -> None:
    """Refuse an address from which anybody in between could hand out keys.

    Raises:
        KeysRefused: it is neither https nor this machine.
    """
    parts = urlsplit(address)
    if parts.scheme == "https" and parts.hostname:
        return
    if parts.scheme == "http" and _is_this_machine(parts.hostname or ""):
        return
    raise KeysRefused(f"`{address}` is no https:// address; keys are not taken over plain text")


def _is_this_machine(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        # It would lead to where nobody agreed to take keys from.
        return None


def _get(address: str) -> bytes:
    """Return what is there. For a thread: it waits."""
    ends_s = time.monotonic() + _TIMEOUT_S
    request = urllib.request.Request(address, headers={"accept": "application/json"})  # noqa: S310  # checked at the start
    opener = urllib.request.build_opener(_NoRedirects)
    data = bytearray()
    try:
        opened = opener.open(request, timeout=_TIMEOUT_S)
    except urllib.error.HTTPError as error:
        # It is an answer too, with a connection.
        error.close()
        raise OSError(f"the answer is HTTP {error.code}") from None
    with opened as response:
        # What is left of the time is for each part, so that who sends slowly is not waited for.
        while part := response.read1(_PART_BYTES):
            data += part
            if len(data) > _MAX_BYTES:
                raise KeysRefused(f"it is larger than {_MAX_BYTES} bytes")
            if time.monotonic() > ends_s:
                raise TimeoutError(f"not all of it came within {_TIMEOUT_S:g} s")
    return bytes(data)


async def _in_thread(work: Callable[[], bytes]) -> bytes:
    """Run something in a thread that nobody has to wait for, at the end of the process either."""
    loop = asyncio.get_running_loop()
    done: asyncio.Future[bytes] = loop.create_future()

    def tell(result: bytes | None, error: Exception | None) -> None:
        if done.cancelled():
            return
        if error is not None:
            done.set_exception(error)
        else:
            done.set_result(result or b"")

    def run() -> None:
        result: bytes | None = None
        failed: Exception | None = None
        try:
            result = work()
        except Exception as error:  # noqa: BLE001  # handed over
            failed = error
        try:
            loop.call_soon_threadsafe(tell, result, failed)
        except RuntimeError:
            # The loop is closed; nobody waits.
            return

    threading.Thread(target=run, name="jwks", daemon=True).start()
    return await done
