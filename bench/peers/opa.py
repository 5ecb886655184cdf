"""Open Policy Agent: its server built from source as locked, over its REST API."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from bench.failures import CannotStart, WrongAnswer
from bench.http1 import PostConnection
from bench.measure import Context
from bench.peers.contender import Calls, Contestant
from bench.peers.corpus import Case
from bench.servers import free_address, running

_HERE = Path(__file__).parent / "opa"
BINARY = Path(__file__).parent / ".bin" / "opa"
_MODULE = "github.com/open-policy-agent/opa"
_BUILD_TIMEOUT_S = 900
_CONNECTIONS = 64
"""HTTP/1.1 does one call at a time on each."""

_POLICY = """\
package documents

default allow := false

allow if {
	granted
	not blocked
}

blocked if input.resource.archived

blocked if input.resource.serial == ""

granted if "admin" in input.subject.roles

granted if {
	"editor" in input.subject.roles
	input.action in {"view", "edit"}
	input.resource.department == input.subject.department
}

granted if {
	input.action in {"view", "edit", "delete"}
	input.resource.owner == input.subject.id
}
"""


class Opa:
    """The OPA server."""

    name = "opa"

    @contextmanager
    def running(self, context: Context) -> Iterator[Contestant]:
        """See Contender."""
        binary = _built(context)
        folder = context.folder / "opa"
        folder.mkdir(exist_ok=True)
        policy = folder / "documents.rego"
        policy.write_text(_POLICY, "utf-8")
        address = free_address()
        command = (
            *(str(binary), "run", "--server", "--addr", address, "--log-level", "error"),
            *("--disable-telemetry", str(policy)),
        )
        with running(
            self.name,
            command,
            address=address,
            cores=context.cores.server,
            folder=folder,
            environment={"GOMAXPROCS": str(len(context.cores.server))},
        ) as server:
            yield Contestant(
                self.name,
                address,
                server.pid,
                Calls(
                    lambda every: PostConnection(
                        "/v1/data/documents/allow", address, sample_every=every
                    ),
                    body,
                    allowed,
                    connections=_CONNECTIONS,
                ),
            )


def _built(context: Context) -> Path:
    """Return the server's binary, built from what go.sum locks; kept for the next time."""
    if BINARY.exists() and BINARY.stat().st_mtime > (_HERE / "go.sum").stat().st_mtime:
        return BINARY
    go = shutil.which("go")
    if go is None:
        raise CannotStart("go is not here to build it; install Go")
    context.tell("building OPA from source, some minutes the first time")
    try:
        subprocess.run(
            (
                go,
                "build",
                "-mod=readonly",
                "-trimpath",
                "-buildvcs=false",
                "-o",
                str(BINARY),
                _MODULE,
            ),
            cwd=_HERE,
            check=True,
            capture_output=True,
            timeout=_BUILD_TIMEOUT_S,
            env={**os.environ, "CGO_ENABLED": "0", "GOTOOLCHAIN": "local", "GOFLAGS": ""},
        )
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode("utf-8", "replace").strip().splitlines()
        raise CannotStart(f"go could not build it: {said[-1] if said else error}") from error
    except (subprocess.SubprocessError, OSError) as error:
        raise CannotStart(f"go could not build it: {error}") from error
    return BINARY


def body(cases: Sequence[Case]) -> bytes:
    """Ask about one case."""
    (case,) = cases
    document = {
        "input": {
            "subject": {
                "id": case.subject,
                "roles": case.roles,
                "department": case.department,
            },
            "action": case.action,
            "resource": {
                "id": case.document,
                "owner": case.owner,
                "department": case.document_department,
                "archived": case.archived,
                "serial": case.serial,
            },
        }
    }
    return json.dumps(document, separators=(",", ":")).encode("ascii")


def allowed(body: bytes) -> list[bool]:
    """Return what an answer says, as a list of one.

    Raises:
        WrongAnswer: it says nothing.
    """
    result = json.loads(body).get("result")
    if not isinstance(result, bool):
        raise WrongAnswer(f"opa answered {body[:200]!r}")
    return [result]
