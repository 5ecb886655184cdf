"""A schema is refused before it keeps a thread for ever."""

from __future__ import annotations

import json
from collections.abc import Callable

import pytest

from placet_engine.items import SchemaText
from placet_engine.nesting import TooDeep
from placet_engine.schema_growth import check_growth
from placet_engine.schemas import compile_schema
from tests.unit.engine import make


def doubling(count: int) -> str:
    types = "".join(f"type T{i} = {{a: T{i + 1}, b: T{i + 1}}};" for i in range(count))
    return f"{types} type T{count} = Long; entity A = {{a: T0}};"


def doubling_json(count: int) -> str:
    def named(name: str) -> dict[str, object]:
        return {"type": name}

    types: dict[str, object] = {
        f"T{i}": {
            "type": "Record",
            "attributes": {"a": named(f"T{i + 1}"), "b": named(f"T{i + 1}")},
        }
        for i in range(count)
    }
    types[f"T{count}"] = named("Long")
    shape = {"type": "Record", "attributes": {"a": named("T0")}}
    entities = {"A": {"shape": shape}}
    return json.dumps({"": {"commonTypes": types, "entityTypes": entities, "actions": {}}})


@pytest.mark.parametrize("make_text", [doubling, doubling_json])
def test_types_that_double_are_refused_before_they_are_parsed(
    make_text: Callable[[int], str],
) -> None:
    compile_schema(make_text(10))

    (problem,) = make.problems(SchemaText(make_text(60)))

    assert problem.reason == "SCHEMA_SYNTAX"
    assert "parts" in problem.message


@pytest.mark.parametrize(
    "text",
    [
        "type A = B; type B = A; entity E = {a: A};",
        "type T = Long; " + "".join(f"entity E{i} = {{a: T, b: T}};" for i in range(5000)),
        "".join(f"type T{i} = Set<T{i + 1}>;" for i in range(5000)) + "type T5000 = Long;",
        '{"": 5}',
        "{",
        "",
        "type",
    ],
)
def test_what_does_not_grow_is_left_to_cedar(text: str) -> None:
    check_growth(text)


def test_many_uses_of_one_large_type_count_together() -> None:
    large = "type T = {" + ", ".join(f"a{i}: Long" for i in range(500)) + "};"

    with pytest.raises(TooDeep):
        check_growth(large + "".join(f"entity E{i} = {{a: T}};" for i in range(1000)))
