"""Placet itself, with the corpus's rules in Cedar."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import placet
from bench.failures import WrongAnswer
from bench.http2 import UnaryConnection, message
from bench.measure import Context
from bench.peers.contender import Calls, Contestant
from bench.peers.corpus import Case
from bench.servers import Variant, running_placet
from bench.workloads import EVALUATE, EVALUATE_BATCH, publish, wait_everywhere
from placet.v1 import decision_pb2, value_pb2
from placet.v1 import evaluate_service_pb2 as pb

TENANT = "documents"
POLICIES = {
    "blocked": "forbid(principal, action, resource is Document) "
    'when { resource.archived || resource.serial == "" };',
    "admin": "permit(principal, action, resource is Document) "
    'when { principal.roles.contains("admin") };',
    "editor": 'permit(principal, action in [Action::"view", Action::"edit"], '
    'resource is Document) when { principal.roles.contains("editor") '
    "&& principal.department == resource.department };",
    "owner": 'permit(principal, action in [Action::"view", Action::"edit", Action::"delete"], '
    "resource is Document) when { resource.owner == principal };",
}


class Placet:
    """A Placet server."""

    def __init__(self, variant: Variant) -> None:
        self.name = f"placet {variant.name}"
        self._variant = variant

    @contextmanager
    def running(self, context: Context) -> Iterator[Contestant]:
        """See Contender."""
        folder = context.folder / f"documents-{self._variant.name}"
        folder.mkdir(exist_ok=True)
        with running_placet(self._variant, context.cores, folder) as server:
            items = [placet.Policy(id=id_, cedar=cedar) for id_, cedar in POLICIES.items()]
            wait_everywhere(server.address, TENANT, publish(server.address, TENANT, items))
            address = server.address
            yield Contestant(
                self.name,
                address,
                server.pid,
                Calls(
                    lambda every: UnaryConnection(EVALUATE, address, sample_every=every),
                    body,
                    allowed,
                ),
                Calls(
                    lambda every: UnaryConnection(EVALUATE_BATCH, address, sample_every=every),
                    _batch_body,
                    _batch_allowed,
                ),
            )


def body(cases: Sequence[Case]) -> bytes:
    """Ask about one case."""
    (case,) = cases
    asked = pb.EvaluateRequest(
        tenant=TENANT,
        subject=_subject(case),
        action=pb.Action(name=case.action),
        resource=_resource(case),
    )
    return message(asked.SerializeToString())


def _batch_body(cases: Sequence[Case]) -> bytes:
    asked = pb.EvaluateBatchRequest(
        tenant=TENANT,
        subject=_subject(cases[0]),
        items=[
            pb.BatchItem(action=pb.Action(name=case.action), resource=_resource(case))
            for case in cases
        ],
    )
    return message(asked.SerializeToString())


def _subject(case: Case) -> pb.Subject:
    subject = pb.Subject(type="User", id=case.subject)
    subject.properties["department"].string_value = case.department
    subject.properties["roles"].set_value.elements.extend(
        value_pb2.Value(string_value=role) for role in case.roles
    )
    return subject


def _resource(case: Case) -> pb.Resource:
    resource = pb.Resource(type="Document", id=case.document)
    resource.properties["owner"].entity_value.CopyFrom(
        value_pb2.EntityUid(type="User", id=case.owner)
    )
    resource.properties["department"].string_value = case.document_department
    resource.properties["archived"].bool_value = case.archived
    resource.properties["serial"].string_value = case.serial
    return resource


def allowed(body: bytes) -> list[bool]:
    """Return what an answer says, as a list of one."""
    return [_is_allow(pb.EvaluateResponse.FromString(body[5:]).decision)]


def _batch_allowed(body: bytes) -> list[bool]:
    return [
        _is_allow(result.decision)
        for result in pb.EvaluateBatchResponse.FromString(body[5:]).results
    ]


def _is_allow(decision: decision_pb2.Decision) -> bool:
    if decision.outcome not in (decision_pb2.OUTCOME_ALLOW, decision_pb2.OUTCOME_DENY):
        raise WrongAnswer(f"placet answered {decision.outcome}")
    return decision.outcome == decision_pb2.OUTCOME_ALLOW
