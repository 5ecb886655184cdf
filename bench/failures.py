"""Why something is not in the report."""

from __future__ import annotations


class CannotStart(Exception):
    """A server that is not there or does not come up; the message is for the report."""


class WrongAnswer(Exception):
    """A system answered what it must not, so that there is nothing to compare."""
