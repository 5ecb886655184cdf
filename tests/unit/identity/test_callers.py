"""What callers show together, and what is remembered of it."""

from __future__ import annotations

import datetime

import pytest

from placet_server.errors import CallerChanged
from placet_server.identity.access import AccessList, Entry, Patterns
from placet_server.identity.callers import Callers
from placet_server.identity.keys import KeySet, read_keys
from placet_server.identity.permissions import Permission
from placet_server.identity.principals import Kind
from placet_server.identity.refusals import CredentialsRefused, Refusal
from placet_server.identity.refused_calls import RefusedCalls
from placet_server.identity.tokens import TokenReader, TokenRules
from tests.identities import AUDIENCE, ISSUER, Issuer, authority

_START = datetime.datetime(2030, 1, 1, tzinfo=datetime.UTC)


class _World:
    """Callers at a time that is set, with certificates for an hour and tokens for any time."""

    def __init__(self) -> None:
        self.now_s = _START.timestamp()
        self.issuer = Issuer()
        rules = TokenRules(issuer=ISSUER, audience=AUDIENCE, algorithms=("ES256",))
        tokens = TokenReader(KeySet(read_keys(self.issuer.jwks)), rules, lambda: self.now_s)
        self.callers = Callers(
            self.access("*"), tokens, lambda: self.now_s, RefusedCalls(lambda: self.now_s)
        )
        by = authority()
        hour = datetime.timedelta(hours=1)
        self.certificate = by.issue("orders", now=_START, lifetime=hour).certificate
        self.unnamed = by.issue("", ["127.0.0.1"], now=_START, lifetime=hour).certificate

    def access(self, *tenants: str) -> AccessList:
        return AccessList(
            (
                Entry(
                    names=Patterns.of(["*"]),
                    kinds=frozenset({Kind.TOKEN, Kind.CERTIFICATE}),
                    permissions=frozenset({Permission.DECIDE}),
                    tenants=Patterns.of(tenants),
                ),
            )
        )

    def bearer(self, lifetime_s: float) -> str:
        return f"Bearer {self.issuer.token('ann', now_s=self.now_s, lifetime_s=lifetime_s)}"


async def _refusal(world: _World, certificate: bytes | None, token: str | None) -> Refusal:
    with pytest.raises(CredentialsRefused) as refused:
        await world.callers.identify(certificate, token)
    return refused.value.refusal


async def test_both_proofs_have_to_be_good() -> None:
    world = _World()
    for lifetime_s, first in ((60, Refusal.TOKEN_EXPIRED), (7200, Refusal.CERTIFICATE_EXPIRED)):
        world.now_s = _START.timestamp()
        token = world.bearer(lifetime_s)
        caller = await world.callers.identify(world.certificate, token)
        assert caller.name == "ann"
        # Known again, and not worked out anew.
        assert await world.callers.identify(world.certificate, token) is caller
        world.now_s += min(lifetime_s, 3600)
        assert await _refusal(world, world.certificate, token) is first
        with pytest.raises(CallerChanged):
            world.callers.check_still(caller)


async def test_a_certificate_without_a_name_does_beside_a_token() -> None:
    world = _World()
    assert (await world.callers.identify(world.unnamed, world.bearer(60))).name == "ann"
    assert await _refusal(world, world.unnamed, None) is Refusal.CERTIFICATE_UNNAMED


async def test_an_expired_token_is_not_remembered_as_good() -> None:
    world = _World()
    token = world.bearer(60)
    await world.callers.identify(None, token)
    world.now_s += 60
    for _ in range(2):
        assert await _refusal(world, None, token) is Refusal.TOKEN_EXPIRED


async def test_a_token_that_comes_too_early_is_looked_at_again() -> None:
    world = _World()
    early = world.issuer.token("ann", now_s=world.now_s, lifetime_s=600, nbf=world.now_s + 60)
    assert await _refusal(world, None, f"bearer {early}") is Refusal.TOKEN_TOO_EARLY
    world.now_s += 60
    assert (await world.callers.identify(None, f"bearer {early}")).name == "ann"


async def test_only_changes_that_concern_somebody_do() -> None:
    world = _World()
    caller = await world.callers.identify(world.certificate, None)
    world.callers.replace_access(world.access("*"))
    world.callers.check_still(caller)
    world.callers.replace_access(world.access("acme"))
    with pytest.raises(CallerChanged):
        world.callers.check_still(caller)
    assert (await world.callers.identify(world.certificate, None)).decides("acme")
    assert not (await world.callers.identify(world.certificate, None)).decides("other")
