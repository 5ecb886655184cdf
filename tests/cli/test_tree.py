from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from placet import Position
from placet.cli.tree import Node, TreeError, read_json, read_yaml


def at(node: Node, *path: str | int) -> Node:
    for step in path:
        if isinstance(step, str):
            assert isinstance(node.value, dict)
            node = node.value[step]
        else:
            assert isinstance(node.value, list)
            node = node.value[step]
    return node


def test_yaml_reads_the_core_types_and_nothing_more() -> None:
    node = read_yaml(
        """
        text: plain words
        date: 2026-01-01
        time: 12:30
        numbers: [1, -7, 0x10, 1.5]
        truths: [true, False]
        nothing: ~
        quoted: "yes"
        """
    )

    assert node.plain() == {
        "text": "plain words",
        "date": "2026-01-01",
        "time": "12:30",
        "numbers": [1, -7, 16, 1.5],
        "truths": [True, False],
        "nothing": None,
        "quoted": "yes",
    }


def test_every_part_of_yaml_knows_its_place() -> None:
    root = read_yaml("a: 1\nlist:\n  - x: 'y'\n", file="f.yaml")

    assert root.keys["list"] == Position(file="f.yaml", line=2, column=1)
    element = at(root, "list", 0)
    assert element.position == Position(file="f.yaml", line=3, column=5)
    # Within the quotes, where the text begins.
    assert at(element, "x").position == Position(file="f.yaml", line=3, column=9)


def test_a_block_of_text_begins_below_its_bar() -> None:
    root = read_yaml("a:\n  cedar: |\n      one\n        two\n")

    block = at(root, "a", "cedar")
    assert block.value == "one\n  two\n"
    assert (block.position, block.indent) == (Position(line=3, column=7), 6)


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ("a: yes", "`yes` is text to some readers of YAML", 1, 4),
        ("- Off", "`Off` is text to some readers", 1, 3),
        ("a: 010", "begins with a zero", 1, 4),
        ("a: !int 3", "the tag `!int` means nothing here", 1, 4),
        ("a: !!python/object:os.system x", "means nothing here", 1, 4),
        ("a: 1\nb: 2\na: 3", "`a` is given already, in line 1", 3, 1),
        ("<<: {a: 1}", "merge keys", 1, 1),
        ("? [a]\n: b", "a key has to be text", 1, 3),
        ("a:\n\t- b", "there is a tab; indent with spaces", 2, 1),
        ("a\n---\nb", "it holds several documents", 2, 1),
        ("a: [1", "is not YAML", 1, 6),
        ("a: 'x", "is not YAML", 1, 6),
        ("a: \x07", "is not YAML", 1, 1),
        ("&a [*a]", "nested too deep", 1, 1),
    ],
)
def test_yaml_that_could_be_taken_wrongly_is_refused(
    text: str, message: str, line: int, column: int
) -> None:
    with pytest.raises(TreeError) as caught:
        read_yaml(text)

    assert message in caught.value.message
    assert (line, column) == (caught.value.position.line, caught.value.position.column)


def test_a_small_file_cannot_become_a_huge_tree() -> None:
    """Ten times ten aliases of each other: the billion laughs."""
    levels = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    levels += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 10)]

    with pytest.raises(TreeError, match="repeats itself too often"):
        read_yaml("\n".join(levels))


def test_an_empty_yaml_file_is_nothing() -> None:
    assert read_yaml("# only a comment\n").value is None


@pytest.mark.parametrize(
    ("text", "message", "line", "column"),
    [
        ('{"a": 1,\n "a": 2}', "`a` is given already, in line 1", 2, 2),
        ('{"a": NaN}', "NaN is no JSON value", 1, 1),
        ('{"a": }', "is not JSON: expecting value", 1, 7),
        ("", "is not JSON", 1, 1),
        ("[" * 100_000, "is not JSON", 1, 1),
        ("[" * 300 + "]" * 300, "nested too deep", 1, 201),
    ],
)
def test_json_that_is_none_is_refused(text: str, message: str, line: int, column: int) -> None:
    with pytest.raises(TreeError) as caught:
        read_json(text)

    assert message in caught.value.message
    assert (line, column) == (caught.value.position.line, caught.value.position.column)


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(_JSON, st.sampled_from([None, 2]))
def test_json_reads_as_the_standard_library_reads_it(document: object, indent: int | None) -> None:
    text = json.dumps(document, indent=indent)

    assert json.loads(text) == read_json(text).plain()
