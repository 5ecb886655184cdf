"""``placet demo regions``: six regions on one machine, asked all the time and broken at will."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from placet.cli import terminal
from placet.cli.demo_regions import plain as lines
from placet.cli.demo_regions.demo import Demo, keep_going, running
from placet.cli.demo_regions.networks import NetworkKind
from placet.cli.demo_regions.news import News
from placet.cli.demo_regions.scene import REGION_NAMES, Scene
from placet.cli.demo_regions.screen import Screen, can_show
from placet.cli.demo_regions.script import Done, Step, default_script, play, read_script
from placet.cli.demo_regions.tasks import beside
from placet.cli.extras import needs_extra
from placet.cli.failures import ExitCode, Failure
from placet.cli.logs import set_up_logging
from placet.cli.rollout_watching import Plain


def _offered(incomplete: str) -> list[str]:
    return [name for name in REGION_NAMES if name.startswith(incomplete)]


def regions(
    plain: Plain = False,
    script: Annotated[
        str,
        typer.Option(
            help="Steps to do, or a file with them; it ends when they are done. Without a "
            "terminal there are some by default.",
            metavar="STEPS|FILE",
            show_default=False,
        ),
    ] = "",
    region: Annotated[
        list[str] | None,
        typer.Option(
            help="Only this region, of the six. Repeatable.",
            metavar="REGION",
            autocompletion=_offered,
        ),
    ] = None,
    network: Annotated[
        NetworkKind,
        typer.Option(
            help="What is between regions: network namespaces with delays (Linux, root), or relays "
            "that delay; auto takes the first that can be had."
        ),
    ] = NetworkKind.AUTO,
) -> int:
    """Run six regions on this machine, with callers around the world, and break them.

    Each region has two nodes, real processes that hear of each other as late as over fibre. On a
    terminal the keys kill, hang and drain nodes and whole regions, and bring them back; a table
    shows where each tenant's calls go, how long they take, and how many fail. Without a terminal,
    with --plain or with --script it does steps that are written down, one a line or with semicolons
    between: wait SECONDS, publish, and kill, hang, drain, undrain or back with a node, a region, a
    jurisdiction, `control EU` or `all`. Then it ends with 0 if no call failed and no tenant was
    served where it may not be.

    Everything is gone afterwards.
    """
    with needs_extra("server", "a server"):
        import placet_server.config  # noqa: F401
    set_up_logging(level="error", as_json=False)
    scene = Scene(_known(region or REGION_NAMES))
    is_live = can_show() and not plain
    text = _read(script) or ("" if is_live else default_script(scene))
    steps = read_script(text, scene) if text else ()
    return asyncio.run(_run(scene, network, steps, is_live=is_live))


def _known(names: Sequence[str]) -> Sequence[str]:
    for name in names:
        if name not in REGION_NAMES:
            raise Failure(
                f"there is no region `{name}`; use some of {', '.join(REGION_NAMES)}",
                ExitCode.USAGE,
            )
    return names


def _read(script: str) -> str:
    """Return the steps: what was given, or what is in the file that was named."""
    path = Path(script)
    try:
        return path.read_text("utf-8") if script and path.is_file() else script
    except (OSError, UnicodeDecodeError) as error:
        raise Failure(f"cannot read `{script}`: {error}", ExitCode.USAGE) from error


async def _run(
    scene: Scene, network: NetworkKind, steps: Sequence[Step], *, is_live: bool
) -> ExitCode:
    quit_ = _asked_to_end()
    news = News() if is_live else News(lines.tell)
    async with running(scene, network, news) as demo:
        if not is_live:
            news.add(demo.network.about)
            news.add("bytes take as long as light in fibre does for 1.5 great circles")
        show = Screen(demo, quit_).run() if is_live else lines.run(demo)
        ready = asyncio.Event()
        done = await beside(
            _steps_done(demo, ready, steps), show, keep_going(demo, ready), quit_.wait()
        )
        terminal.note("stopping all of it")
    total = demo.traffic.total
    terminal.out().print(lines.summary(total, done or ()))
    if not steps:
        return ExitCode.OK
    if done is None:
        terminal.note("ended before all steps were done")
    went_well = done is not None and not total.failed and not total.misplaced
    return ExitCode.OK if went_well else ExitCode.FAILED


async def _steps_done(demo: Demo, ready: asyncio.Event, steps: Sequence[Step]) -> Sequence[Done]:
    """Do the steps once callers ask; without any, go on until somebody ends it."""
    await ready.wait()
    if not steps:
        await asyncio.Event().wait()
    return await play(demo, steps)


def _asked_to_end() -> asyncio.Event:
    """Return what is set when a signal asks for the end."""
    asked = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # Whoever had it ignored, as nohup does, meant it.
        if signal.getsignal(number) is not signal.SIG_IGN:
            asyncio.get_running_loop().add_signal_handler(number, asked.set)
    return asked
