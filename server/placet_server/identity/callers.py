"""From what a caller shows to what it may do."""

from __future__ import annotations

import hashlib
from collections.abc import Awaitable, Callable, Set
from dataclasses import replace

from cachetools import LRUCache

from placet_server.errors import CallerChanged, NotAllowed
from placet_server.identity.access import AccessList, Reach, Rights
from placet_server.identity.certificates import principal_of
from placet_server.identity.permissions import Permission
from placet_server.identity.principals import ANONYMOUS, Kind, Principal
from placet_server.identity.refusals import CredentialsRefused, Refusal
from placet_server.identity.refused_calls import RefusedCalls
from placet_server.identity.tokens import KeyUnknown, TokenReader

# A caller takes some kilobytes, most of it for what its token says.
_REMEMBERED = 4096
_DECIDING = frozenset({Permission.DECIDE})
_BEARER = "bearer "


class Caller:
    """Somebody who calls, and what they may do."""

    __slots__ = ("_decides", "_refused", "list_number", "principal", "rights")

    def __init__(
        self, principal: Principal, rights: Rights, refused: RefusedCalls, list_number: int
    ) -> None:
        self.principal = principal
        self.rights = rights
        self.list_number = list_number
        """Number of the access list its rights are known to agree with."""
        self._refused = refused
        self._decides = rights.reach(_DECIDING)

    @property
    def name(self) -> str:
        """What it is called, in the history too."""
        return self.principal.name

    @property
    def groups(self) -> frozenset[str]:
        """The groups it is in: those it proved, and those the access file puts it in."""
        return self.rights.groups

    def decides(self, tenant: str) -> bool:
        """Whether the caller may ask for decisions of a tenant. Cheap: it is asked each time."""
        return tenant in self._decides

    def check_decides(self, tenant: str) -> None:
        """See that the caller may ask for decisions of a tenant.

        Raises:
            NotAllowed: it may not.
        """
        if tenant not in self._decides:
            raise self.refused(_DECIDING, tenant)

    def reach(self, permissions: frozenset[Permission], region: str | None = None) -> Reach:
        """Return for whom the caller has any one of some permissions; see ``Rights.reach``."""
        return self.rights.reach(permissions, region)

    def authorise(
        self, permissions: frozenset[Permission], owner: str, region: str | None = None
    ) -> None:
        """See that the caller has any one of some permissions for a tenant, or the platform.

        Whether there is such a tenant makes no difference.

        Raises:
            NotAllowed: it has none.
        """
        if owner not in self.rights.reach(permissions, region):
            raise self.refused(permissions, owner)

    def refused(self, permissions: Set[Permission], owner: str | None) -> NotAllowed:
        """Take down that the caller may not do something, and return what to raise."""
        error = NotAllowed(str(self.principal), sorted(permissions), owner)
        self._refused.tell("NOT_ALLOWED", self.principal, str(error))
        return error


