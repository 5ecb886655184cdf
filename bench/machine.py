"""The machine a run was made on, and which core does what."""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from placet_engine import native

_PACKAGES = ("grpcio", "protobuf", "cedarpy", "placet-native", "uvloop", "casbin", "hdrhistogram")
_KB = 1024


@dataclass(frozen=True, slots=True)
class Cores:
    """Where the measured and the measuring run."""

    server: frozenset[int]
    load: frozenset[int]

    @property
    def apart(self) -> bool:
        """Whether each has a core of its own."""
        return not self.server & self.load

    @property
    def all(self) -> frozenset[int]:
        """Every core that is used."""
        return self.server | self.load


def choose_cores() -> Cores:
    """Give the first core to servers and the second to the load generator, where there are two."""
    there = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else [0]
    if len(there) < 2:
        return Cores(frozenset(there), frozenset(there))
    return Cores(frozenset(there[:1]), frozenset(there[1:2]))


@contextmanager
def pinned(cores: frozenset[int]) -> Iterator[None]:
    """Bind this thread, and processes it starts meanwhile, to some cores."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def describe(cores: Cores) -> dict[str, object]:
    """Return what has to be known of this machine to judge a figure."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": round(_total_memory_bytes() / _KB**3, 1),
        "kernel": f"{platform.system()} {platform.release()}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "load_average_before": _load_average(),
        "server_cores": sorted(cores.server),
        "load_generator_cores": sorted(cores.load),
        "pinned": cores.apart,
        "path": native.path(),
        "packages": {name: _version(name) for name in _PACKAGES},
    }


def cpu_seconds(pid: int) -> float:
    """Return the processor time of a process and its children so far; 0 where it is not told."""
    try:
        # The name in parentheses may contain anything; what follows is numbers.
        fields = Path(f"/proc/{pid}/stat").read_text("utf-8").rpartition(")")[2].split()
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return 0.0
    own = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return own + sum(cpu_seconds(int(child)) for child in children)


def memory_bytes(pid: int) -> int:
    """Return the resident memory of a process and its children; 0 where it cannot be read."""
    try:
        status = Path(f"/proc/{pid}/status").read_text("utf-8")
        own = next(
            (
                int(line.split()[1]) * _KB
                for line in status.splitlines()
                if line.startswith("VmRSS:")
            ),
            0,
        )
        children = Path(f"/proc/{pid}/task/{pid}/children").read_text("ascii").split()
    except OSError:
        return 0
    return own + sum(memory_bytes(int(child)) for child in children)


def _load_average() -> list[float]:
    return [round(value, 2) for value in os.getloadavg()]


def _cpu_model() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _total_memory_bytes() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
