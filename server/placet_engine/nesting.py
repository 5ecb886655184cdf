"""How deep what authors write may be nested, and making less deep what need not be.

Cedar's parser goes down one level of its stack for each bracket, and some way past four hundred of
them it ends the process. Its reader of JSON stops at 128 levels, of which every operator takes two:
a policy past that could be parsed, and then decided by no more. So both are looked at before.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

MAX_BRACKETS = 100
"""Brackets within each other in a text."""

MAX_ACCESSES = 50
"""Attributes of attributes in a text, as in `a.b["c"]`. `has` with n of them becomes n * n / 2."""

MAX_OPERATORS = 5_000
"""Operators in a text: the parser goes down one level for each in a row of them, too."""

MAX_LEVELS = 110
"""Levels of a policy's conditions as JSON, so that with what is around them 128 are enough."""


class TooDeep(ValueError):
    """A text or a condition that is nested deeper than can be taken."""


def check_text(text: str, *, brackets: str = "()[]{}") -> None:
    """Check a text before a parser sees it.

    Args:
        text: policies, or a schema.
        brackets: opening and closing ones in turn.

    Raises:
        TooDeep: it is nested too deeply.
    """
    opening, closing = brackets[::2], brackets[1::2]
    # Nearly always there are too few of them to look any closer.
    if (
        sum(map(text.count, opening)) <= MAX_BRACKETS
        and text.count(".") + text.count("[") <= MAX_ACCESSES
        and sum(map(text.count, _OPERATORS)) <= MAX_OPERATORS
    ):
        return
    depth = accesses = operators = 0
    for lexeme in lexemes(text):
        depth += (lexeme in opening) - (lexeme in closing)
        operators += lexeme in _OPERATORS
        if lexeme in (".", "["):
            accesses += 1
        elif not _WITHIN_ACCESSES.match(lexeme):
            accesses = 0
        if depth > MAX_BRACKETS:
            raise TooDeep(f"has more than {MAX_BRACKETS} brackets within each other; split it")
        if accesses > MAX_ACCESSES:
            raise TooDeep(f"has more than {MAX_ACCESSES} attributes in a row; split it")
        if operators > MAX_OPERATORS:
            raise TooDeep(f"has more than {MAX_OPERATORS} operators; split it")


def lexemes(text: str) -> list[str]:
    """Take policies or a schema apart into the smallest parts that mean something."""
    return _LEXEME.findall(text)


# A string is one lexeme, whatever is in it, and so is a comment.
_LEXEME = re.compile(r'//[^\n]*|"(?:\\.|[^"\\])*"?|[A-Za-z_]\w*|\|\||&&|[^\s\w]|\d+')
_OPERATORS = ("||", "&&", "+", "-", "*")
_WITHIN_ACCESSES = re.compile(r'[A-Za-z_"\]]|//')


def balanced(node: Any) -> Any:
    """Return a condition in Cedar's JSON form with long chains of `||` and `&&` made shallow.

    Both are associative as Cedar evaluates them: from the left, each operand at most once, until
    one decides or fails. So `((a || b) || c) || d` says what `(a || b) || (c || d)` does.

    Raises:
        TooDeep: it is nested too deeply all the same.
    """
    try:
        made = _balanced(node)
        if _levels(made) <= MAX_LEVELS:
            return made
    except RecursionError:
        pass
    raise TooDeep(
        "is nested too deeply; split it into several policies, or name what is decided in between "
        "by an attribute"
    )


def _balanced(node: Any) -> Any:
    if isinstance(node, list):
        return [_balanced(part) for part in node]
    if not isinstance(node, dict):
        return node
    for operator in _ASSOCIATIVE:
        if operator in node and len(node) == 1:
            operands = [_balanced(operand) for operand in _operands(node, operator)]
            return _joined(operands, operator)
    return {name: _balanced(part) for name, part in node.items()}


_ASSOCIATIVE = ("||", "&&")


def _operands(node: Any, operator: str) -> Iterator[Any]:
    """Yield what an operator joins, from left to right."""
    stack = [node]
    while stack:
        node = stack.pop()
        if isinstance(node, dict) and len(node) == 1 and operator in node:
            stack += (node[operator]["right"], node[operator]["left"])
        else:
            yield node


def _joined(operands: list[Any], operator: str) -> Any:
    if len(operands) == 1:
        return operands[0]
    middle = len(operands) // 2
    left, right = operands[:middle], operands[middle:]
    return {operator: {"left": _joined(left, operator), "right": _joined(right, operator)}}


def _levels(node: Any) -> int:
    if isinstance(node, dict):
        return 1 + max(map(_levels, node.values()), default=0)
    if isinstance(node, list):
        return 1 + max(map(_levels, node), default=0)
    return 0
