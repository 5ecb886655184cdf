"""A real Prometheus that scrapes one address, from Debian's package or wherever PATH has one."""

from __future__ import annotations

import asyncio
import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

BINARY, TOOL = shutil.which("prometheus"), shutil.which("promtool")
WHY_NOT = "there is no `prometheus` on PATH; on Debian, apt-get install prometheus"
PATIENCE_S = 60.0
_PAUSE_S = 0.1

_CONFIGURATION = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 1s}}
scrape_configs:
  - job_name: placet
    static_configs: [{{targets: {targets}}}]
rule_files: ["{rules}"]
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """One that runs."""

    address: str

    async def query(self, expression: str) -> list[Any]:
        """Return the samples of an expression.

        Raises:
            AssertionError: Prometheus does not understand it.
        """
        answer = await self.get("query", query=expression)
        result: list[Any] = answer["data"]["result"]
        return result

    async def get(self, path: str, **parameters: str) -> Any:
        """Ask the HTTP interface."""
        url = f"http://{self.address}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"

        def read() -> Any:
            try:
                with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
                    return json.load(answer)
            except urllib.error.HTTPError as error:
                raise AssertionError(f"{parameters}: {error.read().decode()}") from error

        return await asyncio.to_thread(read)


@asynccontextmanager
async def running_prometheus(
    folder: Path, targets: Sequence[str], rules: Path
) -> AsyncIterator[Prometheus]:
    """Run a Prometheus that scrapes ``targets`` for the length of the block."""
    configuration = _CONFIGURATION.format(targets=json.dumps(list(targets)), rules=rules)
    with _process(folder, configuration) as (address, process):
        prometheus = Prometheus(address)
        deadline_s = time.monotonic() + PATIENCE_S
        while not await _has_scraped(prometheus):
            assert process.poll() is None, _said(folder)
            assert time.monotonic() < deadline_s, _said(folder)
            await asyncio.sleep(_PAUSE_S)
        yield prometheus


@contextmanager
def _process(folder: Path, configuration: str) -> Iterator[tuple[str, subprocess.Popen[bytes]]]:
    assert BINARY
    with socket.create_server(("127.0.0.1", 0)) as free:
        address = f"127.0.0.1:{free.getsockname()[1]}"
    (folder / "prometheus.yaml").write_text(configuration)
    command = [
        BINARY,
        f"--config.file={folder / 'prometheus.yaml'}",
        f"--storage.tsdb.path={folder / 'data'}",
        f"--web.listen-address={address}",
    ]
    with (
        (folder / "prometheus.log").open("wb") as log,
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process,
    ):
        try:
            yield address, process
        finally:
            process.terminate()
            process.wait(PATIENCE_S)


async def _has_scraped(prometheus: Prometheus) -> bool:
    try:
        return bool(await prometheus.query("up == 1"))
    except (OSError, AssertionError):
        # It does not listen yet, or has not read its data.
        return False


def _said(folder: Path) -> str:
    return (folder / "prometheus.log").read_text()
