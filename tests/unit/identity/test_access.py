"""What an access file says, and what it must not leave open."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from placet_server.config import read_config
from placet_server.identity.access import AccessList, AccessRefused, Rights, read_access
from placet_server.identity.permissions import Permission
from placet_server.identity.principals import ANONYMOUS, Kind, Principal

_DECIDE, _READ = frozenset({Permission.DECIDE}), frozenset({Permission.READ})
_NODE = frozenset({Permission.NODE})


def _access(tmp_path: Path, text: str) -> AccessList:
    (tmp_path / "access.toml").write_text(text)
    return read_access(tmp_path / "access.toml")


def _token(name: str = "ann", groups: tuple[str, ...] = (), **claims: object) -> Principal:
    return Principal(kind=Kind.TOKEN, name=name, groups=frozenset(groups), claims=claims)


def _certificate(name: str) -> Principal:
    return Principal(kind=Kind.CERTIFICATE, name=name)


def _tenants(rights: Rights, permissions: frozenset[Permission] = _DECIDE) -> set[str]:
    reach = rights.reach(permissions)
    return {owner for owner in ("acme", "acme-eu", "other", "") if owner in reach}


@pytest.mark.parametrize(
    ("whom", "matches", "others"),
    [
        ('names = ["ann"]', [_token(), _certificate("ann")], [_token("anna"), ANONYMOUS]),
        ('names = ["an*"]', [_token("anna")], [_token("bob"), ANONYMOUS]),
        ('names = ["*"]', [_token("x"), _certificate("y")], [ANONYMOUS]),
        ('groups = ["lead*"]', [_token(groups=("leads",))], [_token(), _certificate("leads")]),
        (
            'claims = { dep = ["it", "op-*"], on = "yes" }',
            [_token(dep="it", on="yes"), _token(dep=["x", "op-1"], on=["yes"])],
            [_token(dep="it"), _token(dep="hr", on="yes"), _token(dep=7, on="yes"), _token()],
        ),
        (
            'names = ["ann"]\ngroups = ["leads"]',
            [_token(groups=("leads",))],
            [_token(), _token("bob", groups=("leads",))],
        ),
        ('names = ["ann"]\nkind = "token"', [_token()], [_certificate("ann")]),
        ('names = ["ann"]\nkind = "certificate"', [_certificate("ann")], [_token()]),
        ("anonymous = true", [ANONYMOUS], [_token(), _certificate("")]),
    ],
)
def test_whom_an_entry_is_about(
    tmp_path: Path, whom: str, matches: list[Principal], others: list[Principal]
) -> None:
    given = f'[[access]]\n{whom}\npermissions = ["decide"]\ntenants = ["acme"]'
    access = _access(tmp_path, given)
    for principal in matches:
        assert _tenants(access.rights(principal)) == {"acme"}, principal
    for principal in others:
        assert not access.rights(principal).reach(_DECIDE), principal


@pytest.mark.parametrize(
    ("given", "tenants"),
    [
        ('tenants = ["acme"]', {"acme"}),
        ('tenants = ["acme*"]', {"acme", "acme-eu"}),
        ('tenants = ["*"]', {"acme", "acme-eu", "other"}),
        ("platform = true", {""}),
        ('tenants = ["*"]\nplatform = true', {"acme", "acme-eu", "other", ""}),
        ("", set()),
    ],
)
def test_for_whom_an_entry_gives(tmp_path: Path, given: str, tenants: set[str]) -> None:
    """All tenants are not the platform, which decides for all of them."""
    text = f'[[access]]\nnames = ["ann"]\npermissions = ["decide"]\n{given}'
    assert _tenants(_access(tmp_path, text).rights(_token())) == tenants


def test_entries_add_up_and_each_for_itself(tmp_path: Path) -> None:
    text = """
        [[access]]
        names = ["ann"]
        permissions = ["decide"]
        tenants = ["acme"]
        member_of = ["leads"]
        [[access]]
        groups = ["staff"]
        permissions = ["read"]
        tenants = ["other"]
    """
    rights = _access(tmp_path, text).rights(_token(groups=("staff",)))
    assert _tenants(rights) == {"acme"}
    assert _tenants(rights, _READ) == {"other"}
    assert _tenants(rights, _DECIDE | _READ) == {"acme", "other"}
    assert rights.groups == {"staff", "leads"}


def test_a_claim_may_say_whose_a_caller_is(tmp_path: Path) -> None:
    text = '[[access]]\nnames = ["*"]\npermissions = ["decide"]\ntenants_claim = "org"'
    access = _access(tmp_path, text)
    for named, tenants in (("acme", {"acme"}), (["acme", "other"], {"acme", "other"})):
        assert _tenants(access.rights(_token(org=named))) == tenants
    # A name is a name: neither a pattern, nor the platform's.
    for odd in ("*", "acme*", "", [""], 7, None, {"acme": 1}):
        assert _tenants(access.rights(_token(org=odd))) == set()


def test_regions_hold_for_where_data_goes(tmp_path: Path) -> None:
    text = """
        [[access]]
        names = ["node"]
        permissions = ["node"]
        tenants = ["acme"]
        regions = ["eu-west"]
        [[access]]
        names = ["node"]
        permissions = ["node"]
        tenants = ["other"]
    """
    rights = _access(tmp_path, text).rights(_certificate("node"))
    for region, has_acme in (("eu-west", True), ("us-east", False), ("", False), (None, True)):
        reach = rights.reach(_NODE, region)
        assert ("acme" in reach) is has_acme
        assert "other" in reach


def test_what_callers_say_does_not_fill_the_memory(tmp_path: Path) -> None:
    text = '[[access]]\nnames = ["*"]\npermissions = ["node"]\ntenants = ["*"]\nregions = ["eu"]'
    rights = _access(tmp_path, text).rights(_token())
    reaches = {id(rights.reach(_NODE, f"made-up-{n}")) for n in range(100)}
    assert len(reaches) == 1


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "has to have entries"),
        ("access = []", "has to have entries"),
        ("[access]\nnames = ['a']", "has to have entries"),
        ("access = [1]", "is not under"),
        ("[[access]]\nnames = ['a']\n[other]", "nothing else"),
        ("[[access]]\nnames = ", "not valid TOML"),
        ("[[access]]\ntenants = ['a']", "does not say whom"),
        ("[[access]]\nnames = []", "does not say whom"),
        ("[[access]]\nname = ['a']", "did you mean `names`"),
        ("[[access]]\nnames = 7", "not a list of texts"),
        ("[[access]]\nnames = ['']", "not a list of texts"),
        ("[[access]]\nnames = ['a*b']", "at the end only"),
        ("[[access]]\nnames = ['a']\npermissions = ['write']", "use decide, read, publish"),
        ("[[access]]\nnames = ['a']\nkind = 'password'", "use certificate or token"),
        ("[[access]]\nnames = ['a']\nkind = 'anonymous'", "use certificate or token"),
        ("[[access]]\nnames = ['a']\nplatform = 'yes'", "neither true nor false"),
        ("[[access]]\nnames = ['a']\nanonymous = true", "asks who they are"),
        ("[[access]]\nclaims = 'x'", "not a table"),
        ("[[access]]\nclaims = { dep = [] }", "not a table"),
        ("[[access]]\nnames = ['a']\ntenants_claim = 7", "not a text"),
    ],
)
def test_what_is_not_clear_is_refused(tmp_path: Path, text: str, says: str) -> None:
    with pytest.raises(AccessRefused, match=says):
        _access(tmp_path, text)


def test_a_file_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(AccessRefused, match="No such file"):
        read_access(tmp_path / "none.toml")


def test_the_documented_files_are_good(tmp_path: Path) -> None:
    """What docs/identity.md shows can be used as it stands there."""
    documentation = Path(__file__).parents[3] / "docs" / "identity.md"
    shown = re.findall(r"```toml\n(.*?)```", documentation.read_text(), re.DOTALL)
    access = [text for text in shown if "[[access]]" in text]
    configuration = "\n".join(text for text in shown if "[[access]]" not in text)
    assert len(access) == 1
    assert len(_access(tmp_path, access[0]).entries) == access[0].count("[[access]]")
    (tmp_path / "placet.toml").write_text(configuration)
    config, _ = read_config(file=tmp_path / "placet.toml", environment={})
    assert config.tls.client_ca
    assert config.identity.jwks
