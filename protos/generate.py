"""Generate the Python code of the protos: what is public, and what the server alone speaks.

`placet/v1` goes to `clients/python`; the messages of xDS, which are beside the server, to
`server`. Messages and services, each with typed stubs. The package path of the protos is that of
the Python package, so nothing is post-processed. `--check` writes nothing and fails if anything
would change.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Package:
    """A folder of protos, and where its code goes."""

    protos: Path
    """What its imports are relative to."""
    python_root: Path
    path: Path
    """Of the package, under both."""

    @property
    def init(self) -> str:
        """What the package says of itself."""
        source = (self.protos / self.path).relative_to(PROJECT).as_posix()
        return f'"""The wire types and services, generated from `{source}`: do not edit."""\n'


PACKAGES = (
    Package(PROJECT / "protos", PROJECT / "clients" / "python", Path("placet", "v1")),
    Package(PROJECT / "server" / "protos", PROJECT / "server", Path("placet_server", "xds", "v3")),
)

# Their versions decide what the output looks like and which runtimes accept it.
GENERATORS = ("grpcio-tools", "mypy-protobuf")


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if anything would change")
    arguments = parser.parse_args()

    check_generators()
    changed = [path for package in PACKAGES for path in refresh(package, write=not arguments.check)]
    if arguments.check and changed:
        print("generated code is out of date: run `make protos`", file=sys.stderr)
        return 1
    return 0


def refresh(package: Package, *, write: bool) -> list[Path]:
    """Generate a package anew; return the files that were not as they should be."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(package, Path(scratch))
        fresh = read_package(package, Path(scratch))
    current = read_package(package, package.python_root)
    changed = sorted(
        path for path in fresh.keys() | current.keys() if fresh.get(path) != current.get(path)
    )
    if write:
        write_package(package, fresh, stale=current.keys() - fresh.keys())
        print(f"{package.path}: {len(fresh)} files generated, {len(changed)} of them changed")
    else:
        for path in changed:
            print(f"{path}: {describe_change(path in current, path in fresh)}", file=sys.stderr)
    return changed


def check_generators() -> None:
    """Exit unless the generators have exactly the versions that pyproject.toml pins."""
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())
    pins = [entry for entry in project["dependency-groups"]["dev"] if isinstance(entry, str)]
    for name in GENERATORS:
        wanted = next((pin for pin in pins if pin.startswith(f"{name}==")), None)
        if wanted is None:
            sys.exit(f"pyproject.toml does not pin `{name}` to one version")
        found = f"{name}=={metadata.version(name)}"
        if found != wanted:
            sys.exit(f"`{wanted}` is needed, `{found}` is installed: run `make protos`")


def generate(package: Package, target: Path) -> None:
    sources = sorted((package.protos / package.path).glob("*.proto"))
    if not sources:
        sys.exit(f"no .proto files in {package.protos / package.path}")
    services = [source for source in sources if re.search(r"^service ", source.read_text(), re.M)]

    run_protoc(package, sources, f"--python_out={target}", f"--mypy_out=quiet:{target}")
    if services:
        outputs = (f"--grpc_python_out={target}", f"--mypy_grpc_out=quiet:{target}")
        run_protoc(package, services, *outputs)
    (target / package.path / "__init__.py").write_text(package.init)


def run_protoc(package: Package, sources: list[Path], *outputs: str) -> None:
    # Not resolved: a virtual environment's python is a link to one that has no plug-ins beside it.
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={package.protos}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *map(str, sources),
    ]
    protoc = subprocess.run(command, check=False)
    if protoc.returncode != 0:
        sys.exit(protoc.returncode)  # protoc has said what is wrong, with file and line


def read_package(package: Package, root: Path) -> dict[Path, bytes]:
    """Return the generated files under `root`, by their path in it."""
    return {
        path.relative_to(root): path.read_bytes()
        for path in (root / package.path).glob("*")
        if path.suffix in {".py", ".pyi"}
    }


def write_package(package: Package, files: dict[Path, bytes], *, stale: set[Path]) -> None:
    (package.python_root / package.path).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (package.python_root / path).write_bytes(content)
    for path in stale:
        (package.python_root / path).unlink()


def describe_change(exists: bool, is_generated: bool) -> str:
    if not exists:
        return "missing"
    return "differs" if is_generated else "no longer generated"


if __name__ == "__main__":
    sys.exit(main())
