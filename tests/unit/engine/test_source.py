from __future__ import annotations

import pytest

from placet_engine.model import NOWHERE, Position
from placet_engine.source import PolicyText, locate, split_policies

ONE = "permit(principal, action, resource);"
TWO = "forbid(principal, action, resource);"


def texts(source: str) -> list[str]:
    return [policy.cedar for policy in split_policies(source)]


def places(source: str) -> list[tuple[int, int]]:
    return [(policy.position.line, policy.position.column) for policy in split_policies(source)]


# -------------------------------------------------------------------------------- cutting


def test_file_is_cut_into_policies_with_ids_and_positions() -> None:
    source = """\
// orders.cedar

// Everybody may look.
@id("orders/read")
@reason("reading is free")
permit(principal, action == Action::"read", resource);

  @id("orders/freeze") forbid(principal, action, resource)
    when { context.frozen };
permit(principal, action, resource);
"""

    policies = split_policies(source, file="orders.cedar")

    assert [(policy.id, str(policy.position)) for policy in policies] == [
        ("orders/read", "orders.cedar:4:1"),
        ("orders/freeze", "orders.cedar:8:3"),
        (None, "orders.cedar:10:1"),
    ]
    assert policies[1].cedar.startswith('@id("orders/freeze") forbid(')
    assert policies[1].cedar.endswith("when { context.frozen };")


def test_comments_right_above_stay_with_their_policy() -> None:
    (policy,) = split_policies(f"// one\n// two\n{ONE}\n// behind the last\n")

    assert policy.cedar == f"// one\n// two\n{ONE}"
    assert policy.position == Position(line=3, column=1)


@pytest.mark.parametrize("source", ["", "\n \t\n", "// nothing; here", "// a\n\n// b\n"])
def test_file_without_policies_is_empty(source: str) -> None:
    assert split_policies(source) == []


@pytest.mark.parametrize(
    "policy",
    [
        'permit(principal == User::"a;b", action, resource);',
        'permit(principal, action, resource) when { context.x == "a;\\";b" };',
        'permit(principal, action, resource) when { context.x == "//;" };',
        'permit(principal, action, resource) when { context.x == "\\\\" };',
        '@reason("first; second")\npermit(principal, action, resource);',
        "permit(principal, // who; ever\n action, resource);",
        'permit(principal, // "\n action, resource);',
        "permit(principal, action, resource) when { 4 / 2 == 2 };",
        '@reason("one line\nand; another")\npermit(principal, action, resource);',
        'permit(principal, action, resource) when { context.x == "a\nb" };',
        'permit(principal, action, resource) when { context.x == "a\n//b;" };',
    ],
)
def test_semicolons_in_strings_and_comments_end_nothing(policy: str) -> None:
    assert texts(f"{ONE}\n{policy}\n{TWO}") == [ONE, policy, TWO]


def test_what_is_behind_the_last_semicolon_is_kept_for_the_parser_to_refuse() -> None:
    assert texts(f"{ONE}\npermit(principal, action, resource)") == [
        ONE,
        "permit(principal, action, resource)",
    ]


def test_unterminated_string_costs_one_policy_not_the_file() -> None:
    """It is taken to end with its line, so that the error is shown where it is."""
    broken = 'permit(principal == User::"ann, action, resource)\n  when { true };'

    assert texts(f"{ONE}\n{broken}\n{TWO}") == [ONE, broken, TWO]


def test_unterminated_string_in_the_last_line_is_kept() -> None:
    assert texts(f'{ONE}\npermit(principal == User::"ann') == [
        ONE,
        'permit(principal == User::"ann',
    ]


def test_crlf_counts_as_one_line_end() -> None:
    source = f"// a\r\n\r\n{ONE}\r\n  {TWO} {ONE}\r\n"

    assert texts(source) == [f"// a\r\n\r\n{ONE}", TWO, ONE]
    assert places(source) == [(3, 1), (4, 3), (4, len(TWO) + 4)]


def test_columns_count_characters_not_bytes() -> None:
    source = f'permit(principal == User::"größe😀", action, resource); {TWO}'

    assert places(source) == [(1, 1), (1, source.index("forbid") + 1)]


