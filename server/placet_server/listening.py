"""Where a node listens. Apart from what listens, so that a supervisor need not load that."""

from __future__ import annotations

from dataclasses import dataclass


class AddressUnavailable(Exception):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a node listens, and with whom."""

    address: str
    """``host:port``, or ``unix:path``."""
    is_shared: bool = False
    """Whether other workers listen on the same port."""
    is_behind_envoy: bool = False
    """Whether all calls come from an Envoy that says who its callers are."""
    max_connection_age_s: float = 0.0
    """After how long a connection is asked to be made anew, in seconds. 0: never."""
