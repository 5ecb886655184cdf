"""Every command of the page does what the page says, with each grpcurl there is."""

from __future__ import annotations

from collections.abc import Mapping

import pytest

from tests.grpcurl.conftest import Installed
from tests.grpcurl.page import PAGE, Command, read_page
from tests.grpcurl.playing import Played, play
from tests.grpcurl.world import running_world

COMMANDS = list(read_page(PAGE.read_text()))
_FAILURES = ("ERROR:", "Error invoking", "Failed to")


@pytest.fixture(scope="module", name="played")
def played_fixture(
    grpcurl: Installed, tmp_path_factory: pytest.TempPathFactory
) -> Mapping[Command, Played]:
    with running_world(tmp_path_factory.mktemp("page")) as world:
        return dict(zip(COMMANDS, play(COMMANDS, grpcurl.path, world), strict=True))


@pytest.mark.parametrize("command", COMMANDS, ids=str)
def test_it_prints_what_the_page_says(command: Command, played: Mapping[Command, Played]) -> None:
    found = played[command]

    assert found.is_as_shown, (
        f"{command.heading}, {command}: the page says\n\n{command.printed}\n\n"
        f"of `{found.command}`, which prints\n\n{found.printed}"
    )
    if not command.is_interrupted:
        is_failure = any(words in command.printed for words in _FAILURES)
        assert bool(found.code) == is_failure, found.printed
