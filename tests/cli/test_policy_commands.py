from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.shell import Shell, serving
from tests.cli.test_documents import write

ALLOW = "permit (principal, action, resource);"


def test_push_publishes_a_folder_and_says_what_changed(starter: Path, at_server: Shell) -> None:
    first = at_server("policy", "push", ".", "-m", "first policies")
    again = at_server("policy", "push", ".")

    assert first.code == 0
    assert "+ policy invoices/pay-large" in first.out
    assert '+ entity User::"alice"' in first.out
    assert "14 written, 0 removed" in first.out
    assert again.code == 0
    assert "nothing to publish" in again.out


def test_push_of_a_folder_removes_what_is_no_longer_in_it(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW, b__cedar=ALLOW, c__cedar=ALLOW)
    at_server("policy", "push", ".")
    (tmp_path / "a.cedar").unlink()
    write(tmp_path, b__cedar=f"// wider\n{ALLOW}")

    kept = at_server("policy", "push", ".", "--no-replace")
    pushed = at_server("policy", "push", ".")

    assert "~ policy b  cedar, position" in kept.out
    assert "removed" in kept.out
    assert "- policy" not in kept.out
    assert "- policy a" in pushed.out
    assert "0 written, 1 removed" in pushed.out


def test_push_of_a_folder_without_entities_leaves_them_and_says_so(
    tmp_path: Path, at_server: Shell
) -> None:
    """They may come from elsewhere. But who has deleted the file may think that they are gone."""
    document = '[{"uid": {"type": "User", "id": "ann"}, "attrs": {}, "parents": []}]'
    write(tmp_path, a__cedar=ALLOW, entities__json=document)
    first = at_server("policy", "push", ".")
    (tmp_path / "entities.json").unlink()
    kept = at_server("policy", "push", ".")
    write(tmp_path, entities__json="[]")
    tried = at_server("policy", "push", ".", "--dry-run")
    added = at_server("policy", "push", ".", "--no-replace")
    removed = at_server("policy", "push", ".")
    again = at_server("policy", "push", ".")

    assert "says nothing of entities" not in first.err
    assert "nothing to publish" in kept.out
    assert "`entities: []` in a document removes them" in " ".join(kept.err.split())
    assert '- entity User::"ann"' in tried.out
    assert "nothing to publish" in added.out
    assert '- entity User::"ann"' in removed.out
    assert "nothing to publish" in again.out
    assert removed.err == again.err == ""


def test_push_of_a_file_leaves_the_rest_alone(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW, b__cedar=ALLOW)
    at_server("policy", "push", ".")
    write(tmp_path, c__cedar=ALLOW)

    at_server("policy", "push", "c.cedar")
    names = [item["name"] for item in at_server("policy", "list", "--json").json]
    replaced = at_server("policy", "push", "c.cedar", "--replace")

    assert names == ["a", "b", "c"]
    assert "- policy a" in replaced.out


def test_push_has_json(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW)

    document = at_server("policy", "push", ".", "--json").json

    assert document["upserts"] == 1
    assert document["changes"] == [{"change": "added", "kind": "policy", "name": "a"}]
    assert document["warnings"] == []


def test_push_that_is_refused_shows_the_place_and_stores_nothing(
    starter: Path, at_server: Shell
) -> None:
    at_server("policy", "push", ".")
    path = starter / "policies" / "invoices.cedar"
    path.write_text(path.read_text().replace("resource.disputed", "resource.dispued"))

    result = at_server("policy", "push", ".")

    assert (result.code, result.out) == (1, "")
    assert result.err == (
        "policies/invoices.cedar:35:17: error: policy `invoices/disputed` does not compile: "
        "attribute `dispued` on entity type `Invoice` not found\n"
        "   35 | when { resource.dispued };\n"
        "      |                 ^\n"
    )
    assert len(at_server("policy", "history", "--json").json) == 1


