"""Generate the Python code of the protos: what is public, and what the server alone speaks.

`placet/v1` goes to `clients/python`; the messages of xDS, which are beside the server, to
`server`. Messages and services, each with typed stubs. The package path of the protos is that of
the Python package, so nothing is post-processed. For the server's reflection there are, beside
it, the comments of the public ones, which Python code lacks. `--check` writes nothing and fails if
anything would change.
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

from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROJECT = Path(__file__).resolve().parent.parent


@dataclass(frozen=True, slots=True)
class Package:
    """A folder of protos, and where what is made of it goes. Paths are the project's."""

    protos: Path
    """What its imports are relative to."""
    python_root: Path
    path: Path
    """Of the package, under both."""
    comments: Path | None = None
    """A file for what the protos' comments say."""

    @property
    def code(self) -> Path:
        """Folder of the code."""
        return self.python_root / self.path

    @property
    def init(self) -> str:
        """What the package says of itself."""
        source = (self.protos / self.path).as_posix()
        return f'"""The wire types and services, generated from `{source}`: do not edit."""\n'


PACKAGES = (
    Package(
        Path("protos"),
        Path("clients", "python"),
        Path("placet", "v1"),
        comments=Path("server", "placet_server", "api", "comments.binpb"),
    ),
    Package(Path("server", "protos"), Path("server"), Path("placet_server", "xds", "v3")),
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
    """Generate anew, write it if told to, and return what it changes, or would."""
    with tempfile.TemporaryDirectory() as scratch:
        generate(package, Path(scratch))
        fresh = read_generated(package, Path(scratch))
    current = read_generated(package, PROJECT)
    changed = sorted(
        path for path in fresh.keys() | current.keys() if fresh.get(path) != current.get(path)
    )
    if write:
        write_generated(fresh, stale=current.keys() - fresh.keys())
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
    """Generate into a folder that stands for the project's."""
    sources = sorted((PROJECT / package.protos / package.path).glob("*.proto"))
    if not sources:
        sys.exit(f"no .proto files in {package.protos / package.path}")
    services = [source for source in sources if re.search(r"^service ", source.read_text(), re.M)]

    python = target / package.python_root
    python.mkdir(parents=True)
    run_protoc(package, sources, f"--python_out={python}", f"--mypy_out=quiet:{python}")
    if services:
        outputs = (f"--grpc_python_out={python}", f"--mypy_grpc_out=quiet:{python}")
        run_protoc(package, services, *outputs)
    (target / package.code / "__init__.py").write_text(package.init)
    if package.comments is not None:
        comments = target / package.comments
        comments.parent.mkdir(parents=True, exist_ok=True)
        run_protoc(package, sources, "--include_source_info", f"--descriptor_set_out={comments}")
        comments.write_bytes(only_comments(comments.read_bytes()))


def only_comments(descriptors: bytes) -> bytes:
    """Return a set of the same files, of which it has the paths and the comments and no more."""
    kept = FileDescriptorSet()
    for file in FileDescriptorSet.FromString(descriptors).file:
        kept.file.add(name=file.name).source_code_info.location.extend(
            location
            for location in file.source_code_info.location
            if location.leading_comments
            or location.trailing_comments
            or location.leading_detached_comments
        )
    return kept.SerializeToString(deterministic=True)


def run_protoc(package: Package, sources: list[Path], *outputs: str) -> None:
    # Not resolved: a virtual environment's python is a link to one that has no plug-ins beside it.
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROJECT / package.protos}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *map(str, sources),
    ]
    protoc = subprocess.run(command, check=False)
    if protoc.returncode != 0:
        sys.exit(protoc.returncode)  # protoc has said what is wrong, with file and line


def read_generated(package: Package, root: Path) -> dict[Path, bytes]:
    """Return the generated files in a project's folder, by their path in it."""
    found = [path for path in (root / package.code).glob("*") if path.suffix in {".py", ".pyi"}]
    if package.comments is not None and (root / package.comments).exists():
        found.append(root / package.comments)
    return {path.relative_to(root): path.read_bytes() for path in found}


def write_generated(files: dict[Path, bytes], *, stale: set[Path]) -> None:
    for path, content in files.items():
        (PROJECT / path).parent.mkdir(parents=True, exist_ok=True)
        (PROJECT / path).write_bytes(content)
    for path in stale:
        (PROJECT / path).unlink()


def describe_change(exists: bool, is_generated: bool) -> str:
    if not exists:
        return "missing"
    return "differs" if is_generated else "no longer generated"


if __name__ == "__main__":
    sys.exit(main())
