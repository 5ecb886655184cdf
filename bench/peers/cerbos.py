"""Cerbos: its server out of npm, over gRPC, set up as its manual advises for production."""

from __future__ import annotations

import platform
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, struct_pb2

from bench.failures import CannotStart, WrongAnswer
from bench.http2 import UnaryConnection, message
from bench.measure import Context
from bench.peers.contender import Calls, Contestant
from bench.peers.corpus import Case
from bench.servers import free_address, running

_CHECK = "/cerbos.svc.v1.CerbosService/CheckResources"
_HERE = Path(__file__).parent / "cerbos"
BINARY = _HERE / "node_modules" / "@cerbos" / "cerbos-linux-x64" / "cerbos-linux-x64"
_INSTALL_TIMEOUT_S = 300
_ALLOW, _DENY = 1, 2
BATCH_LIMIT = 50
"""Resources in one request, as it is configured here."""

_POLICY = """\
apiVersion: api.cerbos.dev/v1
resourcePolicy:
  resource: Document
  version: default
  rules:
    - actions: ["*"]
      effect: EFFECT_DENY
      roles: ["*"]
      condition:
        match:
          any:
            of:
              - expr: R.attr.archived
              - expr: R.attr.serial == ""
    - actions: ["*"]
      effect: EFFECT_ALLOW
      roles: [admin]
    - actions: [view, edit]
      effect: EFFECT_ALLOW
      roles: [editor]
      condition:
        match:
          expr: R.attr.department == P.attr.department
    - actions: [view, edit, delete]
      effect: EFFECT_ALLOW
      roles: ["*"]
      condition:
        match:
          expr: R.attr.owner == P.id
"""

_CONFIGURATION = """\
server:
  httpListenAddr: "{http}"
  grpcListenAddr: "{grpc}"
  requestLimits:
    maxResourcesPerRequest: {limit}
storage:
  driver: disk
  disk:
    directory: "{policies}"
    watchForChanges: false
telemetry:
  disabled: true
audit:
  enabled: false
"""


class Cerbos:
    """The Cerbos server."""

    name = "cerbos"

    @contextmanager
    def running(self, context: Context) -> Iterator[Contestant]:
        """See Contender."""
        binary = _installed()
        folder = context.folder / "cerbos"
        policies = folder / "policies"
        policies.mkdir(parents=True, exist_ok=True)
        (policies / "document.yaml").write_text(_POLICY, "utf-8")
        address = free_address()
        configuration = folder / "cerbos.yaml"
        configuration.write_text(
            _CONFIGURATION.format(
                http=free_address(), grpc=address, policies=policies, limit=BATCH_LIMIT
            ),
            "utf-8",
        )
        command = (str(binary), "server", "--config", str(configuration), "--log-level", "warn")
        with running(
            self.name,
            command,
            address=address,
            cores=context.cores.server,
            folder=folder,
            environment={"GOMAXPROCS": str(len(context.cores.server))},
        ) as server:
            calls = Calls(
                lambda every: UnaryConnection(_CHECK, address, sample_every=every), body, allowed
            )
            yield Contestant(self.name, address, server.pid, calls, calls)


def _installed() -> Path:
    """Return the server's binary, installed as locked."""
    if platform.system() != "Linux" or platform.machine() != "x86_64":
        raise CannotStart(f"not for {platform.system()} on {platform.machine()} in this package")
    npm = shutil.which("npm")
    if not BINARY.exists():
        if npm is None:
            raise CannotStart("npm is not here to install it; install Node.js")
        try:
            subprocess.run(
                (npm, "ci", "--no-audit", "--no-fund"),
                cwd=_HERE,
                check=True,
                capture_output=True,
                timeout=_INSTALL_TIMEOUT_S,
            )
        except (subprocess.SubprocessError, OSError) as error:
            raise CannotStart(f"npm could not install it: {error}") from error
    return BINARY