def test_push_shows_what_only_a_server_can_know(tmp_path: Path, at_server: Shell) -> None:
    """The link's template is not in the folder, but at the server."""
    write(tmp_path, t__cedar="permit (principal == ?principal, action, resource);")
    at_server("policy", "push", "t.cedar")
    write(tmp_path, l__yaml="links:\n  - {id: l, template: t, principal: User::a}\n")

    linked = at_server("policy", "push", "l.yaml")
    wrong = at_server("policy", "push", "l.yaml", "--replace")

    assert linked.code == 0
    assert wrong.code == 1
    assert wrong.err.startswith("l.yaml:2:10: error: template link `l` is of template `t`")


def test_push_on_top_of_another_revision_is_refused(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW)
    revision = at_server("policy", "push", ".", "--expected-revision", "0", "--json").json[
        "revision"
    ]
    write(tmp_path, b__cedar=ALLOW)

    conflict = at_server("policy", "push", ".", "--expected-revision", "0")
    pushed = at_server("policy", "push", ".", "--expected-revision", revision)

    assert conflict.code == 1
    assert "expected revision 0 of `tenant-" in conflict.err
    assert pushed.code == 0


def test_a_dry_run_shows_the_changes_and_makes_none(tmp_path: Path, at_server: Shell) -> None:
    write(
        tmp_path,
        a__cedar=ALLOW,
        b__cedar=ALLOW,
        c__yaml="entities: [{uid: User::a, attrs: {n: 1, t: [1, {b: true}]}}]",
    )
    new = at_server("policy", "push", ".", "--dry-run")
    assert "+ policy a" in new.out
    assert "dry run: 3 changes; nothing was published" in new.out
    at_server("policy", "push", ".")
    assert "no changes" in at_server("policy", "push", ".", "--dry-run").out
    (tmp_path / "a.cedar").unlink()
    write(
        tmp_path,
        b__cedar=f"// more\n{ALLOW}",
        c__yaml="entities: [{uid: User::a, attrs: {n: true, t: [1, {b: true}]}}]",
    )

    planned = at_server("policy", "push", ".", "--dry-run", "--json").json
    broken = at_server("policy", "push", ".", "--dry-run", "--no-replace", "--json").json

    assert planned["changes"] == [
        {"change": "removed", "kind": "policy", "name": "a"},
        {"change": "changed", "kind": "policy", "name": "b"},
        {"change": "changed", "kind": "entity", "name": 'User::"a"'},
    ]
    assert len(broken["changes"]) == 2
    assert len(at_server("policy", "history", "--json").json) == 1
    # What a dry run promised is what a push does.
    pushed = at_server("policy", "push", ".", "--json").json
    assert pushed["changes"] == planned["changes"]


def test_a_dry_run_of_what_does_not_compile_fails(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar="permit (principal, action, resorce);")

    result = at_server("policy", "push", ".", "--dry-run", "--json")

    assert result.code == 1
    assert result.json["valid"] is False
    assert result.json["problems"][0]["file"] == "a.cedar"


def test_the_platform_has_policies_of_its_own(tmp_path: Path, shell: Shell) -> None:
    write(
        tmp_path,
        a__yaml="policies: [{id: none, layer: platform, cedar: "
        "'forbid (principal, action == Action::\"never\", resource);'}]",
    )

    # They apply to every tenant, so that this server is for nobody else.
    with serving(tmp_path, "--store", "memory") as (address, process):
        pushed = shell("policy", "push", ".", "--platform", "--address", address)
        listed = shell("policy", "list", "--platform", "--address", address)
        refused = shell("policy", "push", ".", "-t", "some", "--address", address)
        process.end()

    assert pushed.code == 0
    assert "of the platform" in pushed.out
    assert "platform" in listed.out
    assert refused.code == 1
    assert "publish them without a tenant" in refused.err
    assert refused.err.startswith("a.yaml:1:17: error: ")


