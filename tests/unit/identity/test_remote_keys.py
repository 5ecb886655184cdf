"""Key sets over a real HTTP server: rotated, broken, hanging, gone."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from placet_server.identity import remote_keys
from placet_server.identity.access import AccessList, Entry, Patterns
from placet_server.identity.callers import Callers
from placet_server.identity.keys import KeySet, KeysRefused
from placet_server.identity.permissions import Permission
from placet_server.identity.principals import Kind
from placet_server.identity.refusals import CredentialsRefused
from placet_server.identity.refused_calls import RefusedCalls
from placet_server.identity.remote_keys import RemoteKeys, check_address
from placet_server.identity.tokens import TokenReader, TokenRules
from placet_server.testing import ManualClock
from tests.identities import AUDIENCE, ISSUER, Issuer

_PATIENCE_S = 20.0


class KeyServer:
    """Serves an issuer's keys on this machine, as well or badly as it is told."""

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        self.asked = 0
        self.does = "well"
        self.may_end = threading.Event()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.asked += 1
                outer.answer(self)

            def log_message(self, *args: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self._server.server_port}/keys"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        """Answer one request."""
        data = self.issuer.jwks
        match self.does:
            case "hang":
                self.may_end.wait(_PATIENCE_S)
                return
            case "error":
                handler.send_error(500)
                return
            case "redirect" if not handler.path.endswith("/elsewhere"):
                handler.send_response(302)
                handler.send_header("location", f"{self.address}/elsewhere")
                handler.end_headers()
                return
            case "nonsense":
                data = b"hello"
            case "too much":
                data = b" " * (2 << 20) + data
        handler.send_response(200)
        handler.end_headers()
        try:
            if self.does == "slowly":
                while not self.may_end.wait(0.02):
                    handler.wfile.write(b" ")
            handler.wfile.write(data)
        except OSError:
            return

    def close(self) -> None:
        """Answer no more."""
        self.may_end.set()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def server() -> Iterator[KeyServer]:
    server = KeyServer(Issuer())
    yield server
    server.close()


@asynccontextmanager
async def following(
    server: KeyServer, *, refresh_s: float = 60.0, clock: ManualClock | None = None
) -> AsyncIterator[tuple[RemoteKeys, Callers]]:
    """Keep keys in the background, and know callers by them."""
    keys = KeySet()
    clock = clock or ManualClock()
    remote = RemoteKeys(server.address, keys, refresh_s=refresh_s, monotonic=clock.monotonic)
    rules = TokenRules(issuer=ISSUER, audience=AUDIENCE, algorithms=("ES256",))
    everybody = Entry(
        names=Patterns.of(["*"]),
        kinds=frozenset({Kind.TOKEN}),
        permissions=frozenset({Permission.DECIDE}),
        tenants=Patterns.of(["*"]),
    )
    callers = Callers(
        AccessList((everybody,)),
        TokenReader(keys, rules, time.time),
        time.time,
        RefusedCalls(clock.monotonic),
        remote.look_again,
    )
    task = asyncio.create_task(remote.run())
    try:
        yield remote, callers
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _is_known(callers: Callers, token: str) -> bool:
    try:
        caller = await callers.identify(None, f"Bearer {token}")
    except CredentialsRefused:
        return False
    return caller.name == "ann"


async def _until_known(callers: Callers, token: str) -> None:
    async with asyncio.timeout(_PATIENCE_S):
        while not await _is_known(callers, token):  # noqa: ASYNC110  # nothing tells
            await asyncio.sleep(0.01)


async def test_a_new_key_is_fetched_when_the_first_token_comes(server: KeyServer) -> None:
    clock = ManualClock()
    async with following(server, clock=clock) as (_, callers):
        old = server.issuer.token("ann")
        await _until_known(callers, old)
        clock.advance(60)
        asked = server.asked
        server.issuer.rotate("two")
        new = server.issuer.token("ann")
        assert await _is_known(callers, new)
        assert server.asked == asked + 1
        # A key that is gone from the set is good for nothing, remembered or not.
        clock.advance(60)
        assert not await _is_known(callers, old)


async def test_unknown_keys_do_not_have_them_fetched_each_time(server: KeyServer) -> None:
    clock = ManualClock()
    async with following(server, clock=clock) as (_, callers):
        await _until_known(callers, server.issuer.token("ann"))
        clock.advance(60)
        asked = server.asked
        strangers = [Issuer(f"stranger-{n}").token("eve") for n in range(50)]
        known = await asyncio.gather(*(_is_known(callers, token) for token in strangers))
        assert not any(known)
        assert server.asked == asked + 1


@pytest.mark.parametrize("does", ["error", "nonsense", "redirect", "too much", "gone"])
async def test_keys_that_cannot_be_fetched_stay(
    server: KeyServer, does: str, caplog: pytest.LogCaptureFixture
) -> None:
    async with following(server, refresh_s=0.05) as (_, callers):
        token = server.issuer.token("ann")
        await _until_known(callers, token)
        server.issuer.rotate("two")
        if does == "gone":
            server.close()
        server.does = does
        async with asyncio.timeout(_PATIENCE_S):
            while "cannot be fetched" not in caplog.text:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
        assert await _is_known(callers, token)


@pytest.mark.parametrize("does", ["hang", "slowly"])
async def test_nobody_waits_long_for_a_server_that_does_not_answer(
    server: KeyServer, does: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_keys, "_WAIT_S", 0.1)
    monkeypatch.setattr(remote_keys, "_TIMEOUT_S", 0.2)
    clock = ManualClock()
    async with following(server, refresh_s=0.05, clock=clock) as (_, callers):
        token = server.issuer.token("ann")
        await _until_known(callers, token)
        server.does = does
        clock.advance(60)
        async with asyncio.timeout(_PATIENCE_S):
            # Held up for a moment, and only who comes with a key that nobody knows.
            assert not await _is_known(callers, Issuer("stranger").token("eve"))
            assert await _is_known(callers, token)
            server.does = "well"
            server.may_end.set()
            server.issuer.rotate("two")
            await _until_known(callers, server.issuer.token("ann"))


async def test_not_everybody_waits_for_a_server_that_hangs(
    server: KeyServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote_keys, "_MOST_WAITING", 5)
    clock = ManualClock()
    async with following(server, clock=clock) as (remote, callers):
        await _until_known(callers, server.issuer.token("ann"))
        server.does = "hang"
        clock.advance(60)
        waiting = [asyncio.create_task(remote.look_again()) for _ in range(5)]
        async with asyncio.timeout(_PATIENCE_S):
            while not server.asked > 1:  # noqa: ASYNC110  # nothing tells
                await asyncio.sleep(0.01)
        await remote.look_again()
        assert not any(task.done() for task in waiting)
        server.does = "well"
        server.may_end.set()
        await asyncio.gather(*waiting)


async def test_a_server_may_come_later(server: KeyServer) -> None:
    server.does = "error"
    async with following(server, refresh_s=0.05) as (_, callers):
        assert not await _is_known(callers, server.issuer.token("ann"))
        server.does = "well"
        await _until_known(callers, server.issuer.token("ann"))


@pytest.mark.parametrize(
    ("address", "is_good"),
    [
        ("https://login.example.test/keys", True),
        ("http://127.0.0.1:8080/keys", True),
        ("http://[::1]/keys", True),
        ("http://localhost/keys", True),
        ("http://login.example.test/keys", False),
        ("http://localhost.example.test/keys", False),
        ("ftp://login.example.test/keys", False),
        ("file:///etc/keys", False),
        ("https:///keys", False),
    ],
)
def test_keys_are_not_taken_from_anywhere(address: str, is_good: bool) -> None:
    if is_good:
        check_address(address)
    else:
        with pytest.raises(KeysRefused, match="plain text"):
            check_address(address)
