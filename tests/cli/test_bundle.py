from __future__ import annotations

import stat
import sys
from pathlib import Path

import pytest

from tests.cli.shell import Shell
from tests.cli.test_documents import write

ALLOW = "permit (principal, action, resource);"
FORBID = "forbid (principal, action, resource);"


@pytest.fixture
def keys(shell: Shell) -> str:
    """A key pair named `k`; its id."""
    made = shell("bundle", "keygen", "-o", "k", "--json")
    assert made.code == 0
    key_id: str = made.json["key_id"]
    return key_id


def entries(shell: Shell, file: str) -> list[object]:
    found: list[object] = shell("bundle", "show", file, "--json").json["entries"]
    return found


# --------------------------------------------------------------------------------------- keys


def test_keys_are_made_and_never_overwritten(shell: Shell, tmp_path: Path) -> None:
    made = shell("bundle", "keygen")
    private = tmp_path / "placet-bundle.key.pem"
    text = private.read_bytes()
    again = shell("bundle", "keygen")
    private.unlink()
    half = shell("bundle", "keygen")

    assert made.code == 0
    assert stat.S_IMODE((tmp_path / "placet-bundle.pub.pem").stat().st_mode) & 0o600 == 0o600
    assert text.startswith(b"-----BEGIN PRIVATE KEY-----\n")
    assert (again.code, half.code) == (1, 1)
    assert again.err == (
        "error: `placet-bundle.key.pem` is there already, and is not overwritten\n"
    )
    assert "`placet-bundle.pub.pem` is there already" in half.err
    assert not private.exists()


def test_only_its_owner_can_read_a_private_key(keys: str, tmp_path: Path) -> None:
    assert stat.S_IMODE((tmp_path / "k.key.pem").stat().st_mode) == 0o600


# ------------------------------------------------------------------------- there and back again


def test_a_tenant_goes_into_a_file_and_comes_out_as_it_was(
    starter: Path, at_server: Shell, keys: str, tenant: str
) -> None:
    revision = at_server("policy", "push", ".", "-m", "first", "--json").json["revision"]
    exported = at_server("bundle", "export", "-o", "a.bundle", "--key", "k.key.pem")
    other = f"{tenant}-other"
    to_other = ("-t", other, "--any-tenant", "--key", "k.pub.pem")

    verified = at_server("bundle", "verify", "a.bundle", "--key", "k.pub.pem", "--json")
    tried = at_server("bundle", "import", "a.bundle", *to_other, "--dry-run")
    nothing_yet = at_server("policy", "list", "-t", other)
    imported = at_server("bundle", "import", "a.bundle", *to_other, "-m", "for tests")
    again = at_server("bundle", "import", "a.bundle", *to_other)
    at_server("bundle", "export", "-t", other, "-o", "b.bundle")

    assert exported.code == verified.code == tried.code == imported.code == again.code == 0
    assert verified.json["revision"] == revision
    assert verified.json["key_id"] == keys
    assert verified.json["items"] == 14
    assert "dry run: 14 changes; nothing was published" in tried.out
    assert nothing_yet.code == 1
    assert "14 written, 0 removed" in imported.out
    assert "nothing to publish" in again.out
    assert entries(at_server, "a.bundle") == entries(at_server, "b.bundle")
    (line,) = at_server("policy", "history", "-t", other, "--json").json
    digest = verified.json["digest"]
    assert line["message"] == (
        f"for tests; bundle {digest[:10]}: tenant `{tenant}` at revision {revision}, first "
        f"(sha256 {digest}, signed with {keys})"
    )


def test_the_same_revision_makes_the_same_bytes(
    tmp_path: Path, at_server: Shell, keys: str
) -> None:
    write(tmp_path, a__cedar=ALLOW)
    revision = at_server("policy", "push", "a.cedar", "--json").json["revision"]
    export = ("bundle", "export", "--key", "k.key.pem", "-o")
    at_server(*export, "1.bundle")
    write(tmp_path, b__cedar=ALLOW)
    at_server("policy", "push", "b.cedar")
    at_server(*export, "2.bundle", "--revision", revision)
    at_server(*export, "3.bundle")

    first, second, third = (Path(f"{number}.bundle").read_bytes() for number in (1, 2, 3))
    assert first == second != third


