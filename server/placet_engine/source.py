"""Cedar text as its authors see it: files of several policies, with positions."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

from placet_engine.model import Position


@dataclass(frozen=True, slots=True)
class PolicyText:
    """One policy cut out of a file."""

    cedar: str
    """The policy with its annotations and the comments right above it."""
    id: str | None
    """Value of its ``@id`` annotation."""
    position: Position


# String literals and comments are skipped whole, so that a semicolon in them
# does not end a policy. Strings may go over several lines.
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*(?P<end>")?|//[^\n]*|;|[^";/]+|/', re.DOTALL)
# Where a string is never closed, each is taken to end with its line: that
# costs the policy with the mistake, and not all behind it.
_LINE_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|;|[^";/]+|/')
_ANNOTATION = re.compile(r'@(\w+)\s*(?:\(\s*"((?:[^"\\]|\\.)*)"\s*\))?')
_SIMPLE_ESCAPE = re.compile(r'\\(["\\])')
_LEADING = re.compile(r"(?:\s+|//[^\n]*)*")
_COMMENT = re.compile(r"//[^\n]*")


def split_policies(text: str, *, file: str = "") -> list[PolicyText]:
    """Cut a Cedar file into its policies.

    A policy ends at a semicolon outside of strings and comments; what is left
    behind the last one is a policy of its own, so that a forgotten semicolon
    is reported by the parser with its place and not dropped here.
    """
    return [_policy_text(text, start, end, file) for start, end in _spans(text)]


def _spans(text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for token in _tokens(text):
        if token.group() == ";":
            yield start, token.end()
            start = token.end()
    if _COMMENT.sub("", text[start:]).strip():
        yield start, len(text)


def _tokens(text: str) -> list[re.Match[str]]:
    tokens = list(_TOKEN.finditer(text))
    # Only the last can be a string without an end.
    if tokens and tokens[-1].group().startswith('"') and not tokens[-1]["end"]:
        return list(_LINE_TOKEN.finditer(text))
    return tokens


def _policy_text(text: str, start: int, end: int, file: str) -> PolicyText:
    first = _behind_leading(text, start, end)
    return PolicyText(
        cedar=text[start:end].strip(),
        id=_id_annotation(text, first, end),
        position=Position(
            file=file,
            line=text.count("\n", 0, first) + 1,
            column=first - (text.rfind("\n", 0, first) + 1) + 1,
        ),
    )


def _behind_leading(text: str, start: int, end: int) -> int:
    """Return where the white space and the comments at ``start`` end."""
    leading = _LEADING.match(text, start, end)
    return leading.end() if leading else start


def _id_annotation(text: str, start: int, end: int) -> str | None:
    """Go through the annotations at ``start`` for one that gives the id."""
    while annotation := _ANNOTATION.match(text, start, end):
        if annotation[1] == "id" and annotation[2] is not None:
            return _SIMPLE_ESCAPE.sub(r"\1", annotation[2])
        start = _behind_leading(text, annotation.end(), end)
    return None


_QUOTED = re.compile(
    r"`([^`]+)`|(?:variable(?: in the policy scope)?|policy effect|policy condition): (\w+)"
)


def locate(message: str, cedar: str, policy: Position) -> Position:
    """Find the place a parser or validator message speaks of.

    The engine's messages name the offending words but not where they are.
    Where exactly one of the words a message quotes occurs exactly once in the
    policy, that is the place; otherwise it is the start of the policy.
    """
    for match in _QUOTED.finditer(message):
        word = match.group(1) or match.group(2)
        places = [found.start() for found in re.finditer(_as_word(word), cedar)]
        if len(places) == 1:
            return _place(cedar, places[0], policy)
    return policy


def _place(cedar: str, offset: int, policy: Position) -> Position:
    """Turn an offset within a policy's text into a place in its author's file."""
    line_start = cedar.rfind("\n", 0, offset) + 1
    line, column = cedar.count("\n", 0, offset) + 1, offset - line_start + 1
    if not policy.line:
        return Position(file=policy.file, line=line, column=column)
    # The policy's position is where it starts, below the comments above it.
    start = _behind_leading(cedar, 0, len(cedar))
    lines_down = cedar.count("\n", 0, offset) - cedar.count("\n", 0, start)
    if lines_down == 0 and policy.column:
        column = policy.column + offset - start
    return Position(file=policy.file, line=policy.line + lines_down, column=column)


def _as_word(word: str) -> str:
    pattern = re.escape(word)
    if word[0].isalnum():
        pattern = r"\b" + pattern
    if word[-1].isalnum():
        pattern += r"\b"
    return pattern