@pytest.mark.parametrize("where", [[], ["--server"]])
def test_validate_says_the_same_here_and_at_the_server(
    starter: Path, at_server: Shell, where: list[str]
) -> None:
    good = at_server("policy", "validate", ".", *where)
    path = starter / "policies" / "invoices.cedar"
    path.write_text(path.read_text().replace("resource.disputed", "resource.dispued"))
    bad = at_server("policy", "validate", ".", *where)
    as_json = at_server("policy", "validate", ".", "--json", *where)

    assert (good.code, good.out) == (0, "valid: 6 policies and 6 entities\n")
    assert (bad.code, bad.out) == (1, "")
    assert "policies/invoices.cedar:35:17: error: policy `invoices/disputed`" in bad.err
    assert as_json.json == {
        "valid": False,
        "problems": [
            {
                "severity": "error",
                "reason": "POLICY_NOT_IN_SCHEMA",
                "message": "policy `invoices/disputed` does not compile: attribute `dispued` on "
                "entity type `Invoice` not found",
                "file": "policies/invoices.cedar",
                "line": 35,
                "column": 17,
            }
        ],
    }


def test_what_is_only_doubtful_is_a_warning(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__yaml=f"policies: [{{id: p, layer: agent, cedar: '{ALLOW}'}}]")

    checked = at_server("policy", "validate", ".")
    pushed = at_server("policy", "push", ".")

    for result in (checked, pushed):
        assert result.code == 0
        assert "a.yaml:1:42: warning: policy `p` is doubtful" in result.err


SHADOWED = """\
@id("clerks")
permit (principal in Role::"clerk", action, resource);

@id("freeze")
forbid (principal, action, resource);
"""


@pytest.mark.parametrize(
    "command",
    [["push"], ["push", "--dry-run"], ["validate"], ["validate", "--server"]],
    ids=" ".join,
)
def test_a_policy_without_a_part_in_decisions_is_warned_of(
    tmp_path: Path, at_server: Shell, command: list[str]
) -> None:
    write(tmp_path, a__cedar=SHADOWED)

    result = at_server("policy", *command, ".")

    assert result.code == 0
    assert result.err == (
        "a.cedar:1:1: warning: policy `clerks` is doubtful: forbid `freeze` (at a.cedar:4:1) "
        "forbids all it permits; narrow the forbid, or remove the permit\n"
        '    1 | @id("clerks")\n'
        "      | ^\n"
    )


def test_a_push_warns_of_policies_it_does_not_write_if_it_is_to_blame(
    tmp_path: Path, at_server: Shell
) -> None:
    write(tmp_path, a__cedar=SHADOWED.replace("forbid (principal,", "forbid (principal is Robot,"))
    quiet = at_server("policy", "push", "a.cedar")
    write(tmp_path, b__cedar='@id("stop") forbid (principal, action, resource);')
    loud = at_server("policy", "push", "b.cedar", "--json").json
    write(tmp_path, c__cedar='@id("other") permit (principal == User::"eve", action, resource);')
    later = at_server("policy", "push", "c.cedar", "--json").json

    assert quiet.err == ""
    assert [(w["reason"], w["file"], w["line"], w["column"]) for w in loud["warnings"]] == [
        ("PERMIT_SHADOWED", "a.cedar", 1, 1)
    ]
    assert "forbid `stop` (at b.cedar:1:1)" in loud["warnings"][0]["message"]
    assert [w["message"].split("`")[1] for w in later["warnings"]] == ["other"]


def test_validate_looks_at_the_platforms_policies_too(tmp_path: Path, shell: Shell) -> None:
    platform = "permit (principal, action, resource) when { false };"
    write(
        tmp_path,
        a__yaml=f"policies: [{{id: never, layer: platform, cedar: '{platform}'}}]",
        b__cedar=ALLOW,
    )

    result = shell("policy", "validate", ".", "--json")

    (problem,) = result.json["problems"]
    assert (problem["reason"], problem["file"]) == ("POLICY_NEVER_MATCHES", "a.yaml")


