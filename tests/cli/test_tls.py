"""``placet tls dev`` makes what everything else needs; options and variables prove who calls."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from tests.cli.shell import Shell, serving
from tests.identities import Issuer, entry, identity_config
from tests.wire.service import TENANT


def _proofs(folder: Path, name: str = "admin") -> list[str]:
    return [
        *("--tls-ca", str(folder / "ca.pem")),
        *("--tls-cert", str(folder / f"{name}.pem"), "--tls-key", str(folder / f"{name}.key")),
    ]


def test_what_is_made_serves_at_once(shell: Shell, tmp_path: Path) -> None:
    made = shell("tls", "dev", "--out", str(tmp_path / "try"), "--client", "ann")
    assert made.code == 0
    folder = tmp_path / "try"
    for key in folder.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    config = ["--config", str(folder / "placet.toml"), "--store", "memory"]
    (tmp_path / "all.cedar").write_text("permit (principal, action, resource);")
    with serving(tmp_path, *config) as (address, _):
        to = ["--address", address, *_proofs(folder, "ann")]
        assert shell("policy", "push", str(tmp_path / "all.cedar"), "-t", TENANT, *to).code == 0
        history = shell("policy", "history", "-t", TENANT, "--json", *to)
        assert history.json[0]["author"] == "spiffe://placet.dev/ann"
        asked = ["evaluate", "-t", TENANT, "-s", "User::a", "-a", "view", "-r", "Doc::b"]
        assert shell(*asked, *to).code == 0
        for wrong in (
            [],
            ["--tls-ca", str(folder / "ca.pem")],
            ["--tls", *_proofs(folder, "ann")[2:]],
        ):
            refused = shell(*asked, "--address", address, *wrong)
            assert refused.code == 5
            assert "--tls-ca" in refused.err


def test_nothing_that_is_there_is_replaced(shell: Shell, tmp_path: Path) -> None:
    (tmp_path / "server.key").write_text("precious")
    refused = shell("tls", "dev", "--out", str(tmp_path))
    assert refused.code == 2
    assert "is there already" in refused.err
    assert (tmp_path / "server.key").read_text() == "precious"
    assert [path.name for path in tmp_path.iterdir()] == ["server.key"]


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--tls-cert", "a.pem"], "`cert` and `key` go together"),
        (["--tls-ca", "none.pem"], "cannot read `none.pem`"),
        (["--token-file", "none"], "cannot read the token in `none`"),
    ],
)
def test_what_cannot_be_used_is_told_of(shell: Shell, arguments: list[str], says: str) -> None:
    refused = shell("cache", *arguments)
    assert refused.code == 2
    assert says in refused.err


def test_a_token_comes_from_a_file_or_a_variable(
    shell: Shell, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    issuer = Issuer()
    identity = identity_config(
        tmp_path, entry("publish", "read", names=["ann"], tenants=[TENANT]), issuer.jwks
    )
    lines = [
        "[identity]",
        f'access = "{identity.access}"',
        f'jwks = "{identity.jwks}"',
        f'issuer = "{identity.issuer}"',
        f'audience = "{identity.audience}"',
    ]
    (tmp_path / "placet.toml").write_text("\n".join(lines))
    (tmp_path / "all.cedar").write_text("permit (principal, action, resource);")
    (tmp_path / "token").write_text(issuer.token("ann"))
    with serving(tmp_path, "--config", "placet.toml", "--store", "memory") as (address, _):
        push = ["policy", "push", str(tmp_path / "all.cedar"), "-t", TENANT, "--address", address]
        refused = shell(*push)
        assert refused.code == 1
        assert "has to know who calls" in refused.err
        assert shell(*push, "--token-file", str(tmp_path / "token")).code == 0
        monkeypatch.setenv("PLACET_TOKEN", issuer.token("ann"))
        history = shell("policy", "history", "-t", TENANT, "--json", "--address", address)
        assert history.json[0]["author"] == "ann"
        monkeypatch.setenv("PLACET_TOKEN", issuer.token("eve"))
        denied = shell("policy", "list", "-t", TENANT, "--address", address)
        assert denied.code == 1
        assert "`eve` may not read for tenant `acme`" in denied.err
