"""Deciding in this process, by policies that follow the server's.

    from placet.local import LocalEvaluator

    with LocalEvaluator("localhost:7717", tenant="acme") as evaluator:
        evaluator.wait_ready()
        decision = evaluator.evaluate(("User", "alice"), "read", ("Invoice", "42"))

The same engine decides as on the server, over the same policies, and refuses
the same requests; a decision says its revision and how old its knowledge is.
``placet.local.aio.LocalEvaluator`` is the same for asyncio. Needs
``pip install 'placet[local]'``.
"""

from __future__ import annotations

try:
    import cachetools  # noqa: F401
    import cedarpy  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"deciding locally needs `{missing.name}`; pip install 'placet[local]'", name=missing.name
    ) from missing

from placet.local import aio
from placet.local._evaluator import LocalEvaluator
from placet.local._options import WhenStale

__all__ = ["LocalEvaluator", "WhenStale", "aio"]
