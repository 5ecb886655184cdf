"""Reads the page of recipes: its commands, and what it says that they print.

A recipe is a block that opens with ```` ```console ````. A line after ``$`` is a command, which is
as long as its lines end with a backslash or a quote is open; what follows is what it prints:

- ``…`` stands for anything, on a line or for as many lines as there are;
- a word in capitals out of `PLACEHOLDERS` stands for anything too, and is what the same word means
  in the commands below;
- ``^C`` as the last line is Ctrl-C, which ends a command that goes on for ever;
- how lines are broken and indented is not compared: versions of grpcurl differ there.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "grpcurl.md"
PLACEHOLDERS = ("CURSOR", "ETAG", "ROLLOUT", "SERVER", "SOCKET")

_CTRL_C = "^C"
_FENCE = re.compile(r"^```(?P<language>.*)\n(?P<text>(?:.*\n)*?)```$", re.MULTILINE)
_HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
_PLACEHOLDER = re.compile(rf"\b(?:{'|'.join(PLACEHOLDERS)})\b")


@dataclass(frozen=True, slots=True)
class Command:
    """One command of the page, and what the page says that it prints."""

    line: int
    heading: str
    text: str
    printed: str
    is_interrupted: bool
    """Whether it goes on until somebody ends it."""

    def __str__(self) -> str:
        return f"line {self.line}"

    def filled_in(self, values: Mapping[str, str]) -> str:
        """Return the command with values in the place of placeholders."""
        return _PLACEHOLDER.sub(lambda found: values.get(found[0], found[0]), self.text)

    def read(self, printed: str, values: Mapping[str, str]) -> dict[str, str] | None:
        """Return what placeholders stand for in what was printed; None if the page says otherwise.

        A stream may have printed more than what the page shows.
        """
        pattern = _pattern(self.printed, values)
        match = (pattern.match if self.is_interrupted else pattern.fullmatch)(_plain(printed))
        return match.groupdict() if match else None


def read_page(text: str) -> Iterator[Command]:
    """Return the commands of a page in its order.

    Raises:
        ValueError: a block is not one of commands.
    """
    outside = _FENCE.sub("", text)
    if stray := re.search(r"^(```| {4}).*", outside, re.MULTILINE):
        raise ValueError(f"`{stray[0]}` belongs into a block that is closed")
    for block in _FENCE.finditer(text):
        line = text.count("\n", 0, block.start()) + 1
        if block["language"] != "console" or not block["text"].startswith("$ "):
            raise ValueError(f"the block in line {line} is no `console` block with a command")
        heading = [found[1] for found in _HEADING.finditer(text, 0, block.start())][-1]
        yield from _commands(block["text"], line + 1, heading)


def _commands(text: str, line: int, heading: str) -> Iterator[Command]:
    for part in re.split(r"^(?=\$ )", text, flags=re.MULTILINE)[1:]:
        lines = part.removeprefix("$ ").splitlines()
        text = lines.pop(0)
        while text.endswith("\\") or text.count("'") % 2:
            text = f"{text}\n{lines.pop(0)}"
        printed = "\n".join(lines).strip("\n")
        shown = printed.removesuffix(_CTRL_C)
        yield Command(line, heading, text, shown, is_interrupted=shown != printed)
        line += part.count("\n")


def _plain(text: str) -> str:
    """Return a text with its breaks and indents out of the way."""
    return re.sub(r"\s+", " ", re.sub(r"(?<=[\[{])\s+(?=[\]}])", "", text)).strip()


def _pattern(text: str, values: Mapping[str, str]) -> re.Pattern[str]:
    seen: set[str] = set()
    first, *others = (_between(part, seen, values) for part in _plain(text).split("…"))
    # What stands behind an ellipsis is taken where it first comes, and for good: without the atomic
    # groups, a page that is wrong would take for ever to be found wrong. The last may have to be
    # looked for, since it ends the text.
    middle = "".join(f"(?>.*?{part})" for part in others[:-1])
    return re.compile("".join((first, middle, *(f".*?{part}" for part in others[-1:]))), re.DOTALL)


def _between(text: str, seen: set[str], values: Mapping[str, str]) -> str:
    parts: list[str] = []
    end = 0
    for found in _PLACEHOLDER.finditer(text):
        parts += (_literal(text[end : found.start()]), _anything(found[0], seen, values))
        end = found.end()
    return "".join((*parts, _literal(text[end:])))


def _anything(word: str, seen: set[str], values: Mapping[str, str]) -> str:
    if word in values:
        return re.escape(values[word])
    if word in seen:
        return f"(?P={word})"
    seen.add(word)
    return rf"(?P<{word}>[^\"\s]+)"


def _literal(text: str) -> str:
    return re.sub(r"(?:\\ )+", r"\\s*", re.escape(text))
