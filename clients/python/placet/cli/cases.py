"""Test cases as policy authors write them: a request, and what it must come to.

::

    cases:
      - name: an accountant sees an invoice
        subject: User::alice          # or {type: User, id: alice, properties: {...}}
        action: view                  # or Acme::Action::view, or {name: view, properties: {...}}
        resource: Invoice::i-1
        context: {mfa: true}          # optional, like `entities`, which are sent along
        expect: ALLOW                 # only the outcome is looked at
      - name: paying a large one needs a yes
        subject: User::alice
        action: pay
        resource: Invoice::i-2
        expect:                       # only what is named is looked at; lists in any order
          outcome: REQUIRES_APPROVAL
          cause: APPROVAL_NEEDED
          reasons: [invoices/pay-large]
          messages: [large invoices need a second pair of eyes]
          obligations: []
          approval_groups: [finance-leads]
          errors: []                  # policies that could not be evaluated
          log_only: {outcome: DENY, reasons: [new-rule]}     # or null: nothing to report
      - name: nobody in particular
        subject: {type: User, id: ""}
        action: view
        resource: Invoice::i-1
        expect: {undecidable: EMPTY_ID, field: subject.id}   # no decision, which is no denial

A file of cases may have the keys of a policy document as well, and a ``description``. With
``policies`` it stands by itself; without, what it has goes on top of the folder's documents.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import TypeVar

from placet import (
    Cause,
    Decision,
    DecisionError,
    Outcome,
    PolicyError,
    Position,
    Reason,
    Request,
)
from placet.cli.contents import Documents
from placet.cli.documents import KEYS, Gathered, has_cases, read_tree
from placet.cli.fields import Fields, kind
from placet.cli.files import FileKind, SourceFile
from placet.cli.findings import Findings, did_you_mean, place
from placet.cli.requests import REQUEST_KEYS, request_of
from placet.cli.tree import Node


@dataclass(frozen=True, slots=True)
class LogOnly:
    """What log-only policies must have to report; without an outcome, nothing."""

    outcome: Outcome | None = None
    reasons: tuple[str, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Expectation:
    """What a request must come to. What is None may be anything."""

    outcome: Outcome | None = None
    cause: Cause | None = None
    reasons: tuple[str, ...] | None = None
    """Ids of the policies that determine the outcome."""
    messages: tuple[str, ...] | None = None
    obligations: tuple[str, ...] | None = None
    approval_groups: tuple[str, ...] | None = None
    errors: tuple[str, ...] | None = None
    log_only: LogOnly | None = None
    undecidable: str | None = None
    """Why there is no decision, such as ``REQUEST_REFUSED``."""
    field: str | None = None
    """Where in the request the reason for that is."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """One request and what it must come to."""

    name: str
    request: Request
    expect: Expectation
    position: Position


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseFile:
    """The cases of one file, and the documents it brings along."""

    file: str
    cases: tuple[Case, ...]
    documents: Documents

    @property
    def stands_alone(self) -> bool:
        """Whether the cases are about the file's own policies."""
        return bool(self.documents.policies or self.documents.links)


@dataclass(frozen=True, slots=True)
class Difference:
    """One thing that came out otherwise than it must."""

    field: str
    expected: str
    actual: str


# -------------------------------------------------------------------------------- judging


def differences(expect: Expectation, actual: Decision | DecisionError) -> tuple[Difference, ...]:
    """Compare what came out with what must."""
    if isinstance(actual, DecisionError):
        return tuple(_undecided_differences(expect, actual))
    if expect.undecidable is not None:
        nothing = f"no decision ({expect.undecidable})"
        return (Difference("outcome", nothing, actual.outcome.name),)
    pairs: list[tuple[str, object, object]] = [
        ("outcome", expect.outcome, actual.outcome),
        ("cause", expect.cause, actual.cause),
        ("reasons", expect.reasons, _ids(actual.reasons)),
        ("messages", expect.messages, tuple(r.message for r in actual.reasons if r.message)),
        ("obligations", expect.obligations, actual.obligations),
        ("approval_groups", expect.approval_groups, actual.approval_groups),
        ("errors", expect.errors, _ids(actual.errors)),
    ]
    if expect.log_only is not None:
        report = actual.log_only
        found = report.outcome if report else _NOTHING
        wanted = expect.log_only.outcome
        pairs.append(("log_only", _NOTHING if wanted is None else wanted, found))
        reasons = _ids(report.reasons) if report else ()
        pairs.append(("log_only.reasons", expect.log_only.reasons, reasons))
    return tuple(
        Difference(field, _written(wanted), _written(found))
        for field, wanted, found in pairs
        if wanted is not None and _comparable(wanted) != _comparable(found)
    )


_NOTHING = "nothing to report"


def _ids(about: Iterable[Reason | PolicyError]) -> tuple[str, ...]:
    return tuple(each.policy_id for each in about)


def _undecided_differences(expect: Expectation, actual: DecisionError) -> Iterable[Difference]:
    if expect.undecidable is None:
        wanted = "a decision" if expect.outcome is None else expect.outcome.name
        found = f"no decision ({actual.reason or actual.code}): {actual.message}"
        yield Difference("outcome", wanted, found)
        return
    if expect.undecidable != actual.reason:
        yield Difference("undecidable", expect.undecidable, f"{actual.reason}: {actual.message}")
    if expect.field not in (None, actual.field):
        yield Difference("field", str(expect.field), actual.field or "none")


def _comparable(found: object) -> object:
    return sorted(found) if isinstance(found, tuple) else found


def _written(found: object) -> str:
    if isinstance(found, Enum):
        return found.name
    if isinstance(found, tuple):
        return ", ".join(sorted(found)) or "none"
    return str(found)


