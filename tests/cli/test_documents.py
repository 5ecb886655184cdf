from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest

from placet import (
    Entity,
    EntityRef,
    Extension,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
    Position,
    SchemaValidation,
    TemplateLink,
    TenantSettings,
)
from placet.cli.compiling import compile_documents
from placet.cli.contents import Documents
from placet.cli.files import PathRefused
from placet.cli.findings import FilesRefused, place
from placet.cli.folders import read_folder


def read(folder: Path, **files: str) -> Documents:
    write(folder, **files)
    return read_folder([folder]).documents


def write(folder: Path, **files: str) -> None:
    """Write files; in their names, `__` stands for a dot and `___` for a slash."""
    for name, text in files.items():
        path = folder / name.replace("___", "/").replace("__", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")


def findings(folder: Path, **files: str) -> list[str]:
    """Return what is wrong, as `file:line:column: message`."""
    with pytest.raises(FilesRefused) as caught:
        read(folder, **files)
    return [
        f"{place(found.position).removeprefix(f'{folder.name}/')}: {found.message}"
        for found in caught.value.findings
    ]


ALLOW = "permit (principal, action, resource);"


# ------------------------------------------------------------------------------ what is read


def test_policies_of_a_cedar_file_are_named_by_their_annotations(tmp_path: Path) -> None:
    documents = read(
        tmp_path, orders__cedar=f'// first\n@id("a/one")\n{ALLOW}\n\n@id("two") {ALLOW}\n'
    )

    assert ["a/one", "two"] == [policy.id for policy in documents.policies]
    assert [2, 5] == [policy.position.line for policy in documents.policies]
    assert documents.policies[0].cedar == f'// first\n@id("a/one")\n{ALLOW}'


def test_a_policy_alone_in_its_file_is_named_by_the_path(tmp_path: Path) -> None:
    documents = read(tmp_path, orders___read__cedar=ALLOW, orders___b___write__cedar=ALLOW)

    assert ["orders/b/write", "orders/read"] == [policy.id for policy in documents.policies]


def test_a_document_holds_everything_there_is(tmp_path: Path) -> None:
    documents = read(
        tmp_path,
        all__yaml="""
        description: how invoices are handled
        policies:
          - id: invoices/view
            layer: agent
            description: viewing
            labels: {team: billing}
            cedar: |
              // everybody
              permit (principal, action, resource);
          - id: eu
            layer: Jurisdiction
            jurisdiction: EU
            cedar: forbid (principal, action, resource);
          - cedar: '@id("annotated") permit (principal == ?principal, action, resource);'
        links:
          - id: ann
            template: annotated
            principal: User::ann
        entities:
          - uid: {type: User, id: ann}
            attrs:
              level: 3
              boss: {__entity: {type: User, id: bob}}
              limit: {__extn: {fn: decimal, arg: "12.50"}}
              tags: [a, {b: true}]
            parents: [Group::clerks, {type: Group, id: 'a "b"'}]
            tags: {region: north}
        schema: entity User;
        settings:
          schema_validation: warn
          jurisdictions: [EU, US]
          max_staleness: 1m30s
          allow_empty_ids: true
        """,
    )

    view, eu, annotated = documents.policies
    assert (view.layer, view.description, view.labels) == (
        Layer.AGENT,
        "viewing",
        {"team": "billing"},
    )
    # Below the comment, in the file and not in the text.
    assert (view.position.line, view.position.column) == (10, 15)
    assert (eu.layer, eu.jurisdiction) == (Layer.JURISDICTION, "EU")
    assert annotated.id == "annotated"
    assert documents.links == (
        TemplateLink(id="ann", template_id="annotated", principal=EntityRef("User", "ann")),
    )
    assert documents.entities == (
        Entity(
            EntityRef("User", "ann"),
            {
                "level": 3,
                "boss": EntityRef("User", "bob"),
                "limit": Extension("decimal", "12.50"),
                "tags": ["a", {"b": True}],
            },
            (EntityRef("Group", "clerks"), EntityRef("Group", 'a "b"')),
            {"region": "north"},
        ),
    )
    assert documents.schema is not None
    assert documents.settings == TenantSettings(
        schema_validation=SchemaValidation.WARN,
        jurisdictions=("EU", "US"),
        max_staleness=timedelta(seconds=90),
        allow_empty_ids=True,
    )


@pytest.mark.parametrize(
    ("text", "seconds"), [("30s", 30), ("500ms", 0.5), ("2h", 7200), ("1h1m1s1ms", 3661.001)]
)
def test_durations_have_units(tmp_path: Path, text: str, seconds: float) -> None:
    documents = read(tmp_path, a__yaml=f"settings: {{max_staleness: {text}}}")

    assert documents.settings is not None
    assert documents.settings.max_staleness == timedelta(seconds=seconds)


def test_a_json_document_reads_as_a_yaml_one(tmp_path: Path) -> None:
    documents = read(
        tmp_path, a__json='{"policies": [{"id": "x", "cedar": "permit (principal);"}]}'
    )

    assert documents.policies[0].id == "x"


def test_entities_and_schemas_have_files_of_their_own(tmp_path: Path) -> None:
    documents = read(
        tmp_path,
        entities__json='[{"uid": {"__entity": {"type": "User", "id": "a"}}, "attrs": {}}]',
        more__entities__json='[{"uid": {"type": "User", "id": "b"}, "attrs": {"x": 1}}]',
        app__cedarschema="entity User;",
    )

    assert [("a", {}), ("b", {"x": 1})] == [
        (entity.uid.id, entity.attributes) for entity in documents.entities
    ]
    assert documents.schema is not None
    assert documents.schema.text == "entity User;"


def test_a_schema_may_be_json(tmp_path: Path) -> None:
    documents = read(tmp_path, schema__cedarschema__json='{"": {"entityTypes": {}}}')

    assert documents.schema is not None
    assert documents.schema.text.startswith("{")


def test_tests_hidden_files_and_others_are_passed_by(tmp_path: Path) -> None:
    documents = read(
        tmp_path,
        a__cedar=ALLOW,
        tests___a__yaml="cases: []",
        a_test__yaml="cases: []",
        a__test__yaml="cases: []",
        anywhere__yaml="cases: []",
        README__md="# hello",
        placet__toml="[server]",
        _hidden=ALLOW,
    )
    write(tmp_path, __git___config__yaml="x: 1")

    assert ["a"] == [policy.id for policy in documents.policies]
    assert read_folder([tmp_path]).documents == documents


def test_a_folder_with_policies_in_it_is_a_project(tmp_path: Path) -> None:
    """Pushing the project and pushing its `policies` are the same thing."""
    write(tmp_path, policies___orders___read__cedar=ALLOW, docker_compose__yaml="services: {}")

    project = read_folder([tmp_path]).documents

    assert project == read_folder([tmp_path / "policies"]).documents
    assert ["orders/read"] == [policy.id for policy in project.policies]
    assert ["policies/orders/read.cedar"] == [p.position.file for p in project.policies]


def test_the_name_of_a_file_does_not_depend_on_where_the_folder_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Positions are published, so that another checkout must not change every policy."""
    write(tmp_path, policies___a__cedar=ALLOW)
    absolute = read_folder([tmp_path / "policies"]).documents
    monkeypatch.chdir(tmp_path)
    relative = read_folder([Path("policies")]).documents
    monkeypatch.chdir(tmp_path / "policies")
    here = read_folder([Path("../policies")]).documents

    assert absolute == relative == here


def test_files_can_be_named_one_by_one(tmp_path: Path) -> None:
    write(tmp_path, a__cedar=ALLOW, b__cedar=ALLOW)

    documents = read_folder([tmp_path / "b.cedar"]).documents

    assert [
        Policy(
            id="b",
            cedar=ALLOW,
            position=Position(file=f"{tmp_path.name}/b.cedar", line=1, column=1),
        )
    ] == list(documents.policies)


def test_windows_line_ends_and_byte_order_marks_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_bytes(
        b'\xef\xbb\xbf@id("a")\r\npermit (principal, action, resource);'
    )

    documents = read_folder([tmp_path]).documents

    assert documents.policies[0].cedar == f'@id("a")\n{ALLOW}'


def test_files_are_read_in_order_of_name(tmp_path: Path) -> None:
    names = ["b", "a", "c/z", "c/a", "B"]
    for name in names:
        write(tmp_path, **{f"{name.replace('/', '___')}__cedar": ALLOW})

    documents = read_folder([tmp_path]).documents

    assert sorted(names) == [policy.id for policy in documents.policies]


# ----------------------------------------------------------------------------- what is refused


def test_a_policy_without_a_name_is_told_to_have_one(tmp_path: Path) -> None:
    (found,) = findings(tmp_path, a__cedar=f'@id("x") {ALLOW}\n{ALLOW}')

    assert found == (
        "a.cedar:2:1: this is one of 2 policies in its file and has no id; "
        'add `@id("...")` above it'
    )


def test_a_file_whose_name_is_no_id_is_told_so(tmp_path: Path) -> None:
    (tmp_path / "my policy.cedar").write_text(ALLOW)

    assert findings(tmp_path) == [
        'my policy.cedar:1:1: `my policy`, the file\'s name, cannot be an id; add `@id("...")` '
        "above it"
    ]


def test_two_policies_of_one_id_are_both_named(tmp_path: Path) -> None:
    found = findings(
        tmp_path,
        a__cedar=f'@id("x") {ALLOW}',
        b__yaml=f"policies:\n  - id: x\n    cedar: {ALLOW}\n",
    )

    assert found == [
        f"b.yaml:2:9: policy `x` is in {tmp_path.name}/a.cedar:1:1 already; keep one of them"
    ]


def test_links_share_the_names_of_policies(tmp_path: Path) -> None:
    found = findings(
        tmp_path, a__cedar=f'@id("x") {ALLOW}', b__yaml="links: [{id: x, template: t}]"
    )

    assert found == [
        f"b.yaml:1:14: link `x` is in {tmp_path.name}/a.cedar:1:1 already; keep one of them"
    ]


def test_entities_schema_and_settings_are_there_once(tmp_path: Path) -> None:
    found = findings(
        tmp_path,
        a__yaml="entities: [{uid: User::a}]\nschema: entity User;\nsettings: {}\n",
        b__yaml="entities: [{uid: User::a}]\nschema: entity User;\nsettings: {}\n",
    )

    assert [line.partition(": ")[0] for line in found] == [
        "b.yaml:1:12",
        "b.yaml:2:9",
        "b.yaml:3:11",
    ]
    assert all("already; keep one of them" in line for line in found)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("polices: []", "1:1: unknown key `polices` in the document; did you mean `policies`?"),
        (
            "zzz: 1",
            "1:1: unknown key `zzz` in the document; use one of `description`, `policies`, "
            "`links`, `entities`, `schema`, `settings`",
        ),
        ("[1]", "1:1: the document is a list; write a mapping with"),
        ("policies: {}", "1:11: `policies` is a mapping; write a list"),
        ("policies: [x]", "1:12: a policy is a text; write a mapping with"),
        ("policies: [{id: a}]", "1:12: a policy needs `cedar`"),
        ("policies: [{id: a, cedar: ''}]", "1:28: `cedar` is empty"),
        (
            "policies: [{cedar: 'permit (principal, action, resource);'}]",
            "1:12: a policy needs `id`",
        ),
        ("policies: [{id: 3, cedar: x}]", "1:17: `id` is the number 3; write text"),
        (
            "policies: [{id: a, cedar: x, layr: agent}]",
            "1:30: unknown key `layr` in a policy; did you mean `layer`?",
        ),
        (
            "policies: [{id: a, cedar: x, layer: agnt}]",
            "1:37: `layer` is `agnt`; did you mean `agent`?",
        ),
        ("policies: [{id: a, cedar: x, labels: {n: 1}}]", "1:42: label `n` is the number 1"),
        ("policies: [{id: a, cedar: x, labels: []}]", "1:38: `labels` is a list; write a mapping"),
        ("links: [{id: a}]", "1:9: a link needs `template`"),
        ("links: [{id: a, template: t, principal: ann}]", "1:41: `ann` names no entity"),
        ("entities: {}", "1:11: entities are a mapping; write a list"),
        ("entities: [{attrs: {}}]", "1:12: an entity needs `uid`"),
        ("entities: [{uid: ann}]", "1:18: `ann` names no entity; write it like User::alice"),
        ("entities: [{uid: {type: User}}]", "1:18: the name of an entity needs `id`"),
        ("entities: [{uid: {id: a}}]", "1:18: the name of an entity needs `type`"),
        ("entities: [{uid: U::a, attrs: [1]}]", "1:31: `attrs` is a list; write a mapping"),
        ("entities: [{uid: U::a, attrs: {a: 1.5}}]", "1:35: policies know no floating point"),
        ("entities: [{uid: U::a, attrs: {a: null}}]", "1:35: there is no value"),
        (
            "entities: [{uid: U::a, attrs: {a: 99999999999999999999}}]",
            "1:35: the number does not fit into 64 bits",
        ),
        (
            "entities: [{uid: U::a, attrs: {a: {__extn: {fn: ip}}}}]",
            "1:44: `__extn` needs `arg`",
        ),
        (
            "entities: [{uid: U::a, attrs: {a: {__expr: x}}}]",
            "1:36: `__expr` is a name Cedar keeps for itself",
        ),
        ("entities: [{uid: U::a, parents: U::b}]", "1:33: `parents` is a text; write a list"),
        ("schema: 3", "1:9: `schema` is the number 3; write a schema"),
        ("schema: ''", "1:10: the schema is empty"),
        ("settings: {schema_validation: lax}", "1:31: `schema_validation` is `lax`"),
        ("settings: {max_staleness: 30}", "1:27: `max_staleness` is `30`; write it like 30s"),
        ("settings: {max_staleness: soon}", "1:27: `max_staleness` is `soon`"),
        ("settings: {max_staleness: ''}", "1:28: `max_staleness` is ``"),
        ("settings: {allow_empty_ids: 'x'}", "1:30: `allow_empty_ids` is a text; write true or"),
        ("settings: {jurisdictions: [1]}", "1:28: `jurisdictions` has the number 1; write text"),
        ("a: yes", "1:4: `yes` is text to some readers"),
        ("a: [", "is not YAML"),
    ],
)
def test_a_document_that_is_wrong_says_where_and_what_to_do(
    tmp_path: Path, text: str, expected: str
) -> None:
    (finding,) = findings(tmp_path, doc__yaml=text)

    assert finding.startswith("doc.yaml:")
    assert expected in finding


def test_everything_that_is_wrong_is_told_at_once(tmp_path: Path) -> None:
    found = findings(
        tmp_path, a__yaml="polices: []", b__cedar=f"{ALLOW}\n{ALLOW}", c__json="{", d__yaml="x: 1"
    )

    assert [line.partition(":")[0] for line in found] == [
        "a.yaml",
        "b.cedar",
        "b.cedar",
        "c.json",
        "d.yaml",
    ]


def test_a_file_that_is_no_utf_8_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.cedar").write_bytes(b"permit \xff")

    assert findings(tmp_path) == ["a.cedar: byte 7 is not UTF-8; save the file as UTF-8"]


def test_a_path_that_is_not_there_is_likened_to_what_is(tmp_path: Path) -> None:
    (tmp_path / "policies").mkdir()

    with pytest.raises(PathRefused, match="did you mean `policies`"):
        read_folder([tmp_path / "polices"])


def test_a_file_of_another_kind_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.rego").write_text("x")

    with pytest.raises(PathRefused, match=r"they end in \.cedar"):
        read_folder([tmp_path / "a.rego"])


# ------------------------------------------------------------------------ what does not compile


def compile_findings(folder: Path, **files: str) -> list[str]:
    documents = read(folder, **files)
    with pytest.raises(FilesRefused) as caught:
        compile_documents(documents)
    return [
        f"{place(found.position).removeprefix(f'{folder.name}/')}: {found.message}"
        for found in caught.value.findings
    ]


def test_a_typo_in_a_block_is_placed_where_it_is_in_the_file(tmp_path: Path) -> None:
    """The engine sees the text without its indentation; people see the file."""
    found = compile_findings(
        tmp_path,
        a__yaml="""
schema: |
  entity User;
  entity Invoice = { amount: Long };
  action view appliesTo { principal: User, resource: Invoice };
policies:
  - id: p
    cedar: |
      // a comment
      permit (principal, action, resource)
      when { resource.amuont > 3 };
""",
    )

    assert found == [
        "a.yaml:11:23: policy `p` does not compile: attribute `amuont` on entity type `Invoice` "
        "not found"
    ]


def test_a_typo_on_the_first_line_is_placed_too(tmp_path: Path) -> None:
    (found,) = compile_findings(tmp_path, a__cedar='@id("p") permit (principal, action, resorce);')

    assert found.startswith("a.cedar:1:")
    assert "policy `p` does not compile" in found


def test_a_mistake_in_a_schema_is_placed_where_it_stands(tmp_path: Path) -> None:
    (found,) = compile_findings(tmp_path, a__cedarschema="entity User;\n  entityx Invoice;\n")

    assert found.startswith("a.cedarschema:2:3: the schema does not parse")


def test_ids_and_layers_are_checked_as_the_server_does(tmp_path: Path) -> None:
    found = compile_findings(
        tmp_path,
        a__yaml=f"""
policies:
  - {{id: a b, cedar: '{ALLOW}'}}
  - {{id: eu, layer: jurisdiction, cedar: '{ALLOW}'}}
""",
    )

    assert [line.partition(": ")[0] for line in found] == ["a.yaml:3:10", "a.yaml:4:10"]
    assert "`id` is `a b`" in found[0]
    assert "`jurisdiction` is for policies of layer JURISDICTION, and needed there" in found[1]


def test_an_entity_that_does_not_fit_the_schema_is_placed(tmp_path: Path) -> None:
    (found,) = compile_findings(
        tmp_path, a__yaml="schema: entity User;\nentities:\n  - uid: Usr::a\n"
    )

    assert found.startswith("a.yaml:3:5: ")


def test_parts_are_told_apart_by_their_owner(tmp_path: Path) -> None:
    documents = read(
        tmp_path,
        a__yaml=f"""
policies:
  - {{id: ours, layer: platform, cedar: '{ALLOW}'}}
  - {{id: theirs, cedar: '{ALLOW}'}}
  - {{id: t, layer: platform, cedar: 'permit (principal == ?principal, action, resource);'}}
links:
  - {{id: l, template: t, principal: User::a}}
  - {{id: nowhere, template: none, principal: User::a}}
""",
    )

    platform, own = documents.by_owner()

    assert ["ours", "t"] == [policy.id for policy in platform.policies]
    assert ["l"] == [link.id for link in platform.links]
    assert ["theirs"] == [policy.id for policy in own.policies]
    # What is wrong with it is for the compiler to say.
    assert ["nowhere"] == [link.id for link in own.links]
    assert (
        own.at_field("change_set.policies[0].cedar")
        == documents.places[ItemKey(ItemKind.POLICY, "theirs")]
    )
