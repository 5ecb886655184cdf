"""Servers with policies in them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
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
    with nodes_with_policies(context, variant, sizes, nodes=1, sheds=sheds) as servers:
        yield servers[0]


@contextmanager
def nodes_with_policies(
    context: Context,
    variant: Variant,
    sizes: Mapping[str, int],
    *,
    nodes: int,
    sheds: bool = False,
) -> Iterator[list[Server]]:
    """Run several servers on one store, and publish a set of the size to each tenant.

    Raises:
        CannotStart: one does not come up.
    """
    with ExitStack() as stack:
        folder = Path(stack.enter_context(TemporaryDirectory(dir=context.folder)))
        servers: list[Server] = []
        for number in range(nodes):
            named = replace(variant, name=f"{variant.name}.{number}") if number else variant
            running = running_placet(named, context.cores, folder, sheds=sheds)
            servers.append(stack.enter_context(running))
        tenant, revision = "", 0
        for tenant, size in sizes.items():
            revision = publish(servers[0].address, tenant, list(policies(size)))
        if revision:
            for server in servers:
                wait_everywhere(server.address, tenant, revision)
        yield servers
