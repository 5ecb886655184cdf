"""Each client's own tests and checks, by its language's own tools: they run where those are."""

from __future__ import annotations

import pytest

from tests.polyglot.languages import LANGUAGES, Language, refuse_unless_there

pytestmark = pytest.mark.polyglot


@pytest.mark.parametrize(
    "language", [each for each in LANGUAGES if each.checks], ids=lambda language: language.name
)
def test_a_client_s_own_tests_and_checks(language: Language) -> None:
    refuse_unless_there(language)
    language.check()
