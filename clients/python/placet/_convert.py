"""From the wire to what callers see.

What this version does not know is never taken for more than it is: an
unknown outcome is a denial, anything else unknown is named ``UNKNOWN``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal, InvalidOperation
from enum import Enum
from ipaddress import ip_address, ip_interface
from typing import TypeVar

import grpc
from google.protobuf import timestamp_pb2

from placet import _decisions as decisions
from placet import _nodes as nodes
from placet import _policies as policies
from placet import _rollouts as rollouts
from placet import _topology as topology
from placet import _xds_clients as xds_clients
from placet._errors import DecisionError
from placet._requests import Action, Request, Resource, Subject
from placet._values import Attributes, Entity, EntityRef, Extension, IPAddress, Value
from placet.v1 import (
    decision_pb2,
    evaluate_service_pb2,
    node_service_pb2,
    policy_pb2,
    policy_service_pb2,
    rollout_pb2,
    rollout_service_pb2,
    topology_pb2,
    value_pb2,
)

# ----------------------------------------------------------------------------- decisions


def decision(message: decision_pb2.Decision) -> decisions.Decision:
    """Return a decision; one without an outcome denies."""
    return decisions.Decision(
        outcome=_outcome(message.outcome),
        cause=_known(decisions.Cause, message.cause),
        reasons=_reasons(message.reasons),
        obligations=tuple(message.obligations),
        errors=_policy_errors(message.errors),
        approval_groups=tuple(message.approval.groups),
        log_only=decisions.LogOnlyReport(
            _outcome(message.log_only.outcome), _reasons(message.log_only.reasons)
        )
        if message.HasField("log_only")
        else None,
        decision_id=message.decision_id,
        revision=message.revision,
        staleness=message.staleness.ToTimedelta(),
        cached=message.cached,
        region=message.region,
        node=message.node,
        rollout_variant=message.rollout_variant,
    )


def _outcome(number: int) -> decisions.Outcome:
    """Read an outcome; what is not known here, or not given, denies."""
    return _OUTCOMES.get(number, decisions.Outcome.DENY)


_OUTCOMES = {outcome.value: outcome for outcome in decisions.Outcome}


def _reasons(messages: Iterable[decision_pb2.Reason]) -> tuple[decisions.Reason, ...]:
    return tuple(
        decisions.Reason(reason.policy_id, _layer(reason.layer), reason.message)
        for reason in messages
    )


def _policy_errors(
    messages: Iterable[decision_pb2.PolicyError],
) -> tuple[decisions.PolicyError, ...]:
    return tuple(
        decisions.PolicyError(error.policy_id, _layer(error.layer), error.message)
        for error in messages
    )


def _layer(number: int) -> decisions.Layer:
    return _known(decisions.Layer, number)


_E = TypeVar("_E", bound=Enum)


def _known(enum: type[_E], number: int) -> _E:
    """Read an enum whose member of value 0 stands for what is not known."""
    try:
        return enum(number)
    except ValueError:
        return enum(0)


def decision_error(message: decision_pb2.DecisionError) -> DecisionError:
    """Return why one request out of several was not decided."""
    return DecisionError(
        message.message or "the request was not decided",
        code=_CODE_NAMES.get(message.code, "UNKNOWN"),
        reason=message.reason,
        field=message.field,
    )


_CODE_NAMES = {code.value[0]: code.name for code in grpc.StatusCode}


def result(
    message: evaluate_service_pb2.BatchResult | evaluate_service_pb2.EvaluateStreamResponse,
) -> decisions.Decision | DecisionError:
    """Return what came of one request out of several."""
    if message.HasField("decision"):
        return decision(message.decision)
    if message.HasField("error"):
        return decision_error(message.error)
    return DecisionError(
        "the server sent neither a decision nor an error; it may be newer than this client",
        code="UNKNOWN",
        reason="RESULT_UNKNOWN",
    )


def results(
    messages: Iterable[evaluate_service_pb2.BatchResult],
) -> list[decisions.Decision | DecisionError]:
    """Return what came of several requests."""
    return [result(message) for message in messages]


def explanation(message: evaluate_service_pb2.ExplainResponse) -> decisions.Explanation:
    """Return a decision with the work behind it."""
    return decisions.Explanation(
        decision=decision(message.decision),
        layers=tuple(_layer_verdict(layer) for layer in message.layers),
        entities=tuple(entity(known) for known in message.entities),
        overrides=tuple(
            decisions.Override(ref(override.entity), override.attribute)
            for override in message.overrides
        ),
        steps=tuple(message.steps),
        would_change=tuple(message.would_change),
    )


def _layer_verdict(message: evaluate_service_pb2.LayerVerdict) -> decisions.LayerVerdict:
    return decisions.LayerVerdict(
        layer=_layer(message.layer),
        outcome=_outcome(message.outcome),
        matched=tuple(map(_matched_policy, message.matched)),
        errors=_policy_errors(message.errors),
        policies=message.policies,
        failed=tuple(map(_matched_policy, message.failed)),
        unmet=tuple(map(_matched_policy, message.unmet)),
        unmet_count=message.unmet_count,
    )


def _matched_policy(message: evaluate_service_pb2.MatchedPolicy) -> decisions.MatchedPolicy:
    return decisions.MatchedPolicy(
        policy_id=message.policy_id,
        template_id=message.template_id,
        counts=message.counts,
        effect=_known(decisions.Effect, message.effect),
        layer=_layer(message.layer),
        annotations=dict(message.annotations),
        cedar=message.cedar,
        position=_position(message.position),
    )


def _position(message: evaluate_service_pb2.SourcePosition) -> decisions.Position:
    return decisions.Position(file=message.file, line=message.line, column=message.column)


def search_hit(message: evaluate_service_pb2.SearchHit) -> decisions.SearchHit:
    """Return one thing a search found."""
    return decisions.SearchHit(
        ref(message.uid), _outcome(message.outcome), tuple(message.obligations)
    )


# -------------------------------------------------------------------- values and entities


def ref(message: value_pb2.EntityUid) -> EntityRef:
    """Return the name of an entity."""
    return EntityRef(message.type, message.id)


def entity(message: value_pb2.Entity) -> Entity:
    """Return an entity."""
    return Entity(
        uid=ref(message.uid),
        attributes=attributes(message.attributes),
        parents=tuple(ref(parent) for parent in message.parents),
        tags=attributes(message.tags),
    )


def attributes(messages: Mapping[str, value_pb2.Value]) -> Attributes:
    """Return named values. Those of a kind this version does not know are left out."""
    known = ((name, value(message)) for name, message in messages.items())
    return {name: value_ for name, value_ in known if value_ is not None}


def value(message: value_pb2.Value) -> Value | None:
    """Return a value as Python has it; sets become lists, since records cannot be hashed.

    None stands for a kind of value that this version does not know.
    """
    match message.WhichOneof("kind"):
        case "bool_value":
            return message.bool_value
        case "int_value":
            return message.int_value
        case "string_value":
            return message.string_value
        case "set_value":
            elements = (value(element) for element in message.set_value.elements)
            return [element for element in elements if element is not None]
        case "record_value":
            return attributes(message.record_value.fields)
        case "entity_value":
            return ref(message.entity_value)
        case "extension_value":
            return _extension(message.extension_value)
        case _:
            return None


def _extension(message: value_pb2.ExtensionValue) -> Value:
    """Return what Python has for an extension value, or the text where it has nothing."""
    arguments = tuple(value(argument) for argument in message.arguments)
    extension = Extension(
        message.function,
        message.argument,
        tuple(argument for argument in arguments if argument is not None),
    )
    read = _EXTENSIONS.get(message.function)
    try:
        return read(message.argument) if read else extension
    except (ValueError, InvalidOperation, OverflowError):
        return extension


def _ip(text: str) -> IPAddress:
    if "/" not in text:
        return ip_address(text)
    interface = ip_interface(text)
    # With host bits, it is an address that remembers its network.
    return interface.network if interface.ip == interface.network.network_address else interface


def _datetime(text: str) -> datetime:
    read = datetime.fromisoformat(text)
    return read if read.tzinfo else read.replace(tzinfo=UTC)


def _duration(text: str) -> timedelta:
    found = _DURATION.fullmatch(text)
    if found is None:
        raise ValueError(text)
    sign, *counts = found.groups(default="0")
    days, hours, minutes, seconds, milliseconds = map(int, counts)
    span = timedelta(
        days=days, hours=hours, minutes=minutes, seconds=seconds, milliseconds=milliseconds
    )
    return -span if sign == "-" else span


_DURATION = re.compile(r"(-)?(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?(?:(\d+)ms)?", re.ASCII)

_EXTENSIONS: dict[str, Callable[[str], Value]] = {
    "decimal": Decimal,
    "ip": _ip,
    "datetime": _datetime,
    "duration": _duration,
}

# ------------------------------------------------------------------------------ policies


def item(message: policy_pb2.Item) -> policies.Item | None:
    """Return a stored item, or None for one of a kind this version does not know."""
    body = _body(message)
    if body is None:
        return None
    return policies.Item(message.owner, message.revision, message.digest, body)


def items(messages: Iterable[policy_pb2.Item]) -> list[policies.Item]:
    """Return stored items, as far as this version knows their kinds."""
    return [known for message in messages if (known := item(message)) is not None]


def _body(message: policy_pb2.Item) -> policies.Body | None:
    match message.WhichOneof("body"):
        case "policy":
            return _policy(message.policy)
        case "template_link":
            return _link(message.template_link)
        case "entity":
            return entity(message.entity)
        case "schema":
            return policies.Schema(message.schema.text)
        case "settings":
            return _settings(message.settings)
        case "rollout":
            return rollout(message.rollout)
        case "candidate":
            return _candidate(message.candidate)
        case "placement":
            return placement(message.placement)
        case "node_settings":
            return _node_settings(message.node_settings)
        case _:
            return None


def _candidate(message: policy_pb2.CandidateEdits) -> policies.CandidateEdits:
    return policies.CandidateEdits(
        policies=tuple(map(_policy, message.policies)),
        template_links=tuple(map(_link, message.template_links)),
        entities=tuple(map(entity, message.entities)),
        schema=policies.Schema(message.schema.text) if message.HasField("schema") else None,
        settings=_settings(message.settings) if message.HasField("settings") else None,
        deletes=tuple(map(_key, message.deletes)),
    )


def _key(message: policy_pb2.ItemKey) -> policies.ItemKey:
    return policies.ItemKey(
        _known(policies.ItemKind, message.kind),
        message.id,
        ref(message.entity) if message.HasField("entity") else None,
    )


def _policy(message: policy_pb2.Policy) -> policies.Policy:
    return policies.Policy(
        id=message.id,
        cedar=message.cedar,
        layer=_layer(message.layer),
        jurisdiction=message.jurisdiction,
        description=message.description,
        labels=dict(message.labels),
        position=_position(message.position),
    )


def _link(message: policy_pb2.TemplateLink) -> policies.TemplateLink:
    return policies.TemplateLink(
        id=message.id,
        template_id=message.template_id,
        principal=ref(message.principal) if message.HasField("principal") else None,
        resource=ref(message.resource) if message.HasField("resource") else None,
    )


def _settings(message: policy_pb2.TenantSettings) -> policies.TenantSettings:
    warns = message.schema_validation == policy_pb2.SCHEMA_VALIDATION_WARN
    return policies.TenantSettings(
        schema_validation=policies.SchemaValidation.WARN
        if warns
        else policies.SchemaValidation.STRICT,
        jurisdictions=tuple(message.jurisdictions),
        max_staleness=message.max_staleness.ToTimedelta()
        if message.HasField("max_staleness")
        else None,
        allow_empty_ids=message.allow_empty_ids,
    )


def problems(messages: Iterable[policy_pb2.Problem]) -> tuple[policies.Problem, ...]:
    """Return findings about a change set."""
    return tuple(
        policies.Problem(
            severity=_known(policies.Severity, problem.severity),
            reason=problem.reason,
            message=problem.message,
            field=problem.field,
            subject=problem.subject,
            position=_position(problem.position),
        )
        for problem in messages
    )


def publication(message: policy_service_pb2.PublishResponse) -> policies.Publication:
    """Return what a publish came to."""
    return policies.Publication(
        revision=message.revision,
        warnings=problems(message.warnings),
        upserts=message.upserts,
        deletes=message.deletes,
        rollout_id=message.rollout_id,
    )


def validation(message: policy_service_pb2.ValidateResponse) -> policies.Validation:
    """Return whether a change set could be published."""
    return policies.Validation(message.valid, problems(message.problems))


def revision(message: policy_pb2.Revision) -> policies.Revision:
    """Return one line of a tenant's history."""
    return policies.Revision(
        revision=message.revision,
        owner=message.owner,
        time=message.time.ToDatetime(tzinfo=UTC),
        author=message.author,
        message=message.message,
        upserts=message.upserts,
        deletes=message.deletes,
    )


