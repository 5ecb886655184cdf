"""Generate the Python code in `clients/python/placet/v1` from `placet/v1/*.proto`.

Messages and services, each with typed stubs. The package path of the protos is that of the Python
package, so nothing is post-processed. Beside it, for the server's reflection, the comments of the
protos, which the Python code lacks. `--check` writes nothing and fails if anything would change.
"""

from __future__ import annotations

import argparse
import re
import subprocess
import sys
import tempfile
import tomllib
from importlib import metadata
from pathlib import Path

from google.protobuf.descriptor_pb2 import FileDescriptorSet

PROTOS = Path(__file__).resolve().parent
PROJECT = PROTOS.parent
PYTHON_ROOT = Path("clients", "python")
PACKAGE = Path("placet", "v1")
COMMENTS = Path("server", "placet_server", "api", "comments.binpb")

# Their versions decide what the output looks like and which runtimes accept it.
GENERATORS = ("grpcio-tools", "mypy-protobuf")

INIT = '''"""The wire types and services, generated from `protos/placet/v1`: do not edit."""
'''


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--check", action="store_true", help="fail if anything would change")
    arguments = parser.parse_args()

    check_generators()
    with tempfile.TemporaryDirectory() as scratch:
        generate(Path(scratch))
        fresh = read_generated(Path(scratch))
    current = read_generated(PROJECT)
    changed = sorted(
        path for path in fresh.keys() | current.keys() if fresh.get(path) != current.get(path)
    )

    if not arguments.check:
        write_generated(fresh, stale=current.keys() - fresh.keys())
        print(f"{len(fresh)} files generated, {len(changed)} of them changed")
        return 0
    for path in changed:
        print(f"{path}: {describe_change(path in current, path in fresh)}", file=sys.stderr)
    if changed:
        print("generated code is out of date: run `make protos`", file=sys.stderr)
        return 1
    return 0


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


def generate(target: Path) -> None:
    sources = sorted(PROTOS.glob(f"{PACKAGE.as_posix()}/*.proto"))
    if not sources:
        sys.exit(f"no .proto files in {PROTOS / PACKAGE}")
    services = [source for source in sources if re.search(r"^service ", source.read_text(), re.M)]
    python, comments = target / PYTHON_ROOT, target / COMMENTS
    for folder in (python, comments.parent):
        folder.mkdir(parents=True)

    run_protoc(sources, f"--python_out={python}", f"--mypy_out=quiet:{python}")
    if services:
        run_protoc(services, f"--grpc_python_out={python}", f"--mypy_grpc_out=quiet:{python}")
    (python / PACKAGE / "__init__.py").write_text(INIT)
    run_protoc(sources, "--include_source_info", f"--descriptor_set_out={comments}")
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


def run_protoc(sources: list[Path], *outputs: str) -> None:
    # Not resolved: a virtual environment's python is a link to one that has no plug-ins beside it.
    plugins = Path(sys.executable).parent
    command = [
        sys.executable,
        "-m",
        "grpc_tools.protoc",
        f"--proto_path={PROTOS}",
        f"--plugin=protoc-gen-mypy={plugins / 'protoc-gen-mypy'}",
        f"--plugin=protoc-gen-mypy_grpc={plugins / 'protoc-gen-mypy_grpc'}",
        *outputs,
        *map(str, sources),
    ]
    protoc = subprocess.run(command, check=False)
    if protoc.returncode != 0:
        sys.exit(protoc.returncode)  # protoc has said what is wrong, with file and line


def read_generated(root: Path) -> dict[Path, bytes]:
    """Return the generated files under `root`, by their path in it."""
    found = [
        path for path in (root / PYTHON_ROOT / PACKAGE).glob("*") if path.suffix in {".py", ".pyi"}
    ]
    found += filter(Path.exists, [root / COMMENTS])
    return {path.relative_to(root): path.read_bytes() for path in found}


def write_generated(files: dict[Path, bytes], *, stale: set[Path]) -> None:
    (PROJECT / PYTHON_ROOT / PACKAGE).mkdir(parents=True, exist_ok=True)
    for path, content in files.items():
        (PROJECT / path).write_bytes(content)
    for path in stale:
        (PROJECT / path).unlink()


def describe_change(exists: bool, is_generated: bool) -> str:
    if not exists:
        return "missing"
    return "differs" if is_generated else "no longer generated"


if __name__ == "__main__":
    sys.exit(main())