def test_list_shows_every_kind_and_can_be_narrowed(starter: Path, at_server: Shell) -> None:
    at_server("policy", "push", ".")

    everything = at_server("policy", "list")
    some = at_server("policy", "list", "--prefix", "invoices/pay", "--kind", "policy", "--json")

    for words in ("invoices/view-all", 'User::"alice"', "schema", "settings", "18 lines"):
        assert words in everything.out
    assert [item["name"] for item in some.json] == ["invoices/pay-large", "invoices/pay-small"]


def test_get_prints_what_was_published_to_the_letter(tmp_path: Path, at_server: Shell) -> None:
    text = f'// why\n@id("a/b")\n@reason("tab\\there")\n{ALLOW}'
    schema = "entity U;\naction v appliesTo { principal: U, resource: U };\n"
    write(tmp_path, a__cedar=text, b__cedarschema=schema)
    at_server("policy", "push", ".")

    assert at_server("policy", "get", "a/b").out == f"{text}\n"
    assert at_server("policy", "get", "--schema").out == schema


def test_get_knows_links_and_suggests_what_is_there(tmp_path: Path, at_server: Shell) -> None:
    write(
        tmp_path,
        a__yaml="""
policies:
  - {id: t, cedar: 'permit (principal == ?principal, action, resource);'}
  - {id: other, cedar: 'permit (principal, action, resource);'}
links: [{id: ann, template: t, principal: User::ann}]
""",
    )
    at_server("policy", "push", ".")

    both = at_server("policy", "get", "other", "ann")
    typo = at_server("policy", "get", "othr")

    assert "// other\npermit (principal, action, resource);" in both.out
    assert '// link ann of template t, principal = User::"ann"' in both.out
    assert typo.code == 1
    assert "no policy or link `othr` is there; did you mean `other`?" in typo.err


def test_get_can_look_back(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW)
    first = at_server("policy", "push", ".", "--json").json["revision"]
    write(tmp_path, a__cedar="forbid (principal, action, resource);")
    at_server("policy", "push", ".")

    assert at_server("policy", "get", "a", "--revision", first).out == f"{ALLOW}\n"


def test_history_and_diff_tell_what_happened(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=f"// one\n{ALLOW}", b__cedar=ALLOW)
    first = at_server("policy", "push", ".", "-m", "the first", "--json").json["revision"]
    write(tmp_path, a__cedar=f"// two\n{ALLOW}", c__yaml="entities: [{uid: User::a}]")
    (tmp_path / "b.cedar").unlink()
    second = at_server("policy", "push", ".", "-m", "the second", "--json").json["revision"]

    history = at_server("policy", "history")
    of_b = at_server("policy", "history", "--id", "b", "--json").json
    one = at_server("policy", "history", "--limit", "1", "--json").json
    last = at_server("policy", "diff")
    named = at_server("policy", "diff", "--from", first, "--to", second, "--json").json
    same = at_server("policy", "diff", "--from", second)

    assert history.out.index("the second") < history.out.index("the first")
    assert "+2 -1" in history.out
    assert [entry["revision"] for entry in of_b] == [second, first]
    assert [entry["message"] for entry in one] == ["the second"]
    assert f"revision {second - 1} to {second}" in last.err
    assert "-// one\n+// two\n" in last.out
    assert "removed policy b\n" in last.out
    assert 'added entity User::"a"\n' in last.out
    assert [
        (change["before"] or {}).get("name", (change["after"] or {}).get("name"))
        for change in named["changes"]
    ] == ["a", "b", 'User::"a"']
    assert (same.out, "they are the same" in same.err) == ("", True)


def test_what_is_not_there_is_told(at_server: Shell) -> None:
    for command in (["list"], ["history"], ["diff"], ["get", "x"]):
        result = at_server("policy", *command)

        assert result.code == 1
        assert "is not known; publish its policies first" in result.err


def test_a_revision_that_is_not_there_is_told(tmp_path: Path, at_server: Shell) -> None:
    write(tmp_path, a__cedar=ALLOW)
    at_server("policy", "push", ".")

    result = at_server("policy", "diff", "--from", "999999999")

    assert result.code == 1
    assert "does not exist yet" in result.err
