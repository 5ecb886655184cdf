"""``placet serve``: run a server until it is told to stop."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placet.cli import configuration, running, terminal
from placet.cli.configuration import ConfigFile
from placet.cli.logs import set_up_logging
from placet.cli.options import DEFAULT_ADDRESS

if TYPE_CHECKING:
    from placet.cli.running import Serving
    from placet_server.config import Config


def serve(
    config_file: ConfigFile = None,
    listen: Annotated[
        str | None,
        typer.Option(help="Address to serve on; port 0 takes any free one.", metavar="HOST:PORT"),
    ] = None,
    store: Annotated[
        str | None,
        typer.Option(help="sqlite, postgres or memory.", metavar="KIND", show_default=False),
    ] = None,
    store_path: Annotated[
        Path | None, typer.Option(help="File of the sqlite store.", metavar="FILE")
    ] = None,
    store_url: Annotated[
        str | None, typer.Option(help="Database of the postgres store.", metavar="URL")
    ] = None,
    upstream: Annotated[
        str | None,
        typer.Option(
            help="Follow these nodes, without a store of one's own; the preferred ones first.",
            metavar="HOST:PORT,...",
            show_default=False,
        ),
    ] = None,
    state: Annotated[
        # No Path: an empty one is the folder it is asked in.
        str | None,
        typer.Option(
            help="File a node with --upstream keeps what it follows in, and starts from; '' for "
            "none.",
            metavar="FILE",
        ),
    ] = None,
    start_over: Annotated[
        bool | None,
        typer.Option(
            "--start-over",
            help="Leave that file out, and take whatever store the upstream has.",
            show_default=False,
        ),
    ] = None,
    node: Annotated[
        str | None, typer.Option(help="Name of this node in decisions.", metavar="NAME")
    ] = None,
    region: Annotated[
        str | None, typer.Option(help="Region of this node in decisions.", metavar="NAME")
    ] = None,
    allow_insecure: Annotated[
        bool | None,
        typer.Option(
            "--allow-insecure",
            help="Listen without TLS on addresses others can reach.",
            show_default=False,
        ),
    ] = None,
    front: Annotated[
        str | None,
        typer.Option(
            help="What callers reach first: grpc, or envoy, which is faster.",
            metavar="KIND",
            show_default=False,
        ),
    ] = None,
    workers: Annotated[
        int | None, typer.Option(help="Processes that serve on the address.", metavar="N")
    ] = None,
    drain_s: Annotated[
        float | None,
        typer.Option(help="How long calls under way may take at the end.", metavar="S"),
    ] = None,
    log_level: Annotated[
        str | None, typer.Option(help="debug, info, warning or error.", metavar="LEVEL")
    ] = None,
    log_format: Annotated[str | None, typer.Option(help="text or json.", metavar="FORMAT")] = None,
) -> None:
    """Run a server until Ctrl-C or SIGTERM, which let calls under way finish.

    A flag wins over a PLACET_<SECTION>_<KEY> variable, and that over the configuration file. What
    comes from where: placet config --explain.

    With --upstream it has no store: it follows other nodes, serves what they have, and goes on from
    a file of its own when they are gone. Several are tried in order.
    """
    config, _ = configuration.read(
        config_file,
        {
            "server.listen": listen,
            "server.node": node,
            "server.region": region,
            "server.allow_insecure": allow_insecure,
            "server.front": front,
            "server.workers": workers,
            "server.drain_s": drain_s,
            "store.kind": store,
            "store.path": str(store_path) if store_path is not None else None,
            "store.url": store_url,
            "upstream.addresses": upstream,
            "upstream.state_path": state,
            "upstream.start_over": start_over,
            "log.level": log_level,
            "log.format": log_format,
        },
    )
    as_json = config.log.format == "json"
    set_up_logging(level=config.log.level, as_json=as_json)

    async def when_ready(serving: Serving) -> None:
        if not as_json:
            terminal.line(_greeting(serving, config))

    running.run(lambda stop: running.serve(config, stop, when_ready))


def _greeting(serving: Serving, config: Config) -> str:
    from placet_server.stores import place_of

    address = "" if serving.address == DEFAULT_ADDRESS else f" --address {serving.address}"
    if config.tls.cert:
        address += " --tls-ca FILE"
    if config.upstream.addresses:
        return _greeting_of_edge(serving, config, address)
    next_step = (
        f"ask it: placet evaluate{address} --help"
        if serving.revision
        else f"publish policies: placet policy push{address} --tenant NAME FOLDER"
    )
    return (
        f"placet serves on {serving.address}, store {place_of(config.store)} at revision "
        f"{serving.revision}; {next_step}"
    )


def _greeting_of_edge(serving: Serving, config: Config, address: str) -> str:
    upstream = config.upstream
    held = (
        f"with revision {serving.revision} from {upstream.state_path}"
        if serving.revision
        else "with nothing to serve until one of them answers"
    )
    return (
        f"placet serves on {serving.address}, following {', '.join(upstream.addresses)}, {held}; "
        f"see whom it knows: placet node list{address}"
    )
