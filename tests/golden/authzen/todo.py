"""The Todo scenario of OpenID AuthZEN 1.0: what to publish, what to ask, what has to come out.

`todo.cedar` and `entities.json` (Cedar's own format) are ours; the questions
are the scenario's, read in place.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from placet_engine.items import Content, Policy, StoredEntity, entity_from_json
from placet_engine.model import Attributes, Entity, EntityUid, Request
from placet_engine.source import split_policies
from tests.data import data_file

HERE = Path(__file__).parent


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One thing to decide. ``expected`` says whether it has to be allowed."""

    subject: EntityUid
    action: str
    resource: EntityUid
    properties: Attributes
    """What the caller says about the resource."""
    expected: bool

    @property
    def request(self) -> Request:
        """The question as the engine takes it."""
        described = Entity(uid=self.resource, attributes=self.properties)
        return Request(
            subject=self.subject,
            action=EntityUid("Action", self.action),
            resource=self.resource,
            entities=(described,) if self.properties else (),
        )


@dataclass(frozen=True, slots=True)
class TodoCase:
    """A case of the scenario: one question, or several that are sent as a batch."""

    name: str
    questions: tuple[Question, ...]


def bodies() -> list[Content]:
    """Return the scenario's policies and entities, as a tenant publishes them."""
    source = (HERE / "todo.cedar").read_text("utf-8")
    policies = [
        Policy(id=text.id or "", cedar=text.cedar, position=text.position)
        for text in split_policies(source, file="todo.cedar")
    ]
    entities = json.loads((HERE / "entities.json").read_text("utf-8"))
    return [*policies, *(StoredEntity(entity_from_json(document)) for document in entities)]


def cases() -> list[TodoCase]:
    """Read the 40 single and 3 batch cases; skip or fail where the data is absent."""
    document = json.loads(data_file("authzen-todo/decisions.json").read_text("utf-8"))
    return [*_singles(document), *_batches(document)]


def questions() -> list[Question]:
    """Return the questions of all cases, one after the other."""
    return [question for case in cases() for question in case.questions]


def _singles(document: Mapping[str, Any]) -> Iterator[TodoCase]:
    for number, case in enumerate(document["evaluation"], 1):
        question = _question(case["request"], case["expected"])
        yield TodoCase(f"{number:02}-{question.action}", (question,))


def _batches(document: Mapping[str, Any]) -> Iterator[TodoCase]:
    for number, case in enumerate(document["evaluations"], 1):
        defaults = {key: case["request"].get(key) for key in ("subject", "action", "resource")}
        items = zip(case["request"]["evaluations"], case["expected"], strict=True)
        questions = tuple(
            _question({**defaults, **item}, expected["decision"]) for item, expected in items
        )
        yield TodoCase(f"batch-{number}-{questions[0].action}", questions)


def _question(request: Mapping[str, Any], expected: bool) -> Question:
    resource = request["resource"]
    return Question(
        subject=EntityUid(request["subject"]["type"], request["subject"]["id"]),
        action=request["action"]["name"],
        resource=EntityUid(resource["type"], resource["id"]),
        properties=resource.get("properties", {}),
        expected=expected,
    )
