"""Servers with policies in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.measure import Context
from bench.servers import Server, Variant, running_placet
from bench.workloads import policies, publish, wait_everywhere


@contextmanager
def with_policies(
    context: Context, variant: Variant, sizes: Mapping[str, int], *, sheds: bool = False
) -> Iterator[Server]:
    """Run a server, and publish a set of the size to each tenant.

    Raises:
        CannotStart: it does not come up.
    """
    with (
        TemporaryDirectory(dir=context.folder) as folder,
        running_placet(variant, context.cores, Path(folder), sheds=sheds) as server,
    ):
        tenant, revision = "", 0
        for tenant, size in sizes.items():
            revision = publish(server.address, tenant, list(policies(size)))
        if revision:
            wait_everywhere(server.address, tenant, revision)
        yield server
