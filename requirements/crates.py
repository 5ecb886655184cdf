"""Keeps the lock of the native path's crates without the address of the registry they come from.

`native.lock` is cargo's lock less that address, which is whichever cargo is set up to use. Cargo
wants it in its `Cargo.lock`, so it is put back from what cargo itself writes.

    python requirements/crates.py restore    # native.lock → Cargo.lock, for `cargo build --locked`
    python requirements/crates.py keep       # Cargo.lock → native.lock, after a change of versions
"""

from __future__ import annotations

import re
import subprocess
import sys
import tempfile
from pathlib import Path

CRATE = Path(__file__).parents[1] / "server" / "placet_native"
_CARGOS, _OURS = CRATE / "Cargo.lock", CRATE / "native.lock"
_SOURCE = re.compile(r'^source = "[^"]*"\n', re.MULTILINE)
_CHECKSUM = re.compile(r"^(?=checksum = )", re.MULTILINE)
_ANY_CRATE = """\
[package]
name = "any"
version = "0.0.0"
edition = "2024"

[dependencies]
cfg-if = "1"

[lib]
path = "lib.rs"
"""


def main(command: str) -> None:
    """Do what the command line says."""
    if command == "keep":
        _OURS.write_text(without_source(_CARGOS.read_text("utf-8")), "utf-8")
    elif command == "restore":
        restored = with_source(_OURS.read_text("utf-8"), _source_line())
        if not _CARGOS.exists() or _CARGOS.read_text("utf-8") != restored:
            _CARGOS.write_text(restored, "utf-8")
    else:
        sys.exit(__doc__)


def without_source(lock: str) -> str:
    """Return cargo's lock without addresses.

    Raises:
        ValueError: it has something that did not come out of a registry, which has no checksum.
    """
    sources, checksums = len(_SOURCE.findall(lock)), len(_CHECKSUM.findall(lock))
    if sources != checksums:
        raise ValueError(f"{sources} packages have a source and {checksums} a checksum")
    return _SOURCE.sub("", lock)


def with_source(lock: str, source_line: str) -> str:
    """Return a lock that cargo takes: packages with a checksum are from the registry."""
    return _CHECKSUM.sub(lambda _: source_line, lock)


def _source_line() -> str:
    """Have cargo lock one crate, and return what it says of its source."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "Cargo.toml").write_text(_ANY_CRATE, "utf-8")
        Path(folder, "lib.rs").touch()
        subprocess.run(["cargo", "generate-lockfile", "--quiet"], cwd=folder, check=True)  # noqa: S607
        found = _SOURCE.search(Path(folder, "Cargo.lock").read_text("utf-8"))
    if found is None:
        raise ValueError("cargo names no source for a crate out of a registry")
    return found.group()


if __name__ == "__main__":
    main(" ".join(sys.argv[1:]))
