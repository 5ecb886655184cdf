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
# does not end a policy. An unterminated string runs to the end of its line.
_TOKEN = re.compile(r'"(?:[^"\\\n]|\\.)*"?|//[^\n]*|;|[^";/]+|/')
_ID = re.compile(r'@id\s*\(\s*"((?:[^"\\]|\\.)*)"\s*\)')
_ANNOTATIONS = re.compile(
    r'(?:@\w+\s*(?:\(\s*"(?:[^"\\]|\\.)*"\s*\))?(?:\s+|//[^\n]*)*)*',
)
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
    for token in _TOKEN.finditer(text):
        if token.group() == ";":
            yield start, token.end()
            start = token.end()
    if _COMMENT.sub("", text[start:]).strip():
        yield start, len(text)


def _policy_text(text: str, start: int, end: int, file: str) -> PolicyText:
    cedar = text[start:end].strip()
    leading = _LEADING.match(text, start, end)
    first = leading.end() if leading else start
    annotations = _ANNOTATIONS.match(text, first, end)
    found = _ID.search(annotations.group()) if annotations else None
    return PolicyText(
        cedar=cedar,
        id=_SIMPLE_ESCAPE.sub(r"\1", found.group(1)) if found else None,
        position=Position(
            file=file,
            line=text.count("\n", 0, first) + 1,
            column=first - (text.rfind("\n", 0, first) + 1) + 1,
        ),
    )


_QUOTED = re.compile(r"`([^`]+)`|variable(?: in the policy scope)?: (\w+)")


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
            offset = places[0]
            line_start = cedar.rfind("\n", 0, offset) + 1
            lines_down = cedar.count("\n", 0, offset) - _lines_above(cedar)
            first_line = max(policy.line, 1)
            same_line = lines_down == 0 and policy.column > 0
            start = len(cedar) - len(_LEADING.sub("", cedar, count=1))
            return Position(
                file=policy.file,
                line=first_line + lines_down,
                column=policy.column + offset - start if same_line else offset - line_start + 1,
            )
    return policy


def _lines_above(cedar: str) -> int:
    """Count the comment lines above the policy; its position is below them."""
    leading = _LEADING.match(cedar)
    return cedar.count("\n", 0, leading.end()) if leading else 0


def _as_word(word: str) -> str:
    pattern = re.escape(word)
    if word[0].isalnum():
        pattern = r"\b" + pattern
    if word[-1].isalnum():
        pattern += r"\b"
    return pattern
