from __future__ import annotations

import contextlib
import tomllib
import zipfile
from pathlib import Path

import pytest

from placet.cli.configuration import documentation
from placet.cli.examples import starter_documents
from placet_server.config import read_config
from tests.cli.shell import Shell

ROOT = Path(__file__).parents[2]


def test_the_starter_folder_passes_its_own_tests(starter: Path, shell: Shell) -> None:
    result = shell("policy", "test", ".", "--fail-on-uncovered", "--json")

    assert result.code == 0
    assert result.json["failed"] == 0
    assert result.json["passed"] >= 9
    assert result.json["uncovered"] == []


def test_the_starter_folder_is_valid_and_its_configuration_reads(
    starter: Path, shell: Shell
) -> None:
    assert shell("policy", "validate", ".").code == 0
    assert shell("config").code == 0
    assert (starter / ".gitignore").read_text().startswith("#")


def test_what_quickstart_publishes_is_what_init_makes(starter: Path, shell: Shell) -> None:
    pushed = shell("policy", "validate", ".").out

    documents = starter_documents()

    assert f"{len(documents.policies)} policies and {len(documents.entities)} entities" in pushed


def test_init_overwrites_nothing(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "policies").mkdir()
    (tmp_path / "policies" / "invoices.cedar").write_text("mine")

    result = shell("init")

    assert result.code == 1
    assert "`policies/invoices.cedar` is there already" in result.err
    assert [path.name for path in tmp_path.iterdir()] == ["policies"]
    assert (tmp_path / "policies" / "invoices.cedar").read_text() == "mine"


def test_init_makes_the_folder_it_is_given(tmp_path: Path, shell: Shell) -> None:
    result = shell("init", "a/b")

    assert result.code == 0
    assert (tmp_path / "a/b/policies/invoices.cedar").is_file()
    assert "try: cd a/b && placet policy test ." in result.out
    assert shell("policy", "test", "a/b").code == 0


def test_init_says_when_it_may_not_write(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "file").write_text("")

    result = shell("init", "file/x")

    assert result.code == 1
    assert result.err.startswith("error: `file/x")


def test_the_starter_files_are_in_the_wheel(tmp_path: Path) -> None:
    build = pytest.importorskip("hatchling.build")

    with contextlib.chdir(ROOT):
        wheel = build.build_wheel(str(tmp_path))

    names = zipfile.ZipFile(tmp_path / wheel).namelist()

    folder = ROOT / "clients/python/placet/cli/starter"
    expected = {
        f"placet/cli/starter/{path.relative_to(folder).as_posix()}"
        for path in folder.rglob("*")
        if path.is_file()
    }
    assert len(expected) >= 6
    assert expected <= set(names)


# ----------------------------------------------------------------------------- configuration


def test_config_prints_toml_that_reads_back(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_CACHE_TTL_S", "7")
    (tmp_path / "placet.toml").write_text('[server]\nregion = "eu-west"\n')

    result = shell("config")

    written = tmp_path / "written.toml"
    written.write_text(result.out)
    assert tomllib.loads(result.out)["server"]["region"] == "eu-west"
    read, _ = read_config(file=written, environment={})
    assert (read.server.region, read.cache.ttl_s) == ("eu-west", 7.0)


def test_config_explains_where_a_value_is_from(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLACET_LOG_LEVEL", "debug")
    (tmp_path / "placet.toml").write_text("[cache]\nmax_bytes = 5\n")

    keys = shell("config", "--json").json
    table = shell("config", "--explain").out

    assert keys["log.level"]["source"] == "environment PLACET_LOG_LEVEL"
    assert keys["cache.max_bytes"] == {
        "value": 5,
        "source": "file placet.toml",
        "documentation": "Memory for decisions that are remembered, in bytes. Tenants share it.",
    }
    assert keys["server.listen"]["source"] == "default"
    assert "environment PLACET_LOG_LEVEL" in table
    assert "Memory for decisions" in table


def test_every_key_is_documented() -> None:
    _, origins = read_config(environment={})

    texts = documentation()

    assert {origin.key for origin in origins} == {key for key, text in texts.items() if text}


def test_a_configuration_file_can_be_named_in_the_environment(
    tmp_path: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "other.toml").write_text('[server]\nnode = "n1"\n')
    monkeypatch.setenv("PLACET_CONFIG", "other.toml")

    assert shell("config", "--json").json["server.node"]["value"] == "n1"


def test_an_unknown_key_is_likened_to_a_known_one(tmp_path: Path, shell: Shell) -> None:
    (tmp_path / "placet.toml").write_text("[server]\nlisten_on = 'x'\n")

    result = shell("config")

    assert result.code == 2
    assert "unknown key `server.listen_on` (file placet.toml); did you mean `server.listen`?" in (
        result.err
    )
