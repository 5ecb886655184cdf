"""Choosing between the endpoints of a fleet, call by call.

gRPC's Python library lets nobody plug in a resolver or a balancer, so the SDK keeps a channel for
each endpoint and picks one for each call. The core knows neither gRPC nor the time: ``members``
(what is known of an endpoint), ``ejection``, ``pickers`` (which one next), ``selection`` (regions
in order, and what to do when nobody can serve), ``pace``, ``budget`` (how many calls may be
repeated), ``balancer`` (all of it behind one lock) and ``attempts`` (the way of one call). Around
it stand ``channel`` and ``aio_channel``, which look to stubs like a channel of gRPC's, and
``watching`` with ``sources``, which keep the core informed from an event loop.
"""

from __future__ import annotations
