"""Where a worker process begins, in a Python of its own or in Envoy's.

``placet serve`` starts these; they are told what to be by the one who starts them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from placet.cli.logs import set_up_logging
from placet.cli.loops import loop_factory
from placet_server.serving import worker
from placet_server.serving.envoy_worker import EnvoyWorker

if TYPE_CHECKING:
    from placet_server.config import Config


def _set_up(config: Config) -> None:
    set_up_logging(level=config.log.level, as_json=config.log.format == "json")


app = EnvoyWorker(_set_up)
"""The worker that Envoy's Python runs."""


def run() -> None:
    """Run a worker in this process, until its supervisor has it end."""
    with asyncio.Runner(loop_factory=loop_factory()) as runner:
        runner.run(worker.main(_set_up))


if __name__ == "__main__":
    run()
