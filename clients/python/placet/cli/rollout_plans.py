"""Rollout plans as they are typed at a shell, and as they are told to people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from itertools import pairwise

from placet import (
    Canary,
    CanaryUnit,
    Guard,
    GuardKind,
    Immediate,
    Manual,
    RolloutPlan,
    Scheduled,
)
from placet.cli.amounts import duration, duration_text, moment, moment_text, percent, percent_text
from placet.cli.failures import ExitCode, Failure
from placet.cli.findings import did_you_mean

GUARDS: Mapping[str, GuardKind] = {
    "errors": GuardKind.ERROR_RATE,
    "denies": GuardKind.DENY_RATE_CHANGE,
    "latency": GuardKind.LATENCY,
    "rejections": GuardKind.REJECTIONS,
}
"""Guards by the words people use."""

_WORDS = {kind: word for word, kind in GUARDS.items()}
_UNITS = {"subject": CanaryUnit.SUBJECT, "node": CanaryUnit.NODE}
_USUAL_SHARES = "10,50,100"


def guard_word(kind: GuardKind) -> str:
    """Return the word people use for a guard."""
    return _WORDS.get(kind, "unknown")


@dataclass(frozen=True, slots=True, kw_only=True)
class PlanOptions:
    """A plan as it was typed."""

    canary: str | None = None
    bake: str | None = None
    by: str | None = None
    at: str | None = None
    manual: bool = False
    approvers: str | None = None
    deadline: str | None = None
    immediate: bool = False
    guards: Sequence[str] = ()
    no_guards: Sequence[str] = ()
    min_samples: int | None = None
    shadow: str | None = None

    def plan(self) -> RolloutPlan:
        """Return the plan: a canary with the server's steps unless something else is said.

        Raises:
            Failure: something in it cannot be, or contradicts something else.
        """
        kind = self._kind()
        guards = self._guards()
        shadow_percent = percent(self.shadow, "--shadow") if self.shadow is not None else None
        if shadow_percent == 0:
            raise Failure(
                "`--shadow` is 0%, and guards would have nothing to measure; give them a share",
                ExitCode.USAGE,
            )
        match kind:
            case "--immediate":
                return Immediate(guards=guards, shadow_percent=shadow_percent)
            case "--at":
                assert self.at is not None
                start_time = moment(self.at, "--at")
                return Scheduled(start_time, guards=guards, shadow_percent=shadow_percent)
            case "--manual":
                deadline = moment(self.deadline, "--deadline") if self.deadline else None
                return Manual(
                    _names(self.approvers, "--approvers"),
                    deadline,
                    guards=guards,
                    shadow_percent=shadow_percent,
                )
        return Canary(self._steps(), self._unit(), guards=guards, shadow_percent=shadow_percent)

    def _kind(self) -> str:
        """Return the one strategy that was asked for, and check that the rest belongs to it."""
        asked = {
            "--canary": self.canary is not None,
            "--at": self.at is not None,
            "--manual": self.manual,
            "--immediate": self.immediate,
        }
        kinds = [option for option, is_asked in asked.items() if is_asked] or ["--canary"]
        if len(kinds) > 1:
            raise Failure(f"`{kinds[0]}` and `{kinds[1]}` exclude each other", ExitCode.USAGE)
        belonging = {
            "--bake": (self.bake, "--canary"),
            "--by": (self.by, "--canary"),
            "--approvers": (self.approvers, "--manual"),
            "--deadline": (self.deadline, "--manual"),
        }
        for option, (value, kind) in belonging.items():
            if value is not None and kind != kinds[0]:
                raise Failure(f"`{option}` goes with `{kind}`; leave one out", ExitCode.USAGE)
        return kinds[0]

    def _unit(self) -> CanaryUnit:
        if self.by is None:
            return CanaryUnit.SUBJECT
        unit = _UNITS.get(self.by.lower())
        if unit is None:
            hint = did_you_mean(self.by.lower(), _UNITS)
            raise Failure(f"`--by` is `{self.by}`; {hint}", ExitCode.USAGE)
        return unit

    def _steps(self) -> tuple[tuple[int, timedelta | None], ...]:
        if self.canary is None and self.bake is None:
            return ()
        shares = _shares(self.canary if self.canary is not None else _USUAL_SHARES)
        if self.bake is None:
            return tuple((share, None) for share in shares)
        times = [duration(text.strip(), "--bake") for text in self.bake.split(",")]
        if len(times) not in (1, len(shares)):
            raise Failure(
                f"`--bake` has {len(times)} durations for {len(shares)} steps; give one for all "
                "of them, or one for each",
                ExitCode.USAGE,
            )
        times = times * len(shares) if len(times) == 1 else times
        return tuple(zip(shares, times, strict=True))

    def _guards(self) -> tuple[Guard, ...]:
        thresholds = dict(_threshold(text) for text in self.guards)
        if len(thresholds) < len(self.guards):
            raise Failure("`--guard` names a guard twice; name each once", ExitCode.USAGE)
        disabled = {_kind_of(word, "--no-guard") for word in self.no_guards}
        for kind in disabled & thresholds.keys():
            raise Failure(
                f"`--guard` and `--no-guard` both name {guard_word(kind)}; leave one out",
                ExitCode.USAGE,
            )
        counted = set(GUARDS.values()) - {GuardKind.REJECTIONS} if self.min_samples else set()
        return tuple(
            Guard(
                kind,
                thresholds.get(kind),
                self.min_samples or 0 if kind in counted else 0,
                disabled=kind in disabled,
            )
            for kind in GUARDS.values()
            if kind in thresholds or kind in disabled or kind in counted
        )


def _shares(text: str) -> list[int]:
    words = [word.strip().removesuffix("%").rstrip() for word in text.split(",")]
    shares = [int(word) if word.isascii() and word.isdecimal() else 0 for word in words]
    in_bounds = all(1 <= share <= 100 for share in shares)
    rise = all(one < other for one, other in pairwise(shares))
    if not (in_bounds and rise and shares[-1] == 100):
        raise Failure(
            f"`--canary` is `{text}`; write whole shares in percent that rise and end with 100, "
            f"such as {_USUAL_SHARES}",
            ExitCode.USAGE,
        )
    return shares


def _names(text: str | None, option: str) -> tuple[str, ...]:
    if text is None:
        return ()
    names = tuple(name.strip() for name in text.split(","))
    if not all(names):
        raise Failure(
            f"`{option}` is `{text}`; write names with commas between them", ExitCode.USAGE
        )
    return names


def _kind_of(word: str, option: str) -> GuardKind:
    kind = GUARDS.get(word.lower())
    if kind is None:
        raise Failure(
            f"`{option}` names `{word}`, which is no guard; {did_you_mean(word.lower(), GUARDS)}",
            ExitCode.USAGE,
        )
    return kind


def _threshold(text: str) -> tuple[GuardKind, float]:
    word, separator, value = text.partition("=")
    kind = _kind_of(word, "--guard")
    if not separator:
        raise Failure(
            f"`--guard` is `{text}`; write its bound too, such as {word}={_EXAMPLES[kind]}",
            ExitCode.USAGE,
        )
    option = f"--guard {word}"
    match kind:
        case GuardKind.LATENCY:
            return kind, duration(value, option).total_seconds()
        case GuardKind.REJECTIONS:
            if not (value.isascii() and value.isdecimal()):
                raise Failure(f"`{option}` is `{value}`; write a number of nodes", ExitCode.USAGE)
            return kind, float(value)
        case _:
            return kind, percent(value, option) / 100


_EXAMPLES = {
    GuardKind.ERROR_RATE: "1%",
    GuardKind.DENY_RATE_CHANGE: "5%",
    GuardKind.LATENCY: "10ms",
    GuardKind.REJECTIONS: "0",
}

# ------------------------------------------------------------------------------ for people


def plan_text(plan: RolloutPlan) -> str:
    """Say in a line how a rollout goes."""
    match plan:
        case Immediate():
            return "all at once"
        case Scheduled():
            return f"all at once at {moment_text(plan.start_time)}"
        case Manual():
            groups = " or ".join(plan.approver_groups)
            who = f"somebody of {groups}" if groups else "somebody other than its author"
            until = f" until {moment_text(plan.deadline)}" if plan.deadline else ""
            return f"all at once when {who} has approved it{until}"
        case Canary():
            return f"canary by {plan.unit.name.lower()}: {_steps_text(plan)}"
        case _:
            return "in a way this version does not know"


def _steps_text(plan: Canary) -> str:
    if not plan.steps:
        return "the server's steps"
    return ", ".join(
        percent_text(share) + (f" for {duration_text(bake)}" if bake else "")
        for share, bake in plan.steps
    )
