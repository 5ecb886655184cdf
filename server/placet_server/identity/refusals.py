"""Why a caller is refused, in words that help it and nobody else."""

from __future__ import annotations

from enum import Enum


class Refusal(Enum):
    """What is wrong with what a caller shows. Names are reasons on the wire."""

    CREDENTIALS_MISSING = (
        "this server has to know who calls; show a client certificate, or send a bearer token in "
        "`authorization`"
    )
    CERTIFICATE_UNNAMED = (
        "the client certificate names nobody; have one made with a SPIFFE id, a DNS name or a "
        "common name"
    )
    CERTIFICATE_EXPIRED = "the client certificate has expired; renew it, and connect anew"
    TOKENS_NOT_TAKEN = "this server takes no tokens; show a client certificate"
    TOKEN_MALFORMED = "what `authorization` has is no bearer token; send `Bearer` and a JWT"  # noqa: S105
    TOKEN_EXPIRED = "the token has expired; get a new one"  # noqa: S105
    TOKEN_TOO_EARLY = "the token is not good yet; check the clocks"  # noqa: S105
    TOKEN_REFUSED = "the token is not good here; get one from this server's issuer, made for it"  # noqa: S105
    TOKEN_UNNAMED = "the token names nobody; it lacks the claim that this server goes by"  # noqa: S105


class CredentialsRefused(Exception):
    """A caller's credentials prove nothing. Why exactly is for the log, not for the caller."""

    def __init__(self, refusal: Refusal, detail: str = "") -> None:
        super().__init__(refusal.value)
        self.refusal = refusal
        self.detail = detail
        """For the log of the server."""
