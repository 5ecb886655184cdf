"""How a command ends when it does not end well: one clear line, and an exit code."""

from __future__ import annotations

from enum import IntEnum

from placet import CouldNotDecide, InvalidRequest, PlacetError


class ExitCode(IntEnum):
    """What the shell gets to see. Decisions have codes of their own."""

    OK = 0
    """Done; for a decision: allowed."""
    FAILED = 1
    """It did not work out: problems found, tests failed, not found, in the way."""
    USAGE = 2
    """The command or the request is wrong."""
    DENIED = 3
    NEEDS_APPROVAL = 4
    UNDECIDED = 5
    """No answer came: neither allowed nor denied."""
    CHANGED = 6
    """Answers would change, in a way that was asked about."""
    ROLLED_BACK = 7
    """A rollout that was watched was undone."""


EXIT_CODES = (
    "exit codes: 0 done or allowed · 1 failed · 2 wrong usage or request · 3 denied · "
    "4 requires approval · 5 no answer · 6 answers would change · 7 rolled back"
)


class Failure(Exception):
    """Ends a command with a message that says what to do."""

    def __init__(self, message: str, code: ExitCode = ExitCode.FAILED) -> None:
        super().__init__(message)
        self.message = message
        self.code = code


def code_of(error: PlacetError) -> ExitCode:
    """Return how a command ends that met an error of the SDK."""
    if isinstance(error, InvalidRequest):
        return ExitCode.USAGE
    return ExitCode.UNDECIDED if isinstance(error, CouldNotDecide) else ExitCode.FAILED
