from __future__ import annotations

from typing import Any

import pytest

from placet_server.telemetry.decision_log.masking import Masker, MaskMode, MaskRefused


def document() -> dict[str, Any]:
    return {
        "tenant": "acme",
        "subject": {"type": "User", "id": "alice", "properties": {"email": "a@b", "age": 3}},
        "resource": {"type": "Doc", "id": "1", "properties": {}},
        "context": {"ssn": "1-2-3", "address": {"street": "x", "zip": "9"}},
        "entities": [
            {"uid": {"type": "Team", "id": "t"}, "attributes": {"salary": 1}},
            {"uid": {"type": "Team", "id": "u"}, "attributes": {"size": 2}},
        ],
        "errors": [{"policy_id": "p", "layer": "TENANT", "message": '`User::"alice"` has none'}],
    }


def masked(*paths: str, mode: MaskMode = MaskMode.REPLACE) -> tuple[dict[str, Any], list[str]]:
    masker, found = Masker(paths, mode, salt=b"salt"), document()
    hit = masker.mask(found)
    return found, hit


def test_without_paths_nothing_changes() -> None:
    assert masked() == (document(), [])


def test_a_value_is_replaced_and_the_path_is_told() -> None:
    found, hit = masked("context.ssn", "context.other", "context.address.zip")

    assert found["context"] == {"ssn": "***", "address": {"street": "x", "zip": "***"}}
    assert hit == ["context.ssn", "context.address.zip"]


def test_a_star_stands_for_any_name_or_place() -> None:
    found, hit = masked("subject.properties.*", "entities.*.attributes.salary")

    assert found["subject"]["properties"] == {"email": "***", "age": "***"}
    attributes = [entity["attributes"] for entity in found["entities"]]
    assert attributes == [{"salary": "***"}, {"size": 2}]
    assert hit == ["subject.properties.*", "entities.*.attributes.salary"]


def test_what_is_below_a_path_goes_with_it() -> None:
    found, _ = masked("context.address", "entities.1")

    assert found["context"] == {"ssn": "1-2-3", "address": "***"}
    assert found["entities"][1] == "***"


def test_dropped_values_are_not_there() -> None:
    found, hit = masked("context.ssn", "entities.*", mode=MaskMode.DROP)

    assert found["context"] == {"address": {"street": "x", "zip": "9"}}
    assert found["entities"] == []
    assert hit == ["context.ssn", "entities.*"]


def test_hashes_are_equal_for_equal_values_and_one_key_only() -> None:
    one, _ = masked("context.ssn", mode=MaskMode.HASH)
    same, _ = masked("context.ssn", mode=MaskMode.HASH)
    other = document()
    Masker(["context.ssn"], MaskMode.HASH).mask(other)

    assert one["context"]["ssn"].startswith("hmac-sha256:")
    assert one["context"]["ssn"] == same["context"]["ssn"]
    assert one["context"]["ssn"] != other["context"]["ssn"]


def test_messages_that_may_quote_what_is_masked_are_left_out() -> None:
    found, _ = masked("subject.id")

    assert found["errors"] == [{"policy_id": "p", "layer": "TENANT", "message": ""}]


@pytest.mark.parametrize("path", ["", "tenant", "ssn", "context..ssn", "context.", "Context.x"])
def test_a_path_that_masks_nothing_is_refused(path: str) -> None:
    with pytest.raises(MaskRefused, match="names nothing to mask"):
        Masker([path])