def diff(message: policy_service_pb2.DiffResponse) -> policies.Diff:
    """Return the changes between two revisions."""
    return policies.Diff(
        message.from_revision,
        message.to_revision,
        tuple(
            policies.ItemDiff(
                item(change.before) if change.HasField("before") else None,
                item(change.after) if change.HasField("after") else None,
            )
            for change in message.diffs
        ),
    )


def candidate_report(message: policy_service_pb2.TestResponse) -> policies.CandidateReport:
    """Return what requests came to against a candidate."""
    return policies.CandidateReport(
        results=tuple(results(message.results)),
        warnings=problems(message.warnings),
        unmatched_policy_ids=tuple(message.unmatched_policy_ids),
        revision=message.revision,
    )


# ------------------------------------------------------------------------------ topology


def placement(message: topology_pb2.Tenant) -> topology.Placement:
    """Return where a tenant is placed."""
    return topology.Placement(
        tenant=message.name,
        residency=_known(topology.ResidencyRule, message.residency),
        home_region=message.home_region,
        affinity_regions=tuple(message.affinity_regions),
        update_time=_time(message.update_time) if message.HasField("update_time") else None,
        etag=message.etag,
    )


def region(message: topology_pb2.Region) -> topology.Region:
    """Return a region."""
    location = message.location
    return topology.Region(
        name=message.name,
        title=message.title,
        jurisdiction=message.jurisdiction,
        regulations=tuple(message.regulations),
        location=topology.GeoPoint(location.latitude, location.longitude)
        if message.HasField("location")
        else None,
    )


