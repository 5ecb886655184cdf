"""``placet quickstart``: a server with example policies, a few answers, what to try next."""

from __future__ import annotations

import json
import shlex
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from placet import Action, Decision, DecisionError, Request, Resource, Subject
from placet.aio import Client
from placet.cli import decisions, running, terminal
from placet.cli.examples import starter_documents
from placet.cli.extras import needs_extra
from placet.cli.failures import Failure
from placet.cli.logs import set_up_logging
from placet.cli.requests import parts
from placet.cli.running import AddressTaken, Stop

if TYPE_CHECKING:
    from placet.cli.running import Serving
    from placet_server.config import Config

TENANT = "demo"
_FOLDER = Path(".placet")
_STORE = _FOLDER / "quickstart.db"
_FIRST_PORT = 7717
_PORTS_TRIED = 20


def quickstart(
    keep_data: Annotated[
        bool, typer.Option("--keep-data", help="Leave the store in .placet/ at the end.")
    ] = False,
) -> None:
    """Run a server with example policies, ask it three questions, and show what to try next.

    It serves until Ctrl-C. The store is in .placet/ here; one that was there before stays.
    """
    set_up_logging(level="warning", as_json=False)
    was_there = _STORE.exists()
    _make_folder()
    try:
        running.run(_serve_somewhere)
    finally:
        if not keep_data and not was_there:
            _remove_store()
    kept = f"; its data is in {_STORE}" if _STORE.exists() else ""
    terminal.line(f"goodbye: the server has stopped{kept}")


def _make_folder() -> None:
    try:
        _FOLDER.mkdir(exist_ok=True)
        # Like other tools' caches: git need not know.
        (_FOLDER / ".gitignore").write_text("*\n", "utf-8")
    except OSError as error:
        raise Failure(f"`{_FOLDER}` cannot be made here: {error.strerror}") from error


def _remove_store() -> None:
    for path in _FOLDER.glob(f"{_STORE.name}*"):
        path.unlink(missing_ok=True)


async def _serve_somewhere(stop: Stop) -> None:
    """Serve on the first port that is free."""
    for port in range(_FIRST_PORT, _FIRST_PORT + _PORTS_TRIED):
        try:
            await running.serve(_config(port), stop, _show_around)
        except AddressTaken:
            terminal.note(f"port {port} is taken; trying the next")
            continue
        return
    await running.serve(_config(0), stop, _show_around)


def _config(port: int) -> Config:
    with needs_extra("server", "a server"):
        from placet_server.config import Config, ServerConfig, StoreConfig
    return Config(
        server=ServerConfig(listen=f"127.0.0.1:{port}", node="quickstart"),
        store=StoreConfig(path=str(_STORE)),
    )


async def _show_around(serving: Serving) -> None:
    """Publish, ask, and print what came of it and what can be done next."""
    documents = starter_documents()
    async with Client(serving.address, tenant=TENANT, timeout_s=_PATIENCE_S) as client:
        publication = await client.publish(
            documents.change_set(replace_all=True), message="placet quickstart"
        )
        results: list[Decision | DecisionError] = [
            await client.evaluate(
                *parts(request), request.context, min_revision=publication.revision
            )
            for request in _QUESTIONS
        ]
    terminal.line(
        f"placet serves on {serving.address}, store {_STORE} at revision {publication.revision}"
    )
    terminal.line(
        f"tenant `{TENANT}` has {len(documents.policies)} policies, the ones `placet init` makes; "
        "three answers by them:"
    )
    terminal.line("")
    terminal.out().print(decisions.overview(_QUESTIONS, results))
    terminal.line("")
    terminal.line("try next, in another terminal:")
    for command in next_commands(serving.address):
        terminal.line(f"  {command}", style="bold")
    if shutil.which("grpcurl") is None:
        terminal.note("(grpcurl is a tool of its own: https://github.com/fullstorydev/grpcurl)")
    terminal.line("")
    terminal.line("Ctrl-C stops the server")


_PATIENCE_S = 30.0
_QUESTIONS = (
    Request(
        subject=Subject("User", "carol"),
        action=Action("view"),
        resource=Resource("Invoice", "laptops"),
    ),
    Request(
        subject=Subject("User", "bob"),
        action=Action("pay"),
        resource=Resource("Invoice", "laptops"),
        context={"mfa": True},
    ),
    Request(
        subject=Subject("User", "alice"),
        action=Action("pay"),
        resource=Resource("Invoice", "laptops"),
        context={"mfa": True},
    ),
)


def next_commands(address: str) -> list[str]:
    """Return commands that work as they stand while the server runs."""
    question = {
        "tenant": TENANT,
        "subject": {"type": "User", "id": "bob"},
        "action": {"name": "pay"},
        "resource": {"type": "Invoice", "id": "laptops"},
    }
    call = f"grpcurl -plaintext {address}"
    return [
        f"{call} list",
        f"{call} describe placet.v1.EvaluateService",
        f"{_with_data(question)} {address} placet.v1.EvaluateService/Evaluate",
        f"{_with_data({'tenant': TENANT})} {address} placet.v1.SubscribeService/Subscribe",
    ]


def _with_data(message: object) -> str:
    return f"grpcurl -plaintext -d {shlex.quote(json.dumps(message, separators=(',', ':')))}"
