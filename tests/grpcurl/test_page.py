"""Every command of the page does what the page says, with each grpcurl there is."""

from __future__ import annotations

import re
from collections.abc import Mapping

import grpc
import pytest

from tests.grpcurl.conftest import Installed
from tests.grpcurl.page import PAGE, Command, read_page
from tests.grpcurl.playing import Played, play
from tests.grpcurl.world import running_world

COMMANDS = list(read_page(PAGE.read_text()))
_STATUS = re.compile(r"ERROR:\n  Code: (\w+)")
_NO_STATUS = ("Error invoking", "Failed to", "refused")
_CODES = {code.name.replace("_", "").lower(): code.value[0] for code in grpc.StatusCode}


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
    if command.is_interrupted:
        return
    if status := _STATUS.search(command.printed):
        assert found.code == 64 + _CODES[status[1].lower()]
    else:
        assert bool(found.code) == any(words in command.printed for words in _NO_STATUS)
