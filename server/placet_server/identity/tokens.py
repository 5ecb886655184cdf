"""Who a bearer token says its holder is: a JSON Web Token (RFC 7519) with a signature."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import jwt

from placet_server.identity.access import texts_of
from placet_server.identity.keys import KeySet
from placet_server.identity.principals import Kind, Principal
from placet_server.identity.refusals import CredentialsRefused, Refusal

_MAX_CHARS = 16 * 1024
_MAX_NAME_CHARS = 256
_MAX_GROUPS = 1000
_LAST_TIME_S = 1e12


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenRules:
    """What a token has to be like."""

    issuer: str
    audience: str
    algorithms: Sequence[str]
    """Those that need a private key to sign."""
    name_claim: str = "sub"
    groups_claim: str = "groups"
    leeway_s: float = 0.0
    """How far clocks may be apart, in seconds."""


class KeyUnknown(Exception):
    """A token is signed with a key that is not known, and may be new."""


class TokenReader:
    """Reads tokens.

    Args:
        keys: what they may be signed with.
        rules: what they have to be like.
        now_s: the Unix time, in seconds.
    """

    def __init__(self, keys: KeySet, rules: TokenRules, now_s: Callable[[], float]) -> None:
        self.keys = keys
        self._rules = rules
        self._now_s = now_s

    def read(self, token: str) -> Principal:
        """Return whom a token names.

        Raises:
            CredentialsRefused: it proves nothing.
            KeyUnknown: its key is not there.
        """
        claims = self._checked(token)
        expires_s = self._check_times(claims)
        name = claims.get(self._rules.name_claim)
        if not isinstance(name, str) or not 0 < len(name) <= _MAX_NAME_CHARS:
            raise CredentialsRefused(Refusal.TOKEN_UNNAMED)
        groups = texts_of(claims.get(self._rules.groups_claim))
        return Principal(
            kind=Kind.TOKEN,
            name=name,
            groups=frozenset(groups[:_MAX_GROUPS]),
            claims=claims,
            expires_s=expires_s,
        )

    def _checked(self, token: str) -> Mapping[str, Any]:
        """Return the claims of a token whose signature, issuer and audience are good."""
        if len(token) > _MAX_CHARS:
            raise CredentialsRefused(Refusal.TOKEN_MALFORMED)
        try:
            header = jwt.get_unverified_header(token)
        except jwt.PyJWTError as error:
            raise CredentialsRefused(Refusal.TOKEN_MALFORMED, str(error)) from error
        algorithm = header.get("alg")
        if not isinstance(algorithm, str) or algorithm not in self._rules.algorithms:
            raise CredentialsRefused(Refusal.TOKEN_REFUSED, f"algorithm `{algorithm}`")
        key = self.keys.find(header.get("kid"))
        if key is None:
            raise KeyUnknown
        if key.algorithm not in ("", algorithm):
            raise CredentialsRefused(
                Refusal.TOKEN_REFUSED, f"a key for {key.algorithm} and a token with {algorithm}"
            )
        try:
            return jwt.decode(
                token,
                key.key,  # type: ignore[arg-type]  # of a kind that cannot sign: it is refused
                algorithms=[algorithm],
                issuer=self._rules.issuer,
                audience=self._rules.audience,
                options={
                    "require": ["exp", "iss", "aud"],
                    # By the server's own clock, below.
                    "verify_exp": False,
                    "verify_nbf": False,
                    "verify_iat": False,
                    # A name need not be in it.
                    "verify_sub": False,
                },
            )
        except (jwt.PyJWTError, TypeError, ValueError) as error:
            raise CredentialsRefused(Refusal.TOKEN_REFUSED, str(error)) from error

    def _check_times(self, claims: Mapping[str, Any]) -> float:
        """Return when a token stops to be good."""
        now_s, leeway_s = self._now_s(), self._rules.leeway_s
        expires_s, begins_s = claims["exp"], claims.get("nbf", 0)
        if not _is_time(expires_s) or not _is_time(begins_s):
            raise CredentialsRefused(Refusal.TOKEN_MALFORMED, "times that are no numbers")
        if expires_s + leeway_s <= now_s:
            raise CredentialsRefused(Refusal.TOKEN_EXPIRED)
        if begins_s - leeway_s > now_s:
            raise CredentialsRefused(Refusal.TOKEN_TOO_EARLY)
        return float(expires_s + leeway_s)


def _is_time(value: object) -> bool:
    # JSON as Python reads it has infinity, and numbers of any length.
    return isinstance(value, int | float) and abs(value) < _LAST_TIME_S
