"""``placet store``: look after the store that nodes keep policies in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any, TypeAlias, TypeVar

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from placet.cli import configuration, terminal
from placet.cli.asking import Yes, ask
from placet.cli.configuration import ConfigFile
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.options import Json

if TYPE_CHECKING:
    from placet_server.store.checking import Checked

Answer = TypeVar("Answer")

Place: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="A file of SQLite's or a postgresql:// URL. Without: what the configuration says.",
        metavar="[STORE]",
        show_default=False,
    ),
]


def migrate(place: Place = "", config_file: ConfigFile = None, as_json: Json = False) -> None:
    """Bring a store to the layout that this version works on; make one where there is none.

    Nodes do so by themselves when they start. Do it before where they may not change tables, as
    the owner of the schema.
    """
    with _server():
        from placet_server import administering
    migrated = _run(administering.migrate(place or _configured(config_file)))
    if as_json:
        terminal.print_json(asdict(migrated))
    elif migrated.before is None:
        terminal.line(f"made a store with layout {migrated.after} in {migrated.place}")
    elif migrated.before == migrated.after:
        terminal.line(f"{migrated.place} has layout {migrated.after}, the newest; nothing to do")
    else:
        terminal.line(f"{migrated.place}: layout {migrated.before} → {migrated.after}")


def check(place: Place = "", config_file: ConfigFile = None, as_json: Json = False) -> int:
    """Check that a store is consistent: every body, every history, and what is current.

    It reads one state of the store and changes nothing, so nodes may go on. Exit code 1: it is
    damaged.
    """
    with _server():
        from placet_server import administering
    with _progress("checking") as tell:
        checked = _run(administering.check(place or _configured(config_file), tell))
    if as_json:
        terminal.print_json(asdict(checked))
    else:
        _print_checked(checked)
    return ExitCode.FAILED if checked.findings else ExitCode.OK


def _print_checked(checked: Checked) -> None:
    terminal.out().print(
        terminal.pairs(
            [
                ("store", checked.store_id),
                ("revisions", f"{checked.earliest + 1:,} to {checked.head:,}"),
                ("owners", f"{checked.owners:,}"),
                ("items", f"{checked.items:,}"),
                ("changes", f"{checked.changes:,}"),
            ]
        )
    )
    for finding in checked.findings:
        terminal.error(finding)
    if checked.findings:
        terminal.note("restore it from a backup, or from a copy")
    else:
        terminal.line("the store is consistent", style="green")


def copy(
    source: Annotated[str, typer.Argument(help="The store to copy.", metavar="FROM")],
    target: Annotated[str, typer.Argument(help="Where to, a store that is empty.", metavar="TO")],
    as_json: Json = False,
) -> None:
    """Copy a store with its whole history, from SQLite to PostgreSQL or back.

    Revisions, times, authors, request ids and the store's id stay what they are, so that
    subscribers go on where they are. Stop the nodes first: a source that is in use is refused.
    Both are compared afterwards; what does not agree, or is interrupted, leaves nothing behind.
    """
    with _server():
        from placet_server import administering
    with _progress("copying and comparing") as tell:
        copied = _run(administering.copy(source, target, tell))
    if as_json:
        terminal.print_json(asdict(copied))
        return
    owners = terminal.counted(copied.owners, "owner", "owners")
    terminal.line(
        f"copied {copied.changes:,} changes of {owners} up to revision {copied.head:,}; the copy "
        f"agrees in all of {terminal.counted(copied.ranges, 'range', 'ranges')} of revisions"
    )
    terminal.note("start the nodes with the copy, and keep them off the source")


def accept(
    place: Place = "", config_file: ConfigFile = None, yes: Yes = False, as_json: Json = False
) -> None:
    """Go on with a store that has lost commits, such as after a replica without them took over.

    The store gets a new id. Nodes that saw what was lost refuse to go on until they are started
    again, and subscribers start over. Publish again what is missing.
    """
    with _server():
        from placet_server import administering
    where = place or _configured(config_file)
    if not yes:
        ask(
            "go on with what is there, without what was lost?",
            nobody="there is nobody to ask whether to go on; --yes does without asking",
            refused="nothing was changed",
        )
    store_id = _run(administering.accept(where))
    if as_json:
        terminal.print_json({"store_id": store_id})
    else:
        terminal.line(f"the store is now {store_id}; start the nodes again")


def _server() -> Any:
    return needs_extra("server", "looking after a store")


def _configured(config_file: Any) -> str:
    config, _ = configuration.read(config_file)
    store = config.store
    if store.kind == "memory":
        raise Failure("the configured store is in memory; name a file or a url", ExitCode.USAGE)
    return store.url if store.kind == "postgres" else store.path


def _run(work: Coroutine[Any, Any, Answer]) -> Answer:
    from placet_server.config import ConfigError
    from placet_server.store.contract import StoreError

    try:
        return asyncio.run(work)
    except ConfigError as error:
        raise Failure(str(error), ExitCode.USAGE) from error
    except StoreError as error:
        raise Failure(str(error)) from error
    except KeyboardInterrupt:
        raise Failure("stopped; nothing was changed") from None


@contextmanager
def _progress(what: str) -> Iterator[Callable[[int, int], None]]:
    console = terminal.err()
    if not console.is_terminal:
        yield lambda done, whole: None
        return
    columns = (TextColumn(what), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield lambda done, whole: progress.update(task, completed=done, total=whole)