def route(message: topology_pb2.Route) -> topology.Route:
    """Return where a tenant's callers may go."""
    return topology.Route(
        tenant=message.tenant,
        residency=_known(topology.ResidencyRule, message.residency),
        regions=tuple(map(_route_region, message.regions)),
    )


def _route_region(message: topology_pb2.RouteRegion) -> topology.RouteRegion:
    return topology.RouteRegion(
        region=message.region,
        jurisdiction=message.jurisdiction,
        reason=_known(topology.RouteReason, message.reason),
        distance_km=message.distance_km,
        endpoints=tuple(
            topology.RouteEndpoint(
                address=endpoint.address,
                node=endpoint.node,
                weight=endpoint.weight,
                utilization=endpoint.utilization,
            )
            for endpoint in message.endpoints
        ),
    )


def node(message: topology_pb2.Node) -> nodes.Node:
    """Return a node with all that is known about it."""
    load = message.load
    return nodes.Node(
        id=message.id,
        instance=message.instance,
        region=message.region,
        role=_known(nodes.NodeRole, message.role),
        address=message.address,
        upstreams=tuple(message.upstreams),
        weight=message.weight,
        version=message.version,
        health=_known(nodes.NodeHealth, message.health),
        health_reason=message.health_reason,
        draining=message.draining,
        load=nodes.NodeLoad(load.utilization, load.requests_per_second, load.subscribers),
        revision=message.revision,
        staleness=message.staleness.ToTimedelta(),
        register_time=_time(message.register_time),
        renew_time=_time(message.renew_time),
        lease_expire_time=_time(message.lease_expire_time),
        etag=message.etag,
    )


