"""Many decisions a call: batches, and one long stream."""

from __future__ import annotations

from bench.http2 import UnaryConnection
from bench.measure import Context, Probe, measure
from bench.scenarios import answers
from bench.scenarios.running import with_policies
from bench.servers import Variant
from bench.streams import StreamCall
from bench.workloads import EVALUATE_BATCH, TENANT, batch_cold, batch_warm, cold, hot

BATCHES = (1, 10, 100, 1_000)
QUICK_BATCHES = (1, 100)
_SIZE = 10
_IN_WORK = 128
_LARGE = 100


def name_of(items: int, *, warm: bool) -> str:
    """Return the scenario's name."""
    return f"batch of {items:,}, {'warm' if warm else 'cold'}"


def run_batches(context: Context, variant: Variant) -> None:
    """Ask in batches of 1 to 1,000, the same ones and new ones."""
    with with_policies(context, variant, {TENANT: _SIZE}) as server:
        for items in QUICK_BATCHES if context.quick else BATCHES:
            for warm in (True, False):
                bodies = (
                    batch_warm(items, _SIZE) if warm else batch_cold(items, _SIZE, context.serials)
                )
                measure(
                    context,
                    Probe(
                        scenario=name_of(items, warm=warm),
                        system=server.name,
                        address=server.address,
                        pid=server.pid,
                        connect=lambda: UnaryConnection(
                            EVALUATE_BATCH, server.address, sample_every=7
                        ),
                        bodies=bodies,
                        check=answers.batch(cached=float(warm)),
                        decisions=items,
                        concurrency=64 if items < _LARGE else 8,
                        levels=(0.7,),
                    ),
                )


def run_stream(context: Context, variant: Variant) -> None:
    """Send requests on one long-lived call."""
    with with_policies(context, variant, {TENANT: _SIZE}) as server:
        for warm in (True, False):
            measure(
                context,
                Probe(
                    scenario=f"stream, {'warm' if warm else 'cold'}",
                    system=server.name,
                    address=server.address,
                    pid=server.pid,
                    connect=lambda: StreamCall(server.address, sample_every=97),
                    bodies=hot(_SIZE) if warm else cold(_SIZE, context.serials),
                    check=answers.stream(cached=float(warm)),
                    connections=1,
                    concurrency=_IN_WORK,
                ),
            )
