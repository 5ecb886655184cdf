"""A sequence of what happens, written down: what ``--script`` takes, and what is done without it.

One step a line, or with semicolons between; ``#`` begins a remark::

    wait 3
    kill eu-west-2          # a node, a region, a jurisdiction, or `control EU`
    hang apac-northeast
    publish
    drain us-east-2
    undrain us-east-2
    back all                # starts what was killed, lets go on what hangs
"""

from __future__ import annotations

import asyncio
import difflib
from collections.abc import Sequence
from dataclasses import dataclass

from placet.cli.demo_regions.callers import TELL_EVERY_S
from placet.cli.demo_regions.demo import Demo
from placet.cli.demo_regions.scene import NodeSpec, Scene, Target
from placet.cli.failures import ExitCode, Failure

_MOST_WAIT_S = 3600.0


_NOTHING = Target("", ())


@dataclass(frozen=True, slots=True)
class Step:
    """One thing to do."""

    verb: str
    target: Target = _NOTHING
    wait_s: float = 0.0

    def __str__(self) -> str:
        about = f"{self.wait_s:g}" if self.verb == "wait" else self.target.name
        return f"{self.verb} {about}".rstrip()


def default_script(scene: Scene) -> str:
    """Return what is done when nobody says otherwise: as much of it as there are regions for."""
    last = scene.sites[-1]
    law = next(
        (law for law in scene.jurisdictions if len(scene.nodes_in(jurisdiction=law)) > 2),
        scene.jurisdictions[0],
    )
    control = scene.control_of(law)
    far = [s for s in scene.sites if s.jurisdiction == law and s.name != control.region]
    whole_region = (f"kill {far[0].name}", "wait 5") if far else ()
    return "\n".join(
        (
            "wait 3",
            f"kill {scene.nodes_in(region=last.name)[-1].name}",
            "wait 4",
            f"hang {scene.nodes_in(region=control.region)[-1].name}",
            "wait 4",
            "back all",
            *whole_region,
            "publish",
            "wait 2",
            f"kill control {law}",
            "wait 5",
            "publish",
            "wait 2",
            "back all",
            "wait 2",
            "publish",
            "wait 2",
        )
    )


# ---------------------------------------------------------------------------------- reading


def read_script(text: str, scene: Scene) -> Sequence[Step]:
    """Read a script.

    Raises:
        Failure: it is none; the message says what is wrong with which step.
    """
    written = (part.partition("#")[0].strip() for part in text.replace(";", "\n").splitlines())
    steps = [_step(part, scene) for part in written if part]
    if not steps:
        raise Failure(
            "the script has no steps; write some, such as `kill eu-west-2; wait 3`", ExitCode.USAGE
        )
    return steps


def _step(text: str, scene: Scene) -> Step:
    verb, _, about = text.partition(" ")
    about = about.strip()
    if verb == "wait":
        return Step(verb, wait_s=_seconds(text, about))
    if verb not in _VERBS:
        raise _wrong(text, f"`{verb}` is no step", verb, ("wait", *_VERBS))
    if verb == "publish":
        if about:
            raise _wrong(text, "`publish` is about everything; leave out what follows", "", ())
        return Step(verb)
    return Step(verb, find_target(about, scene, text))


_VERBS = ("kill", "hang", "drain", "undrain", "back", "publish")


def find_target(about: str, scene: Scene, step: str) -> Target:
    """Return what a step names: nodes, by whatever they have in common.

    Raises:
        Failure: there is no such thing.
    """
    names: dict[str, Sequence[NodeSpec]] = {"all": scene.nodes}
    names |= {law: scene.nodes_in(jurisdiction=law) for law in scene.jurisdictions}
    names |= {f"control {law}": (scene.control_of(law),) for law in scene.jurisdictions}
    names |= {site.name: scene.nodes_in(region=site.name) for site in scene.sites}
    names |= {node.name: (node,) for node in scene.nodes}
    nodes = names.get(" ".join(about.split()))
    if nodes is None:
        raise _wrong(step, f"there is no `{about}`", about, tuple(names))
    return Target(" ".join(about.split()), nodes)


def _seconds(text: str, about: str) -> float:
    try:
        seconds = float(about)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds <= _MOST_WAIT_S:
        raise _wrong(text, f"wait for seconds, up to {_MOST_WAIT_S:g}", "", ())
    return seconds


def _wrong(step: str, what: str, word: str, known: Sequence[str]) -> Failure:
    close = difflib.get_close_matches(word, known, 1)
    hint = f"; did you mean `{close[0]}`?" if close else ""
    if known and not close:
        hint = f"; use one of {', '.join(f'`{name}`' for name in known)}"
    return Failure(f"step `{step}` of the script: {what}{hint}", ExitCode.USAGE)


# ------------------------------------------------------------------------------------ doing


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a step, with the waits behind it."""

    what: str
    calls: int
    failed: int
    longest_ms: float
    went_well: bool = True


async def play(demo: Demo, steps: Sequence[Step]) -> Sequence[Done]:
    """Do one step after the other; return what came of each."""
    done: list[Done] = []
    what, went_well = "before all", True
    for step in steps:
        if step.verb == "wait":
            await asyncio.sleep(step.wait_s)
            continue
        done.append(_came_of(demo, what, went_well=went_well))
        demo.news.add(f"> {step}")
        what, went_well = str(step), await do(demo, step)
    # What callers were told of the last second is on its way.
    await asyncio.sleep(2 * TELL_EVERY_S)
    done.append(_came_of(demo, what, went_well=went_well))
    return done


def _came_of(demo: Demo, what: str, *, went_well: bool) -> Done:
    phase = demo.traffic.end_phase()
    return Done(what, phase.calls, phase.failed, phase.longest_ms, went_well)


async def do(demo: Demo, step: Step) -> bool:
    """Do one step; return whether it could be done everywhere.

    Raises:
        Failure: something does not come back.
    """
    world, target = demo.world, step.target
    if step.verb == "kill":
        world.kill(target.nodes, target.name)
    elif step.verb == "hang":
        world.hang(target.nodes, target.name)
    elif step.verb == "back":
        if not await world.bring_back(target.nodes, target.name):
            raise Failure(f"`{step}` failed: not all of it serves again")
    elif step.verb in ("drain", "undrain"):
        return await demo.operator.drain(target.nodes, draining=step.verb == "drain")
    elif step.verb == "publish":
        return await demo.operator.publish()
    else:
        await asyncio.sleep(step.wait_s)
    return True