def _node_settings(message: topology_pb2.NodeSettings) -> topology.NodeSettings:
    return topology.NodeSettings(
        node=message.node,
        weight=message.weight if message.HasField("weight") else None,
        draining=message.draining if message.HasField("draining") else None,
    )


# --------------------------------------------------------------------------------- nodes


def cache_report(message: node_service_pb2.GetCacheStatisticsResponse) -> nodes.CacheReport:
    """Return what a node says about its decision cache."""
    return nodes.CacheReport(
        node=message.node,
        region=message.region,
        total=_cache_statistics(message.total),
        tenants={part.tenant: _cache_statistics(part.statistics) for part in message.tenants},
        tenant_count=message.tenant_count,
        max_bytes=message.max_bytes,
        ttl=message.ttl.ToTimedelta(),
        start_time=message.start_time.ToDatetime(tzinfo=UTC),
    )


def _cache_statistics(message: node_service_pb2.CacheStatistics) -> nodes.CacheStatistics:
    return nodes.CacheStatistics(
        exact_hits=message.exact_hits,
        hits=message.hits,
        misses=message.misses,
        evictions=message.evictions,
        entries=message.entries,
        bytes=message.bytes,
    )


def xds_client(message: node_service_pb2.XdsClient) -> xds_clients.XdsClient:
    """Return a client of xDS."""
    rule = _known(topology.ResidencyRule, message.residency) if message.residency else None
    return xds_clients.XdsClient(
        id=message.id,
        library=_known(xds_clients.XdsLibrary, message.library),
        user_agent=message.user_agent,
        version=message.version,
        region=message.region,
        tenant=message.tenant,
        residency=rule,
        balancing=message.balancing,
        peer=message.peer,
        caller=message.caller,
        connect_time=message.connect_time.ToDatetime(tzinfo=UTC),
        subscriptions=tuple(map(_xds_subscription, message.subscriptions)),
    )


