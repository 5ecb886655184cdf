"""A node as a process: started by ``placet serve``, killed, hung, started again.

Each has its own configuration and log in the demo's folder, and none of what the user has set.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

from placet.cli.demo_regions.folders import Folder
from placet.cli.demo_regions.networks import Network
from placet.cli.demo_regions.scene import NodeSpec, Scene

_LEASE_S = 0.6
"""Six round trips between Singapore and Tokyo take half a second."""
_HEARTBEAT_S = 0.5
_DRAIN_S = 1.0
_LOG_TAIL = 400


class Member:
    """The process of one node.

    Args:
        spec: the node.
        folder: for its files.
        network: where it is on.
    """

    def __init__(self, spec: NodeSpec, folder: Folder, network: Network) -> None:
        self.spec = spec
        self.address = network.address(spec)
        self.is_hung = False
        self._folder = folder
        self._way_in = network.way_in(spec.region)
        self._process: asyncio.subprocess.Process | None = None

    @property
    def is_running(self) -> bool:
        """Whether there is a process, hung or not."""
        return self._process is not None and self._process.returncode is None

    @property
    def exit_code(self) -> int | None:
        """What its process ended with; None while it runs, and before the first start."""
        return self._process.returncode if self._process is not None else None

    async def start(self) -> None:
        """Start a process; whether it serves is seen by asking it."""
        with self._log.open("ab") as log:
            self._process = await asyncio.create_subprocess_exec(
                *self._way_in.before,
                *(sys.executable, "-m", "placet.cli.demo_regions.bound", str(os.getpid())),
                *("serve", "--config", str(config_file(self._folder.path, self.spec))),
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                # What a killed one cannot remove is in the folder as well.
                env={
                    **own_environment(),
                    **self._way_in.environment,
                    "TMPDIR": str(self._folder.path),
                },
                cwd=self._folder.path,
                # Signals from the terminal are for the demo, which ends this one.
                start_new_session=True,
            )
        self.is_hung = False
        self._folder.note(self._process.pid)

    def kill(self) -> None:
        """Kill it (SIGKILL), as a machine that is gone."""
        self._send(signal.SIGKILL)
        self.is_hung = False

    def hang(self) -> None:
        """Stop it (SIGSTOP): its connections stay, and nothing is answered."""
        self._send(signal.SIGSTOP)
        self.is_hung = True

    def go_on(self) -> None:
        """Let it go on (SIGCONT)."""
        self._send(signal.SIGCONT)
        self.is_hung = False

    async def gone(self) -> None:
        """Wait until it is gone, once it was killed or ended by itself."""
        if self._process is not None:
            await self._process.wait()

    def last_words(self) -> str:
        """Return the end of its log on one line."""
        with suppress(OSError):
            return " ".join(self._log.read_text("utf-8", "replace")[-_LOG_TAIL:].split())
        return ""

    def _send(self, number: signal.Signals) -> None:
        if self._process is not None and self._process.returncode is None:
            with suppress(ProcessLookupError):
                self._process.send_signal(number)

    @property
    def _log(self) -> Path:
        return self._folder.path / f"{self.spec.name}.log"


def own_environment() -> Mapping[str, str]:
    """Return the environment without what would configure a server or a client, or lead astray."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith("PLACET_") and not name.lower().endswith("_proxy")
    }


# -------------------------------------------------------------------------------- its files


def config_file(folder: Path, node: NodeSpec) -> Path:
    """Return where a node's configuration is."""
    return folder / f"{node.name}.toml"


def write_files(folder: Path, scene: Scene, network: Network) -> None:
    """Write what nodes are configured by."""
    for jurisdiction in scene.jurisdictions:
        regions = _regions_file(folder, jurisdiction)
        regions.write_text(_document(_regions(scene, network, jurisdiction)), "utf-8")
    for node in scene.nodes:
        document = _document(_config(folder, scene, network, node))
        config_file(folder, node).write_text(document, "utf-8")


def _regions_file(folder: Path, jurisdiction: str) -> Path:
    return folder / f"regions-{jurisdiction.lower()}.toml"


def _regions(scene: Scene, network: Network, jurisdiction: str) -> Mapping[str, object]:
    """Return the regions as one control plane has them: the others' nodes are named."""
    return {
        site.name: {
            "title": site.title,
            "jurisdiction": site.jurisdiction,
            "latitude": site.location.latitude,
            "longitude": site.location.longitude,
            "endpoints": []
            if site.jurisdiction == jurisdiction
            else [network.address(node) for node in scene.nodes_in(region=site.name)],
        }
        for site in scene.sites
    }


def _config(folder: Path, scene: Scene, network: Network, node: NodeSpec) -> Mapping[str, object]:
    jurisdiction = scene.jurisdiction_of(node)
    kept: Mapping[str, object] = (
        {"store": {"path": str(folder / f"{node.name}.db")}}
        if node.is_control
        else {
            "upstream": {
                "addresses": [network.address(scene.control_of(jurisdiction))],
                "state_path": str(folder / f"{node.name}.state"),
                "state_every_s": 1.0,
            }
        }
    )
    return {
        "server": {
            "listen": network.address(node),
            "node": node.name,
            "region": node.region,
            "drain_s": _DRAIN_S,
            "allow_insecure": network.is_private,
        },
        "topology": {"file": str(_regions_file(folder, jurisdiction)), "lease_s": _LEASE_S},
        "subscribe": {"heartbeat_s": _HEARTBEAT_S},
        "log": {"level": "warning"},
        **kept,
    }


def _document(sections: Mapping[str, object]) -> str:
    """Write sections as TOML, for which JSON's texts, numbers, truths and lists will do."""
    lines: list[str] = []
    for section, values in sections.items():
        lines.append(f"[{section}]")
        assert isinstance(values, Mapping)
        lines.extend(f"{key} = {json.dumps(value)}" for key, value in values.items())
    return "\n".join((*lines, ""))
