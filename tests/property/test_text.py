"""Cedar text at random: names, and files of several policies."""

from __future__ import annotations

import json

import cedarpy
from hypothesis import given
from hypothesis import strategies as st

from placet_engine.model import EntityUid
from placet_engine.parsing import PolicyParser
from placet_engine.source import split_policies
from tests.property import strategies
from tests.property.strategies import Written


@given(id_=st.text())
def test_cedar_reads_a_written_uid_as_the_same_entity(id_: str) -> None:
    uid = EntityUid("Acme::User", id_)

    document = json.loads(
        cedarpy.policies_to_json_str(f"permit(principal == {uid}, action, resource);")
    )

    assert document["staticPolicies"]["policy0"]["principal"]["entity"] == uid.to_json()


_BETWEEN = st.sampled_from(
    ["\n", " ", "\r\n", "\n\n// a comment; with \"quotes\n", "// @id(\"not this\")\n\t", ""]
)  # fmt: skip


@given(
    written=st.lists(strategies.policies(0), max_size=5),
    between=st.lists(_BETWEEN, min_size=6, max_size=6),
    behind=st.sampled_from(["", "\n", "// the end;", "// the end;\n"]),
)
def test_file_is_cut_where_its_policies_end(
    written: list[Written], between: list[str], behind: str
) -> None:
    texts = [f'@id("{place}")\n{one.policy.cedar}' for place, one in enumerate(written)]
    source = "".join(gap + text for gap, text in zip(between, texts, strict=False)) + behind
    parser = PolicyParser()

    found = split_policies(source)

    assert [policy.id for policy in found] == [str(place) for place in range(len(texts))]
    assert [parser.parse(policy.cedar).json_text for policy in found] == [
        parser.parse(text).json_text for text in texts
    ]
    lines = source.split("\n")
    for policy in found:
        start = lines[policy.position.line - 1][policy.position.column - 1 :]
        assert start.startswith(f'@id("{policy.id}")')


@given(source=st.text('ab \n"\\;/@()', max_size=60))
def test_nothing_of_a_file_is_lost_but_white_space_and_comments(source: str) -> None:
    """Whatever its author got wrong, the parser gets to see it."""
    found = split_policies(source)

    kept = "".join(policy.cedar for policy in found)
    rest = source
    for policy in found:
        start = rest.index(policy.cedar)
        assert rest[:start].strip() == ""
        rest = rest[start + len(policy.cedar) :]
    assert all(line.strip().startswith("//") or not line.strip() for line in rest.splitlines())
    assert kept.count(";") <= source.count(";")