# -------------------------------------------------------------------------------- reading


def read_cases(files: Iterable[SourceFile], findings: Findings) -> list[CaseFile]:
    """Read the files of cases there are. What is wrong goes to ``findings``."""
    found = []
    for file in files:
        if file.kind not in (FileKind.CASES, FileKind.DOCUMENT):
            continue
        # Those of the documents were complained about when the documents were read.
        complaints = findings if file.kind is FileKind.CASES else Findings()
        node = read_tree(file, complaints)
        if node is not None and (file.kind is FileKind.CASES or has_cases(node)):
            case_file = _case_file(file, node, findings)
            if case_file is not None:
                found.append(case_file)
    return found


def _case_file(file: SourceFile, node: Node, findings: Findings) -> CaseFile | None:
    fields = Fields.of(
        node, findings, what="a file of cases", known=("cases", "description", *KEYS)
    )
    if fields is None:
        return None
    if fields.node("cases") is None:
        findings.refuse("a file of cases needs `cases`", node.position)
    fields.text("description")
    gathered = Gathered(findings)
    gathered.add_fields(fields)
    cases: dict[str, Case] = {}
    for child in fields.elements("cases"):
        case = _case(child, findings)
        if case is None:
            continue
        if case.name in cases:
            first = place(cases[case.name].position)
            findings.refuse(f"case `{case.name}` is in {first} already", case.position)
        cases.setdefault(case.name, case)
    return CaseFile(file=file.name, cases=tuple(cases.values()), documents=gathered.documents())


_CASE_KEYS = ("name", *REQUEST_KEYS, "expect")


def _case(node: Node, findings: Findings) -> Case | None:
    fields = Fields.of(node, findings, what="a case", known=_CASE_KEYS)
    if fields is None:
        return None
    name = fields.required_text("name", what="a case")
    what = f"case `{name}`" if name else "a case"
    if fields.node("expect") is None:
        findings.refuse(f"{what} needs `expect`", node.position)
    request = request_of(fields, findings, what=what)
    expect = fields.read("expect", lambda child: _expectation(child, findings))
    if name is None or expect is None or request is None:
        return None
    return Case(name=name, request=request, expect=expect, position=fields.at("name"))


_EXPECT_KEYS = (
    "outcome",
    "cause",
    "reasons",
    "messages",
    "obligations",
    "approval_groups",
    "approvers",
    "errors",
    "log_only",
    "undecidable",
    "field",
)

M = TypeVar("M", bound=Enum)


def _expectation(node: Node, findings: Findings) -> Expectation | None:
    if isinstance(node.value, str):
        outcome = _member(node, "expect", _OUTCOMES, findings)
        # Not its truth: a denial has none.
        return None if outcome is None else Expectation(outcome=outcome)
    fields = Fields.of(node, findings, what="`expect`", known=_EXPECT_KEYS)
    if fields is None:
        return None

    def texts(*names: str) -> tuple[str, ...] | None:
        given = next((name for name in names if fields.node(name) is not None), None)
        return fields.texts(given) if given else None

    expectation = Expectation(
        outcome=_outcome(fields, findings),
        cause=fields.read("cause", lambda child: _member(child, "cause", _CAUSES, findings)),
        reasons=texts("reasons"),
        messages=texts("messages"),
        obligations=texts("obligations"),
        approval_groups=texts("approval_groups", "approvers"),
        errors=texts("errors"),
        log_only=fields.read("log_only", lambda child: _log_only(child, findings)),
        undecidable=fields.text("undecidable"),
        field=fields.text("field"),
    )
    _check_expectation(expectation, node, findings)
    return expectation


def _check_expectation(expect: Expectation, node: Node, findings: Findings) -> None:
    if not node.value:
        findings.refuse("`expect` is empty; write ALLOW, or what to compare", node.position)
    elif expect.field is not None and expect.undecidable is None:
        findings.refuse("`field` goes with `undecidable`", node.position)
    elif expect.undecidable is not None and node.value.keys() - {"undecidable", "field"}:  # type: ignore[union-attr]
        findings.refuse("an `undecidable` request has no decision to compare", node.position)


def _log_only(node: Node, findings: Findings) -> LogOnly | None:
    if node.value is None:
        return LogOnly()
    fields = Fields.of(node, findings, what="`log_only`", known=("outcome", "reasons"))
    if fields is None:
        return None
    if fields.node("outcome") is None:
        findings.refuse("`log_only` needs `outcome`", node.position)
    reasons = fields.texts("reasons") if fields.node("reasons") is not None else None
    return LogOnly(outcome=_outcome(fields, findings), reasons=reasons)


def _outcome(fields: Fields, findings: Findings) -> Outcome | None:
    return fields.read("outcome", lambda child: _member(child, "outcome", _OUTCOMES, findings))


_OUTCOMES: Mapping[str, Outcome] = {outcome.name: outcome for outcome in Outcome}
_CAUSES: Mapping[str, Cause] = {cause.name: cause for cause in Cause if cause is not Cause.UNKNOWN}


def _member(node: Node, name: str, members: Mapping[str, M], findings: Findings) -> M | None:
    """Read a word in capitals, however it is written."""
    if not isinstance(node.value, str):
        words = _listed(members)
        findings.refuse(f"`{name}` is {kind(node)}; write one of {words}", node.position)
        return None
    member = members.get(node.value.upper())
    if member is None:
        hint = did_you_mean(node.value.upper(), members)
        findings.refuse(f"`{name}` is `{node.value}`; {hint}", node.position)
    return member


def _listed(words: Collection[str]) -> str:
    return ", ".join(words)