def body(cases: Sequence[Case]) -> bytes:
    """Ask about cases, all of one subject."""
    request = _messages()["CheckResourcesRequest"]()
    first = cases[0]
    request.principal.id = first.subject
    request.principal.roles.extend(first.roles)
    request.principal.attr["department"].string_value = first.department
    for case in cases:
        entry = request.resources.add()
        entry.actions.append(case.action)
        entry.resource.kind = "Document"
        entry.resource.id = case.document
        attributes = entry.resource.attr
        attributes["owner"].string_value = case.owner
        attributes["department"].string_value = case.document_department
        attributes["archived"].bool_value = case.archived
        attributes["serial"].string_value = case.serial
    return message(request.SerializeToString())


def allowed(body: bytes) -> list[bool]:
    """Return what an answer says of each resource.

    Raises:
        WrongAnswer: an effect is neither allow nor deny.
    """
    response = _messages()["CheckResourcesResponse"]()
    response.ParseFromString(body[5:])
    decisions = []
    for result in response.results:
        effects = list(result.actions.values())
        if len(effects) != 1 or effects[0] not in (_ALLOW, _DENY):
            raise WrongAnswer(f"cerbos answered {effects}")
        decisions.append(effects[0] == _ALLOW)
    return decisions


# As much of Cerbos's messages as is needed: name, number, type, of each field. The numbers are
# what the server's own reflection says.
_TEXT, _MESSAGE, _INT32 = 9, 11, 5
_FIELDS: dict[str, tuple[tuple[str, int, int, bool, str], ...]] = {
    "CheckResourcesRequest": (
        ("principal", 3, _MESSAGE, False, ".bench.cerbos.Principal"),
        ("resources", 4, _MESSAGE, True, ".bench.cerbos.ResourceEntry"),
    ),
    "ResourceEntry": (
        ("actions", 1, _TEXT, True, ""),
        ("resource", 2, _MESSAGE, False, ".bench.cerbos.Resource"),
    ),
    "Principal": (
        ("id", 1, _TEXT, False, ""),
        ("roles", 3, _TEXT, True, ""),
        ("attr", 4, _MESSAGE, True, ".bench.cerbos.Principal.AttrEntry"),
    ),
    "Resource": (
        ("kind", 1, _TEXT, False, ""),
        ("id", 3, _TEXT, False, ""),
        ("attr", 4, _MESSAGE, True, ".bench.cerbos.Resource.AttrEntry"),
    ),
    "CheckResourcesResponse": (("results", 2, _MESSAGE, True, ".bench.cerbos.ResultEntry"),),
    "ResultEntry": (("actions", 2, _MESSAGE, True, ".bench.cerbos.ResultEntry.ActionsEntry"),),
}
_MAPS = {
    "Principal": ("AttrEntry", _MESSAGE, ".google.protobuf.Value"),
    "Resource": ("AttrEntry", _MESSAGE, ".google.protobuf.Value"),
    "ResultEntry": ("ActionsEntry", _INT32, ""),
}


@cache
def _messages() -> dict[str, Any]:
    """Make message classes, under a name of our own: on the wire only numbers count.

    They exist at run time only, so that no type says what fields they have.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name="bench/cerbos.proto",
        package="bench.cerbos",
        syntax="proto3",
        dependency=[struct_pb2.DESCRIPTOR.name],
    )
    for name, fields in _FIELDS.items():
        made = file.message_type.add(name=name)
        for field, number, kind, repeated, type_name in fields:
            _add_field(made, field, number, kind, type_name, repeated=repeated)
        if name in _MAPS:
            entry_name, kind, type_name = _MAPS[name]
            entry = made.nested_type.add(name=entry_name)
            entry.options.map_entry = True
            _add_field(entry, "key", 1, _TEXT, "")
            _add_field(entry, "value", 2, kind, type_name)
    pool = descriptor_pool.Default()
    pool.Add(file)
    return {
        name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"bench.cerbos.{name}"))
        for name in _FIELDS
    }


def _add_field(
    owner: descriptor_pb2.DescriptorProto,
    name: str,
    number: int,
    kind: int,
    type_name: str,
    *,
    repeated: bool = False,
) -> None:
    owner.field.add(
        name=name,
        number=number,
        type=kind,
        label=3 if repeated else 1,
        type_name=type_name or None,
    )
