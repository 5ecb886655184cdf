"""Change sets and what else policy management sends, put onto the wire."""

from __future__ import annotations

import uuid
from collections.abc import Iterable

from google.protobuf import duration_pb2

from placet._decisions import NOWHERE
from placet._errors import InvalidRequest
from placet._policies import (
    ChangeSet,
    ItemKey,
    ItemKind,
    Policy,
    TemplateLink,
    TenantSettings,
)
from placet._requests import Request, tenant_to_wire, whole_request
from placet._values import entities_to_wire, ref_to_wire, refusal, text_to_wire
from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    policy_pb2,
    policy_service_pb2,
    rollout_pb2,
)


def publish_request(
    tenant: str | None,
    change_set: ChangeSet,
    *,
    expected_revision: int | None,
    message: str,
    request_id: str | None,
    rollout: rollout_pb2.RolloutPlan | None = None,
) -> policy_service_pb2.PublishRequest:
    """Return a publish as a message; it always gets a request id, so that retries are harmless."""
    return policy_service_pb2.PublishRequest(
        tenant=tenant_to_wire(tenant),
        change_set=change_set_to_wire(change_set),
        expected_revision=expected_revision,
        message=text_to_wire(message, "message"),
        request_id=text_to_wire(request_id or uuid.uuid4().hex, "request_id"),
        rollout=rollout,
    )


def candidate_request(
    tenant: str | None, requests: Iterable[Request], change_set: ChangeSet | None
) -> policy_service_pb2.TestRequest:
    """Return a test of requests against a candidate as a message."""
    return policy_service_pb2.TestRequest(
        tenant=tenant_to_wire(tenant),
        change_set=change_set_to_wire(change_set) if change_set is not None else None,
        requests=[_test_case(request, index) for index, request in enumerate(requests)],
    )


def _test_case(request: Request, index: int) -> evaluate_service_pb2.EvaluateRequest:
    try:
        return whole_request("", request)
    except InvalidRequest as error:
        raise InvalidRequest(f"request {index}: {error.message}") from error


def validate_request(
    tenant: str | None, change_set: ChangeSet
) -> policy_service_pb2.ValidateRequest:
    """Return a validation as a message."""
    return policy_service_pb2.ValidateRequest(
        tenant=tenant_to_wire(tenant), change_set=change_set_to_wire(change_set)
    )


def get_request(
    tenant: str | None, keys: Iterable[ItemKey], revision: int
) -> policy_service_pb2.GetRequest:
    """Return a request for items by key as a message."""
    return policy_service_pb2.GetRequest(
        tenant=tenant_to_wire(tenant), keys=_keys_to_wire(keys, "keys"), revision=revision
    )


def list_request(
    tenant: str | None,
    *,
    kinds: Iterable[ItemKind],
    id_prefix: str,
    revision: int,
    page_size: int,
) -> policy_service_pb2.ListRequest:
    """Return a request for a tenant's items as a message."""
    return policy_service_pb2.ListRequest(
        tenant=tenant_to_wire(tenant),
        kinds=[kind_to_wire(kind) for kind in kinds],
        id_prefix=text_to_wire(id_prefix, "id_prefix"),
        revision=revision,
        page_size=page_size,
    )


def history_request(
    tenant: str | None, key: ItemKey | None, page_size: int
) -> policy_service_pb2.HistoryRequest:
    """Return a request for a tenant's history as a message."""
    return policy_service_pb2.HistoryRequest(
        tenant=tenant_to_wire(tenant),
        key=_key_to_wire(key, "key") if key is not None else None,
        page_size=page_size,
    )


def diff_request(
    tenant: str | None, from_revision: int, to_revision: int
) -> policy_service_pb2.DiffRequest:
    """Return a request for the changes between two revisions as a message."""
    return policy_service_pb2.DiffRequest(
        tenant=tenant_to_wire(tenant), from_revision=from_revision, to_revision=to_revision
    )


