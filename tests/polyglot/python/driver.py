"""The Python driver: see ../README.md.

Through the SDK for targets of its own; by the generated stub on gRPC's own channel for
`load --stock`.
"""

from __future__ import annotations

import argparse
import asyncio

from tests.polyglot.python import asking, following, loading


def main() -> None:
    parser = argparse.ArgumentParser(prog="driver")
    commands = parser.add_subparsers(dest="command", required=True)
    golden = commands.add_parser("golden")
    load = commands.add_parser("load")
    subscribe = commands.add_parser("subscribe")
    for command in (golden, load, subscribe):
        command.add_argument("--target", required=True)
    load.add_argument("--request", required=True)
    load.add_argument("--concurrency", type=int, default=8)
    load.add_argument("--pause-ms", type=float, default=2.0)
    load.add_argument("--deadline-ms", type=float, default=2000.0)
    load.add_argument("--duration-s", type=float, default=10.0)
    load.add_argument("--stock", action="store_true")
    subscribe.add_argument("--tenant", required=True)
    given = parser.parse_args()

    match given.command:
        case "golden":
            asyncio.run(asking.run(given.target))
        case "load":
            options = loading.Options(
                request=given.request,
                concurrency=given.concurrency,
                pause_s=given.pause_ms / 1000,
                deadline_s=given.deadline_ms / 1000,
                duration_s=given.duration_s,
                is_stock=given.stock,
            )
            asyncio.run(loading.run(given.target, options))
        case _:
            asyncio.run(following.run(given.target, given.tenant))


if __name__ == "__main__":
    main()