def _xds_subscription(message: node_service_pb2.XdsSubscription) -> xds_clients.XdsSubscription:
    refusal = None
    if message.HasField("refusal"):
        refusal = xds_clients.XdsRefusal(
            version=message.refusal.version,
            message=message.refusal.message,
            time=message.refusal.time.ToDatetime(tzinfo=UTC),
        )
    return xds_clients.XdsSubscription(
        type=_known(xds_clients.XdsResourceType, message.type),
        names=tuple(message.names),
        sent_version=message.sent_version,
        accepted_version=message.accepted_version,
        refusal=refusal,
    )


# ------------------------------------------------------------------------------ rollouts


def started_rollout(
    message: rollout_service_pb2.StartRolloutResponse,
) -> policies.StartedRollout:
    """Return what starting a rollout came to."""
    return policies.StartedRollout(rollout(message.rollout), problems(message.warnings))


def watched_rollout(message: rollout_service_pb2.WatchRolloutResponse) -> rollouts.Rollout:
    """Return a rollout as it was sent to somebody who watches it."""
    return replace(rollout(message.rollout), server_time=_time(message.server_time))


def rollout(message: rollout_pb2.Rollout) -> rollouts.Rollout:
    """Return a rollout."""
    return rollouts.Rollout(
        id=message.id,
        tenant=message.tenant,
        plan=_plan(message.plan),
        state=_known(rollouts.RolloutState, message.state),
        stable_revision=message.stable_revision,
        candidate_revision=message.candidate_revision,
        step=message.step,
        share_percent=message.share_percent,
        seed=message.seed,
        step_time=_time(message.step_time) if message.HasField("step_time") else None,
        next_step_time=_time(message.next_step_time)
        if message.HasField("next_step_time")
        else None,
        readings=tuple(map(_reading, message.readings)),
        author=message.author,
        message=message.message,
        approver=message.approver,
        create_time=_time(message.create_time),
        update_time=_time(message.update_time),
        nodes=rollouts.NodeTally(
            message.nodes.acknowledged, message.nodes.rejected, message.nodes.pending
        ),
        rollback=_rollback(message.rollback) if message.HasField("rollback") else None,
        etag=message.etag,
    )


def _time(message: timestamp_pb2.Timestamp) -> datetime:
    return message.ToDatetime(tzinfo=UTC)