def change_set_to_wire(change_set: ChangeSet) -> policy_pb2.ChangeSet:
    """Return a change set as a message."""
    return policy_pb2.ChangeSet(
        policies=[
            _policy_to_wire(policy, f"change_set.policies[{index}]")
            for index, policy in enumerate(change_set.policies)
        ],
        template_links=[
            _link_to_wire(link, f"change_set.template_links[{index}]")
            for index, link in enumerate(change_set.template_links)
        ],
        entities=entities_to_wire(change_set.entities, "change_set.entities"),
        schema=policy_pb2.Schema(text=text_to_wire(change_set.schema.text, "change_set.schema"))
        if change_set.schema is not None
        else None,
        settings=_settings_to_wire(change_set.settings)
        if change_set.settings is not None
        else None,
        deletes=_keys_to_wire(change_set.deletes, "change_set.deletes"),
        replace_all=change_set.replace_all,
        replace_kinds=sorted(map(kind_to_wire, change_set.replace_kinds)),
    )


def _keys_to_wire(keys: Iterable[ItemKey], path: str) -> list[policy_pb2.ItemKey]:
    """Return names of items as messages."""
    return [_key_to_wire(key, f"{path}[{index}]") for index, key in enumerate(keys)]


def _key_to_wire(key: ItemKey, path: str) -> policy_pb2.ItemKey:
    """Return the name of an item as a message."""
    if not isinstance(key, ItemKey):
        raise refusal(path, "is no key; pass a `placet.ItemKey`")
    return policy_pb2.ItemKey(
        kind=kind_to_wire(key.kind),
        id=text_to_wire(key.id, f"{path}.id"),
        entity=ref_to_wire(key.entity, f"{path}.entity") if key.entity is not None else None,
    )


def kind_to_wire(kind: ItemKind) -> policy_pb2.ItemKind.ValueType:
    """Return a kind of item as its number."""
    return policy_pb2.ItemKind.ValueType(kind.value)


def _policy_to_wire(policy: Policy, path: str) -> policy_pb2.Policy:
    position = policy.position
    return policy_pb2.Policy(
        id=text_to_wire(policy.id, f"{path}.id"),
        layer=decision_pb2.Layer.ValueType(policy.layer.value),
        jurisdiction=text_to_wire(policy.jurisdiction, f"{path}.jurisdiction"),
        cedar=text_to_wire(policy.cedar, f"{path}.cedar"),
        description=text_to_wire(policy.description, f"{path}.description"),
        labels={
            text_to_wire(name, f"{path}.labels"): text_to_wire(label, f"{path}.labels.{name}")
            for name, label in policy.labels.items()
        },
        position=evaluate_service_pb2.SourcePosition(
            file=text_to_wire(position.file, f"{path}.position.file"),
            line=position.line,
            column=position.column,
        )
        if position != NOWHERE
        else None,
    )


def _link_to_wire(link: TemplateLink, path: str) -> policy_pb2.TemplateLink:
    return policy_pb2.TemplateLink(
        id=text_to_wire(link.id, f"{path}.id"),
        template_id=text_to_wire(link.template_id, f"{path}.template_id"),
        principal=ref_to_wire(link.principal, f"{path}.principal")
        if link.principal is not None
        else None,
        resource=ref_to_wire(link.resource, f"{path}.resource")
        if link.resource is not None
        else None,
    )


def _settings_to_wire(settings: TenantSettings) -> policy_pb2.TenantSettings:
    max_staleness = None
    if settings.max_staleness is not None:
        max_staleness = duration_pb2.Duration()
        max_staleness.FromTimedelta(settings.max_staleness)
    return policy_pb2.TenantSettings(
        schema_validation=policy_pb2.SchemaValidation.ValueType(settings.schema_validation.value),
        jurisdictions=settings.jurisdictions,
        max_staleness=max_staleness,
        allow_empty_ids=settings.allow_empty_ids,
    )