def test_a_folder_makes_the_bundle_its_copy_on_a_server_makes(
    starter: Path, at_server: Shell, keys: str
) -> None:
    at_server("policy", "push", ".")
    at_server("bundle", "export", "-o", "server.bundle")

    exported = at_server("bundle", "export", "--from", ".", "-o", "folder.bundle", "--json")

    assert exported.code == 0
    assert exported.json["revision"] == 0
    assert exported.json["created"] is None
    assert entries(at_server, "folder.bundle") == entries(at_server, "server.bundle")


def test_a_time_can_be_given(starter: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "86400")
    given = shell("bundle", "export", "--from", ".", "-o", "a.bundle", "--json")
    monkeypatch.setenv("SOURCE_DATE_EPOCH", "soon")
    wrong = shell("bundle", "export", "--from", ".", "-o", "b.bundle")

    assert given.json["created"] == "1970-01-02T00:00:00+00:00"
    assert (wrong.code, Path("b.bundle").exists()) == (2, False)
    assert "SOURCE_DATE_EPOCH is `soon`" in wrong.err


def test_what_the_bundle_of_a_tenant_does_not_have_goes_away(
    tmp_path: Path, at_server: Shell, keys: str
) -> None:
    """Entities too: a group that is left over can give somebody what the bundle does not."""
    write(tmp_path, a__cedar=ALLOW)
    at_server("policy", "push", "a.cedar")
    at_server("bundle", "export", "-o", "a.bundle", "--key", "k.key.pem")
    write(tmp_path, b__yaml="entities: [{uid: User::a}]\nsettings: {allow_empty_ids: true}")
    at_server("policy", "push", "b.yaml")

    arguments = ("bundle", "import", "a.bundle", "--key", "k.pub.pem")
    tried = at_server(*arguments, "--dry-run", "--json")
    imported = at_server(*arguments)

    assert [change["change"] for change in tried.json["changes"]] == ["removed", "removed"]
    assert "0 written, 2 removed" in imported.out
    assert [item["name"] for item in at_server("policy", "list", "--json").json] == ["a"]


def test_a_bundle_of_a_folder_leaves_to_others_what_it_has_none_of(
    tmp_path: Path, at_server: Shell
) -> None:
    write(tmp_path, e__yaml="entities: [{uid: User::a}]", p___a__cedar=ALLOW)
    at_server("policy", "push", "e.yaml")
    at_server("bundle", "export", "--from", "p", "-o", "p.bundle")

    imported = at_server("bundle", "import", "p.bundle", "--allow-unsigned")

    assert "1 written, 0 removed" in imported.out


def test_the_platform_has_bundles_too(tmp_path: Path, at_server: Shell, keys: str) -> None:
    write(tmp_path, a__cedar=ALLOW)
    exported = at_server(
        "bundle", "export", "--from", ".", "--platform", "-o", "a.bundle", "--key", "k.key.pem"
    )
    tried = at_server(
        "bundle", "import", "a.bundle", "--platform", "--key", "k.pub.pem", "--dry-run"
    )

    assert "1 item of the platform, sha256 " in exported.out
    assert "+ policy a" in tried.out
    assert "nothing was published" in tried.out


# ------------------------------------------------------------------------------ what is refused


@pytest.fixture
def signed(tmp_path: Path, at_server: Shell, keys: str, tenant: str) -> Path:
    """A bundle of the tenant, signed with `k`; the tenant is not there yet."""
    write(tmp_path, p___a__cedar=ALLOW)
    arguments = ("--from", "p", "-t", tenant, "-o", "a.bundle", "--key", "k.key.pem")
    assert at_server("bundle", "export", *arguments).code == 0
    return tmp_path / "a.bundle"


def test_a_bundle_that_was_changed_is_refused(signed: Path, at_server: Shell) -> None:
    data = signed.read_bytes()
    signed.write_bytes(data.replace(b"permit", b"forbid"))

    for command in ("verify", "import"):
        result = at_server("bundle", command, signed, "--key", "k.pub.pem")
        assert (result.code, result.out) == (1, "")
        assert result.err.startswith(
            f"error: `{signed}` is refused: policy `a` is not what the manifest says"
        )
    assert at_server("bundle", "show", signed).code == 1
    assert at_server("bundle", "import", signed, "--allow-unsigned").code == 1
    assert at_server("policy", "list").code == 1


def test_a_key_that_is_not_trusted_is_named(signed: Path, at_server: Shell, keys: str) -> None:
    other = at_server("bundle", "keygen", "-o", "other", "--json").json["key_id"]

    refused = at_server("bundle", "import", signed, "--key", "other.pub.pem")
    rotated = at_server("bundle", "import", signed, "--key", "other.pub.pem", "--key", "k.pub.pem")

    assert refused.code == 1
    assert f"is signed with key `{keys}`, which is not trusted; trusted: `{other}`" in refused.err
    assert rotated.code == 0