def _plan(message: rollout_pb2.RolloutPlan) -> rollouts.RolloutPlan:
    guards = tuple(map(_guard, message.guards.guards))
    has_shadow = message.guards.HasField("shadow_percent")
    shadow_percent = message.guards.shadow_percent if has_shadow else None
    match message.WhichOneof("strategy"):
        case "immediate":
            return rollouts.Immediate(guards=guards, shadow_percent=shadow_percent)
        case "canary":
            return rollouts.Canary(
                steps=tuple(
                    rollouts.CanaryStep(
                        step.share_percent,
                        step.bake_time.ToTimedelta() if step.HasField("bake_time") else None,
                    )
                    for step in message.canary.steps
                ),
                unit=_known(rollouts.CanaryUnit, message.canary.unit),
                guards=guards,
                shadow_percent=shadow_percent,
            )
        case "scheduled":
            start_time = _time(message.scheduled.start_time)
            return rollouts.Scheduled(start_time, guards=guards, shadow_percent=shadow_percent)
        case "manual":
            has_deadline = message.manual.HasField("deadline")
            return rollouts.Manual(
                tuple(message.manual.approver_groups),
                _time(message.manual.deadline) if has_deadline else None,
                guards=guards,
                shadow_percent=shadow_percent,
            )
        case _:
            return rollouts.RolloutPlan(guards=guards, shadow_percent=shadow_percent)


def _guard(message: rollout_pb2.Guard) -> rollouts.Guard:
    return rollouts.Guard(
        _known(rollouts.GuardKind, message.kind),
        message.threshold if message.HasField("threshold") else None,
        message.min_samples,
        message.disabled,
    )


def _reading(message: rollout_pb2.GuardReading) -> rollouts.GuardReading:
    return rollouts.GuardReading(
        guard=_guard(message.guard),
        measured=message.measured,
        samples=message.samples,
        status=_known(rollouts.GuardStatus, message.status),
        stable_rate=message.stable_rate,
        candidate_rate=message.candidate_rate,
    )


def _rollback(message: rollout_pb2.RollbackReport) -> rollouts.RollbackReport:
    return rollouts.RollbackReport(
        cause=_known(rollouts.RollbackCause, message.cause),
        time=_time(message.time),
        step=message.step,
        share_percent=message.share_percent,
        breach=_reading(message.breach) if message.HasField("breach") else None,
        examples=tuple(map(_changed_answer, message.examples)),
        changed_answers=message.changed_answers,
        rejections=tuple(map(_rejection, message.rejections)),
        actor=message.actor,
        message=message.message,
    )


def _changed_answer(message: rollout_pb2.ChangedAnswer) -> rollouts.ChangedAnswer:
    asked = message.request
    return rollouts.ChangedAnswer(
        tenant=asked.tenant,
        request=Request(
            subject=Subject(
                asked.subject.type, asked.subject.id, attributes(asked.subject.properties)
            ),
            action=Action(
                asked.action.name, asked.action.type, attributes(asked.action.properties)
            ),
            resource=Resource(
                asked.resource.type, asked.resource.id, attributes(asked.resource.properties)
            ),
            context=attributes(asked.context),
            entities=tuple(map(entity, asked.entities)),
        ),
        stable=result(message.stable),
        candidate=result(message.candidate),
    )


def _rejection(message: rollout_pb2.RevisionRejection) -> rollouts.RevisionRejection:
    return rollouts.RevisionRejection(
        node=message.node,
        region=message.region,
        tenant=message.tenant,
        revision=message.revision,
        reason=message.reason,
        message=message.message,
        time=_time(message.time),
    )


def node_revision(message: rollout_pb2.NodeRevision) -> rollouts.NodeRevision:
    """Return what one node decides by."""
    return rollouts.NodeRevision(
        node=message.node,
        region=message.region,
        revision=message.revision,
        lag=message.lag.ToTimedelta(),
        acknowledge_time=_time(message.acknowledge_time)
        if message.HasField("acknowledge_time")
        else None,
        propagation=message.propagation.ToTimedelta() if message.HasField("propagation") else None,
        candidate_revision=message.candidate_revision,
        share_percent=message.share_percent,
        rejection=_rejection(message.rejection) if message.HasField("rejection") else None,
    )
