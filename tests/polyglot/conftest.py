"""The drivers, each built once a session."""

from __future__ import annotations

import pytest

from tests.polyglot.languages import LANGUAGES, Built, Language, refuse_unless_there


@pytest.fixture(
    scope="session",
    name="built",
    params=LANGUAGES,
    ids=lambda language: language.name,
)
def built_fixture(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Built:
    language: Language = request.param
    refuse_unless_there(language)
    out = tmp_path_factory.mktemp("drivers") / language.name
    return language.built(out)