def test_a_bundle_that_nobody_signed_is_refused_unless_that_is_allowed(
    signed: Path, at_server: Shell, tenant: str
) -> None:
    at_server("bundle", "export", "--from", "p", "-t", tenant, "-o", "plain.bundle")

    refused = at_server("bundle", "import", "plain.bundle", "--key", "k.pub.pem")
    unnamed = at_server("bundle", "import", "plain.bundle")
    allowed = at_server("bundle", "import", "plain.bundle", "--allow-unsigned")

    assert refused.err == "error: `plain.bundle` is refused: the bundle is not signed\n"
    assert (refused.code, unnamed.code, allowed.code) == (1, 2, 0)
    assert "name a public key with --key, or --allow-unsigned" in unnamed.err
    (line,) = at_server("policy", "history", "--json").json
    assert line["message"].endswith(", signature not checked)")


def test_a_bundle_of_another_tenant_is_refused_unless_that_is_allowed(
    signed: Path, at_server: Shell, tenant: str
) -> None:
    arguments = ("bundle", "import", signed, "-t", f"{tenant}-b", "--key", "k.pub.pem")

    refused = at_server(*arguments)
    allowed = at_server(*arguments, "--any-tenant")

    assert (refused.code, allowed.code) == (1, 0)
    assert f"is of tenant `{tenant}`, not of tenant `{tenant}-b`; --any-tenant" in refused.err


def test_what_does_not_compile_there_is_told_by_its_place_here(
    tmp_path: Path, at_server: Shell, keys: str
) -> None:
    write(tmp_path, s__cedarschema="entity U; action a appliesTo {principal: U, resource: U};")
    at_server("policy", "push", "s.cedarschema")
    write(tmp_path, p___a__cedar="permit (principal, action, resource) when { principal.nope };")
    at_server("bundle", "export", "--from", "p", "-o", "a.bundle", "--key", "k.key.pem")

    result = at_server("bundle", "import", "a.bundle", "--key", "k.pub.pem")

    assert (result.code, result.out) == (1, "")
    assert result.err.startswith("p/a.cedar:1:")


def test_a_folder_that_does_not_compile_makes_no_bundle(tmp_path: Path, shell: Shell) -> None:
    write(tmp_path, a__cedar="permit (principal);")

    result = shell("bundle", "export", "--from", ".", "-o", "a.bundle")

    assert result.code == 1
    assert result.err.startswith("a.cedar:1:1: error")
    assert not Path("a.bundle").exists()


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["verify", "no.bundle", "--key", "k.pub.pem"], 2, "`no.bundle` cannot be read"),
        (["verify", "a.bundle"], 2, "name a public key with --key"),
        (["verify", "a.bundle", "--key", "no.pem"], 2, "`no.pem` cannot be read"),
        (["verify", "a.bundle", "--key", "a.bundle"], 2, "`a.bundle`: this is no public key"),
        (["verify", "k.pub.pem", "--key", "k.pub.pem"], 1, "`k.pub.pem` is refused: this is no"),
        (["export", "-o", "x", "--from", "p", "--revision", "3"], 2, "`--revision` is for what"),
        (["export", "-o", "x", "--from", "nothing"], 2, "`nothing` is not there"),
        (["export", "-o", "x", "--key", "k.pub.pem"], 2, "`k.pub.pem`: this is no private key"),
        (["export", "-o", "no/x", "--from", "p"], 2, "`no/x` cannot be written"),
        (["export", "-o", "x", "-t", "nobody"], 1, "tenant `nobody` is not known"),
    ],
)
def test_what_is_wrong_is_said(
    signed: Path, at_server: Shell, arguments: list[str], code: int, message: str
) -> None:
    result = at_server("bundle", *arguments)

    assert (result.code, result.out) == (code, "")
    assert message in result.err
    assert not Path("x").exists()


def test_without_cryptography_it_says_what_to_install(
    starter: Path, shell: Shell, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "cryptography"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "cryptography", None)

    keygen = shell("bundle", "keygen")
    unsigned = shell("bundle", "export", "--from", ".", "-o", "a.bundle")

    assert keygen.code == 1
    assert "making keys needs `pip install 'placet[signing]'`" in keygen.err
    assert unsigned.code == 0
