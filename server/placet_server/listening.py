"""Where a node listens. Apart from what listens, so that a supervisor need not load that."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass


class AddressUnavailable(Exception):
    """The address cannot be listened on."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listening:
    """Where a node listens, and with whom."""

    address: str
    """``host:port``, or ``unix:path``."""
    public: str = ""
    """``host:port`` that callers use, where they cannot use ``address``."""
    is_shared: bool = False
    """Whether other workers listen on the same port."""
    is_behind_envoy: bool = False
    """Whether all calls come from an Envoy that says who its callers are."""
    max_connection_age_s: float = 0.0
    """After how long a connection is asked to be made anew, in seconds. 0: never."""


def reachable(address: str) -> str:
    """Return an address that is listened on if callers can use it; nothing for a wildcard."""
    host = address.rpartition(":")[0].strip("[]")
    try:
        return "" if ipaddress.ip_address(host).is_unspecified else address
    except ValueError:
        return address if host else ""