class Callers:
    """Knows callers by what they show.

    Args:
        access: who may do what.
        tokens: reads tokens. None: none are taken.
        now_s: the Unix time, in seconds.
        refused: is told of those who are refused.
        look_again: has the keys of tokens fetched out of turn. None: they are as they are.
    """

    def __init__(
        self,
        access: AccessList,
        tokens: TokenReader | None,
        now_s: Callable[[], float],
        refused: RefusedCalls,
        look_again: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._access = access
        self._tokens = tokens
        self._look_again = look_again
        self._now_s = now_s
        self._refused_calls = refused
        self._list_number = 0
        self._forget()

    def replace_access(self, access: AccessList) -> None:
        """Go by another list from now on."""
        self._access = access
        self._list_number += 1
        self._forget()

    def _forget(self) -> None:
        self.anonymous = self._caller(ANONYMOUS)
        self._by_certificate: LRUCache[bytes, Caller] = LRUCache(_REMEMBERED)
        self._forget_tokens()

    def _forget_tokens(self) -> None:
        self._generation = self._tokens.keys.generation if self._tokens else 0
        self._by_token: LRUCache[bytes, Caller] = LRUCache(_REMEMBERED)
        self._by_both: LRUCache[tuple[bytes, str], Caller] = LRUCache(_REMEMBERED)
        # Apart, so that nobody who makes tokens up has others forgotten.
        self._unproved: LRUCache[bytes, tuple[Refusal, str]] = LRUCache(_REMEMBERED)

    def _caller(self, principal: Principal) -> Caller:
        rights = self._access.rights(principal)
        return Caller(principal, rights, self._refused_calls, self._list_number)

    async def identify(self, certificate: bytes | None, authorization: str | None) -> Caller:
        """Return who calls: whom the token names or, without one, the certificate.

        Args:
            certificate: the client certificate in PEM, which TLS has found to be good.
            authorization: what is in the metadata of that name.

        Raises:
            CredentialsRefused: what was shown proves nothing.
        """
        try:
            try:
                return self._known(certificate, authorization)
            except KeyUnknown:
                if self._look_again is not None:
                    await self._look_again()
            try:
                return self._known(certificate, authorization)
            except KeyUnknown:
                raise CredentialsRefused(
                    Refusal.TOKEN_REFUSED, "signed with a key that nobody knows"
                ) from None
        except CredentialsRefused as error:
            self._refused_calls.tell(error.refusal.name, detail=error.detail)
            raise

    def check_still(self, caller: Caller) -> None:
        """See that whoever began a stream is still who it was, and may what it might.

        Raises:
            CallerChanged: it is not, or may not.
        """
        if caller.principal.expires_s <= self._now_s():
            raise CallerChanged("the credentials this stream began with have expired")
        if caller.list_number != self._list_number:
            now = self._caller(caller.principal)
            if now.rights != caller.rights:
                raise CallerChanged("what its caller may do has changed")
            caller.list_number = self._list_number

    def _known(self, certificate: bytes | None, authorization: str | None) -> Caller:
        if certificate is None:
            return self._nobody() if authorization is None else self._tokened(authorization)
        certified = self._certified(certificate)
        if authorization is None:
            return _named(certified)
        return self._with_both(self._tokened(authorization), certified, certificate, authorization)

    def _with_both(
        self, tokened: Caller, certified: Caller, certificate: bytes, authorization: str
    ) -> Caller:
        """Return whom the token names, for as long as both are good."""
        expires_s = certified.principal.expires_s
        if expires_s >= tokened.principal.expires_s:
            return tokened
        key = (certificate, authorization)
        caller = self._by_both.get(key)
        if caller is None:
            principal = replace(tokened.principal, expires_s=expires_s)
            caller = self._by_both[key] = self._caller(principal)
        return caller

    def _nobody(self) -> Caller:
        if not self.anonymous.rights.are_any:
            raise CredentialsRefused(Refusal.CREDENTIALS_MISSING)
        return self.anonymous

    def _certified(self, pem: bytes) -> Caller:
        caller = self._by_certificate.get(pem)
        if caller is None:
            caller = self._by_certificate[pem] = self._caller(principal_of(pem))
        # TLS looked when the connection was made, which may be long ago.
        if caller.principal.expires_s <= self._now_s():
            raise CredentialsRefused(Refusal.CERTIFICATE_EXPIRED, caller.principal.name)
        return caller

    def _tokened(self, authorization: str) -> Caller:
        if self._tokens is None:
            raise CredentialsRefused(Refusal.TOKENS_NOT_TAKEN)
        if self._generation != self._tokens.keys.generation:
            self._forget_tokens()
        digest = hashlib.sha256(authorization.encode()).digest()
        caller = self._by_token.get(digest)
        if caller is None:
            caller = self._by_token[digest] = self._read_token(authorization, digest, self._tokens)
        if caller.principal.expires_s <= self._now_s():
            raise CredentialsRefused(Refusal.TOKEN_EXPIRED, caller.principal.name)
        return caller

    def _read_token(self, authorization: str, digest: bytes, tokens: TokenReader) -> Caller:
        unproved = self._unproved.get(digest)
        if unproved is not None:
            raise CredentialsRefused(*unproved)
        try:
            if authorization[: len(_BEARER)].lower() != _BEARER:
                raise CredentialsRefused(Refusal.TOKEN_MALFORMED)
            return self._caller(tokens.read(authorization[len(_BEARER) :].strip()))
        except CredentialsRefused as error:
            if error.refusal is not Refusal.TOKEN_TOO_EARLY:
                self._unproved[digest] = (error.refusal, error.detail)
            raise


def _named(caller: Caller) -> Caller:
    if caller.principal.kind is Kind.CERTIFICATE and not caller.principal.name:
        raise CredentialsRefused(Refusal.CERTIFICATE_UNNAMED)
    return caller