def test_lines_within_strings_count() -> None:
    assert places(f'@reason("a\nb")\n{ONE}\n{TWO}') == [(1, 1), (4, 1)]


@pytest.mark.parametrize(
    ("annotations", "id_"),
    [
        ('@id("a")', "a"),
        ('@id ( "a" )', "a"),
        ('@reason("r") @id("a")', "a"),
        ('@bare\n@id("a")', "a"),
        ('@reason("r") // why\n// more\n@id("a")', "a"),
        ('@id("a\\"b\\\\c")', 'a"b\\c'),
        ('// @id("above")\n@id("a")', "a"),
        ('@reason("r")\n// @id("commented out")\n@id("a")', "a"),
        ('@reason("r")\n// @id("commented out")\n', None),
        ('@reason("say @id(\\"b\\")")', None),
        ('@reason("// no comment") @id("a")', "a"),
        ('@idea("a")', None),
        ('@reason("r")', None),
        ("", None),
    ],
)
def test_id_annotation_is_read(annotations: str, id_: str | None) -> None:
    (policy,) = split_policies(f"{annotations}\n{ONE}")

    assert policy.id == id_


def test_id_within_a_condition_is_none() -> None:
    (policy,) = split_policies(
        'permit(principal, action, resource) when { context.x == "@id(\\"a\\")" };'
    )

    assert policy.id is None


# ------------------------------------------------------------------------------- locating

SOURCE = """\
// first
permit(principal, action, resource);

// orders, see `ownr`
@id("o")
permit(principal, action, resource)
  when { resource.owner == principal &&
         resource.größe < limit };
"""


def orders(source: str = SOURCE, file: str = "o.cedar") -> PolicyText:
    return split_policies(source, file=file)[-1]


@pytest.mark.parametrize(
    ("message", "place"),
    [
        ("attribute `owner` not found", "o.cedar:7:19"),
        ("attribute `größe` not found", "o.cedar:8:19"),
        ("invalid variable: limit", "o.cedar:8:27"),
        ("found an invalid variable in the policy scope: action", "o.cedar:6:19"),
        ("unrecognized `resource.owner`", "o.cedar:7:10"),
        ("expected `Long`, found `owner`", "o.cedar:7:19"),
        ("in `o.cedar`, nothing", "o.cedar:5:1"),
    ],
)
def test_message_is_located_by_the_word_it_quotes(message: str, place: str) -> None:
    policy = orders()

    assert str(locate(message, policy.cedar, policy.position)) == place


@pytest.mark.parametrize(
    "message",
    [
        "unexpected end of input",
        "`resource` is there more than once",
        "`nowhere` is not there",
        "``",
        "`own` is only a part of a word",
    ],
)
def test_message_that_cannot_be_located_is_put_at_the_start_of_the_policy(message: str) -> None:
    policy = orders()

    assert locate(message, policy.cedar, policy.position) == policy.position


def test_word_on_the_first_line_is_located_behind_what_stands_before_the_policy() -> None:
    policy = orders(f'{ONE}   @id("x") permit(principle, action, resource);')

    place = locate("invalid variable: principle", policy.cedar, policy.position)

    assert place == Position(file="o.cedar", line=1, column=len(ONE) + 20)


def test_word_on_a_later_line_is_located_from_the_start_of_that_line() -> None:
    policy = orders("     permit(principal,\n  actoin, resource);")

    place = locate("invalid variable: actoin", policy.cedar, policy.position)

    assert place == Position(file="o.cedar", line=2, column=3)


def test_lines_of_crlf_files_are_located() -> None:
    policy = orders(SOURCE.replace("\n", "\r\n"))

    place = locate("attribute `größe` not found", policy.cedar, policy.position)

    assert str(place) == "o.cedar:8:19"


def test_policy_of_no_file_is_located_within_its_own_text() -> None:
    """Its author sees the text that was sent, comments above the policy included."""
    cedar = "// why\n// and how\npermit(principal, action, resource)\n  when { foo };"

    assert locate("invalid variable: foo", cedar, NOWHERE) == Position(line=4, column=10)
    assert locate("`action` is odd", cedar, NOWHERE) == Position(line=3, column=19)
    assert locate("unexpected end of input", cedar, NOWHERE) == NOWHERE
