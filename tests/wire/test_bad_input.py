"""Bad input is refused with a precise error, before any work, and changes nothing."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import grpc
import pytest
import pytest_asyncio
from google.protobuf.message import Message

from placet.v1 import evaluate_service_pb2 as evaluate_pb2
from placet.v1 import policy_pb2, policy_service_pb2, subscribe_service_pb2, value_pb2
from tests.wire.details import info, violated_fields
from tests.wire.service import TENANT, TIMEOUT_S, Service, policy, request, running_service

_GOOD = policy("good", "permit(principal, action, resource);")

EVALUATE = "EvaluateService/Evaluate"
BATCH = "EvaluateService/EvaluateBatch"
SEARCH = "EvaluateService/Search"
PUBLISH = "PolicyService/Publish"
GET = "PolicyService/Get"
LIST = "PolicyService/List"
DIFF = "PolicyService/Diff"
TEST = "PolicyService/Test"
SUBSCRIBE = "SubscribeService/Subscribe"


@dataclass(frozen=True, slots=True)
class Bad:
    """One bad input and how it has to be refused."""

    name: str
    method: str
    message: Message | bytes
    reason: str
    fields: tuple[str, ...] = ()
    """Fields the violations have to name, all of them."""
    says: str = ""
    """Part of the message."""
    code: grpc.StatusCode = grpc.StatusCode.INVALID_ARGUMENT
    metadata: Mapping[str, str] = field(default_factory=dict)


def _publish(*policies: policy_pb2.Policy, tenant: str = TENANT, **change_set: Any) -> Message:
    return policy_service_pb2.PublishRequest(
        tenant=tenant, change_set=policy_pb2.ChangeSet(policies=policies, **change_set)
    )


def _nested_context(depth: int) -> bytes:
    """Write a request whose context nests sets, deeper than the library itself would."""
    data = value_pb2.Value(bool_value=True).SerializeToString()
    for _ in range(depth):
        data = _field(4, _field(1, data))  # Value.set_value, SetValue.elements
    entry = _field(1, b"it") + _field(2, data)
    return request().SerializeToString() + _field(5, entry)  # EvaluateRequest.context


def _field(number: int, data: bytes) -> bytes:
    """Write a length-delimited protobuf field."""
    length, size = b"", len(data)
    while size >= 0x80:
        length += bytes([size & 0x7F | 0x80])
        size >>= 7
    return bytes([number << 3 | 2]) + length + bytes([size]) + data


def _with_context(value: value_pb2.Value) -> Message:
    message = request()
    message.context["it"].CopyFrom(value)
    return message


def _bytes(message: Message, old: bytes, new: bytes) -> bytes:
    data = message.SerializeToString()
    assert old in data
    return data.replace(old, new)


_TEMPLATE = policy("tpl", "permit(principal == ?principal, action, resource);")
_ALICE = value_pb2.EntityUid(type="User", id="alice")
_SCHEMA = policy_pb2.Schema(
    text="entity User; entity Document { level: Long }; "
    "action view appliesTo { principal: User, resource: Document };"
)

BAD_INPUTS = [
    Bad(
        "nothing at all",
        EVALUATE,
        evaluate_pb2.EvaluateRequest(),
        "REQUEST_MALFORMED",
        ("tenant", "subject.type", "resource.type"),
    ),
    Bad("no tenant", EVALUATE, request(tenant=""), "REQUEST_MALFORMED", ("tenant",)),
    Bad(
        "tenant of odd characters",
        EVALUATE,
        request(tenant="a b"),
        "REQUEST_MALFORMED",
        ("tenant",),
    ),
    Bad(
        "tenant nobody published for",
        EVALUATE,
        request(tenant="nobody"),
        "TENANT_UNKNOWN",
        says="`nobody`",
        code=grpc.StatusCode.NOT_FOUND,
    ),
    Bad("empty subject id", EVALUATE, request("User::"), "EMPTY_ID", ("subject.id",)),
    Bad("empty action", EVALUATE, request(action=""), "EMPTY_ID", ("action.name",)),
    Bad(
        "type that is no name",
        EVALUATE,
        request("us er::alice"),
        "REQUEST_MALFORMED",
        ("subject.type",),
        says="`us er`",
    ),
    Bad(
        "id too long",
        EVALUATE,
        request("User::" + "x" * 1025),
        "REQUEST_MALFORMED",
        ("subject.id",),
        says="1024",
    ),
    Bad(
        "string too long",
        EVALUATE,
        _with_context(value_pb2.Value(string_value="x" * 65_537)),
        "REQUEST_MALFORMED",
        ("context.it",),
        says="65536",
    ),
    Bad(
        "request too large",
        EVALUATE,
        request(entities=[value_pb2.Entity(uid=_ALICE)] * 80_000),
        "MESSAGE_TOO_LARGE",
        says="1048576",
        code=grpc.StatusCode.RESOURCE_EXHAUSTED,
    ),
    Bad(
        "too many attributes",
        EVALUATE,
        request(context={f"a{number}": 1 for number in range(513)}),
        "REQUEST_MALFORMED",
        ("context",),
        says="512",
    ),
    Bad(
        "too many entities",
        EVALUATE,
        request(entities=[value_pb2.Entity(uid=_ALICE)] * 1001),
        "REQUEST_MALFORMED",
        ("entities",),
    ),
    Bad(
        "nested too deep",
        EVALUATE,
        _nested_context(24),
        "REQUEST_MALFORMED",
        ("context.it" + "[0]" * 23,),
        says="24 levels",
    ),
    Bad(
        "nested deeper than protobuf reads",
        EVALUATE,
        _nested_context(60),
        "MESSAGE_UNREADABLE",
    ),
    Bad(
        "value without a value",
        EVALUATE,
        _with_context(value_pb2.Value()),
        "REQUEST_MALFORMED",
        ("context.it",),
    ),
    Bad(
        "reserved attribute name",
        EVALUATE,
        request(context={"nested": {"__expr": "x"}}),
        "REQUEST_MALFORMED",
        ("context.nested.__expr",),
    ),
    Bad(
        "unknown extension",
        EVALUATE,
        _with_context(
            value_pb2.Value(
                extension_value=value_pb2.ExtensionValue(function="float", argument="1")
            )
        ),
        "REQUEST_MALFORMED",
        ("context.it.function",),
        says="`decimal`",
    ),
    Bad(
        "extension with a bad argument",
        EVALUATE,
        _with_context(
            value_pb2.Value(extension_value=value_pb2.ExtensionValue(function="ip", argument="1.2"))
        ),
        "REQUEST_REFUSED",
        says="1.2",
    ),
    Bad(
        "permit nobody issued",
        EVALUATE,
        request(permit="forged"),
        "REQUEST_MALFORMED",
        ("permit",),
    ),
    Bad(
        "invalid utf-8",
        EVALUATE,
        _bytes(request("User::zzzz"), b"zzzz", b"\xff\xfe\xff\xfe"),
        "MESSAGE_UNREADABLE",
        says="utf-8",
    ),
    Bad("bytes that are no message", EVALUATE, b"\xff" * 20, "MESSAGE_UNREADABLE"),
    Bad(
        "field of another type",
        EVALUATE,
        # Field 2, `subject`, as text that is not a message.
        b"\x0a\x04acme\x12\x05hello",
        "MESSAGE_UNREADABLE",
    ),
    Bad(
        "empty batch",
        BATCH,
        evaluate_pb2.EvaluateBatchRequest(tenant=TENANT),
        "REQUEST_MALFORMED",
        ("items",),
    ),
    Bad(
        "absurd batch",
        BATCH,
        evaluate_pb2.EvaluateBatchRequest(tenant=TENANT, items=[evaluate_pb2.BatchItem()] * 1001),
        "REQUEST_MALFORMED",
        ("items",),
        says="1001",
    ),
    Bad(
        "batch with one bad item",
        BATCH,
        evaluate_pb2.EvaluateBatchRequest(
            tenant=TENANT,
            subject=request().subject,
            action=request().action,
            items=[
                evaluate_pb2.BatchItem(resource=request().resource),
                evaluate_pb2.BatchItem(resource=evaluate_pb2.Resource(type="1x", id="a")),
            ],
        ),
        "REQUEST_MALFORMED",
        ("items[1].resource.type",),
    ),
    Bad(
        "unknown enum",
        BATCH,
        evaluate_pb2.EvaluateBatchRequest(
            tenant=TENANT,
            items=[evaluate_pb2.BatchItem()],
            semantics=99,  # type: ignore[arg-type]
        ),
        "REQUEST_MALFORMED",
        ("semantics",),
        says="99",
    ),
    Bad(
        "search without a target",
        SEARCH,
        evaluate_pb2.SearchRequest(request=request()),
        "REQUEST_MALFORMED",
        ("target",),
        says="SUBJECT",
    ),
    Bad(
        "search with a forged page token",
        SEARCH,
        evaluate_pb2.SearchRequest(
            request=request(), target=evaluate_pb2.SEARCH_TARGET_SUBJECT, page_token="x"
        ),
        "PAGE_TOKEN_REFUSED",
        code=grpc.StatusCode.ABORTED,
    ),
    Bad(
        "policy with a typo",
        PUBLISH,
        _publish(
            policy_pb2.Policy(
                id="typo",
                cedar="permit(principal, action, resource)\nwhen { resorce.public };",
                position=evaluate_pb2.SourcePosition(file="docs.cedar", line=7, column=1),
            )
        ),
        "POLICY_SYNTAX",
        ("change_set.policies[0].cedar",),
        says="docs.cedar:8:8",
    ),
    Bad(
        "two policies in one",
        PUBLISH,
        _publish(policy("two", "permit(principal, action, resource);" * 2)),
        "POLICY_COUNT",
        ("change_set.policies[0].cedar",),
    ),
    Bad(
        "misspelt annotation",
        PUBLISH,
        _publish(policy("ap", '@aproval("leads") permit(principal, action, resource);')),
        "POLICY_ANNOTATION",
        ("change_set.policies[0].cedar",),
        says="`@approval`",
    ),
    Bad(
        "policy that is not in the schema",
        PUBLISH,
        _publish(
            policy("s", 'permit(principal, action == Action::"veiw", resource);'), schema=_SCHEMA
        ),
        "POLICY_NOT_IN_SCHEMA",
        says='Action::"veiw"',
    ),
    Bad(
        "schema with a typo",
        PUBLISH,
        _publish(schema=policy_pb2.Schema(text="entty User;")),
        "SCHEMA_SYNTAX",
        ("change_set.schema",),
    ),
    Bad(
        "entity that is not in the schema",
        PUBLISH,
        _publish(
            schema=_SCHEMA,
            entities=[value_pb2.Entity(uid=value_pb2.EntityUid(type="Planet", id="mars"))],
        ),
        "ENTITY_INVALID",
        ("change_set.entities[0]",),
        says="Planet",
    ),
    Bad(
        "entities in a circle",
        PUBLISH,
        _publish(
            entities=[
                value_pb2.Entity(
                    uid=value_pb2.EntityUid(type="Group", id=id_),
                    parents=[value_pb2.EntityUid(type="Group", id=parent)],
                )
                for id_, parent in (("a", "b"), ("b", "a"))
            ]
        ),
        "ENTITY_INVALID",
        says="cycle",
    ),
    Bad(
        "ids given twice",
        PUBLISH,
        _publish(_GOOD, _GOOD),
        "DUPLICATE_KEY",
        says="policy good is in the change set 2 times",
    ),
    Bad(
        "link with the id of a policy",
        PUBLISH,
        _publish(
            _TEMPLATE,
            template_links=[
                policy_pb2.TemplateLink(id="good", template_id="tpl", principal=_ALICE)
            ],
        ),
        "ID_TAKEN",
        ("change_set.template_links[0]",),
    ),
    Bad(
        "template slots unfilled",
        PUBLISH,
        _publish(_TEMPLATE, template_links=[policy_pb2.TemplateLink(id="link", template_id="tpl")]),
        "LINK_SLOTS",
        ("change_set.template_links[0]",),
        says="`?principal`",
    ),
    Bad(
        "link of no template",
        PUBLISH,
        _publish(
            template_links=[policy_pb2.TemplateLink(id="l", template_id="gone", principal=_ALICE)]
        ),
        "LINK_TEMPLATE_MISSING",
        says="`gone`",
    ),
    Bad(
        "policy without an id and text",
        PUBLISH,
        _publish(policy_pb2.Policy()),
        "REQUEST_MALFORMED",
        ("change_set.policies[0].id", "change_set.policies[0].cedar"),
    ),
    Bad(
        "layer of the platform in a tenant",
        PUBLISH,
        _publish(policy("p", _GOOD.cedar, layer=1)),
        "REQUEST_MALFORMED",
        ("change_set.policies[0].layer",),
    ),
    Bad(
        "deleting what is not there",
        PUBLISH,
        _publish(deletes=[policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_POLICY, id="gone")]),
        "ITEM_MISSING",
        ("deletes[0]",),
    ),
    Bad(
        "an older revision expected",
        PUBLISH,
        policy_service_pb2.PublishRequest(
            tenant=TENANT,
            expected_revision=7,
            change_set=policy_pb2.ChangeSet(policies=[policy("new", _GOOD.cedar)]),
        ),
        "REVISION_CONFLICT",
        code=grpc.StatusCode.ABORTED,
        metadata={"expected": "7", "actual": "1"},
    ),
    Bad(
        "an item that is not there",
        GET,
        policy_service_pb2.GetRequest(
            tenant=TENANT, keys=[policy_pb2.ItemKey(kind=policy_pb2.ITEM_KIND_POLICY, id="gone")]
        ),
        "ITEM_UNKNOWN",
        says="policy gone",
        code=grpc.StatusCode.NOT_FOUND,
    ),
    Bad(
        "kinds to replace where nothing is replaced",
        PUBLISH,
        policy_service_pb2.PublishRequest(
            tenant=TENANT,
            change_set=policy_pb2.ChangeSet(replace_kinds=[policy_pb2.ITEM_KIND_ENTITY]),
        ),
        "REQUEST_MALFORMED",
        ("change_set.replace_kinds",),
    ),
    Bad(
        "kinds to replace that are no content",
        PUBLISH,
        policy_service_pb2.PublishRequest(
            tenant=TENANT,
            change_set=policy_pb2.ChangeSet(
                replace_all=True, replace_kinds=[policy_pb2.ITEM_KIND_ROLLOUT]
            ),
        ),
        "REQUEST_MALFORMED",
        ("change_set.replace_kinds[0]",),
    ),
    Bad(
        "page too large",
        LIST,
        policy_service_pb2.ListRequest(tenant=TENANT, page_size=1001),
        "REQUEST_MALFORMED",
        ("page_size",),
    ),
    Bad(
        "a revision that is not there yet",
        DIFF,
        policy_service_pb2.DiffRequest(tenant=TENANT, from_revision=1, to_revision=99),
        "REVISION_UNKNOWN",
        code=grpc.StatusCode.OUT_OF_RANGE,
    ),
    Bad(
        "test of a policy with a typo",
        TEST,
        policy_service_pb2.TestRequest(
            tenant=TENANT,
            requests=[request()],
            change_set=policy_pb2.ChangeSet(policies=[policy("bad", "permit(")]),
        ),
        "POLICY_SYNTAX",
        ("change_set.policies[0].cedar",),
    ),
    Bad(
        "pattern with a star inside",
        SUBSCRIBE,
        subscribe_service_pb2.SubscribeRequest(
            tenant=TENANT, filter=subscribe_service_pb2.SubscribeFilter(policy_ids=["a*b"])
        ),
        "REQUEST_MALFORMED",
        ("filter.policy_ids[0]",),
    ),
    Bad(
        "forged cursor",
        SUBSCRIBE,
        subscribe_service_pb2.SubscribeRequest(tenant=TENANT, cursor=b"\x00\x01"),
        "CURSOR_REFUSED",
    ),
]


@pytest_asyncio.fixture(scope="module", loop_scope="module", name="service")
async def service_fixture() -> AsyncIterator[Service]:
    async with running_service() as service:
        await service.publish(_GOOD)
        yield service


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("bad", BAD_INPUTS, ids=lambda bad: bad.name.replace(" ", "-"))
async def test_bad_input_is_refused_and_changes_nothing(service: Service, bad: Bad) -> None:
    before = await _everything(service)

    error = await _refusal(service, bad)

    assert (bad.code, bad.reason) == (error.code(), info(error).reason), error.details()
    assert info(error).domain == "placet.dev"
    assert bad.says in (error.details() or "")
    assert bad.metadata.items() <= dict(info(error).metadata).items()
    assert set(bad.fields) <= violated_fields(error)
    assert before == await _everything(service)


def test_there_are_at_least_twenty_kinds() -> None:
    assert len({bad.name for bad in BAD_INPUTS}) >= 20


async def _refusal(service: Service, bad: Bad) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await send(service.channel, bad)
    return caught.value


async def send(channel: Any, bad: Bad) -> None:
    """Send raw bytes, so that what no stub would send can be sent as well."""
    data = bad.message if isinstance(bad.message, bytes) else bad.message.SerializeToString()
    path = f"/placet.v1.{bad.method}"
    if bad.method == SUBSCRIBE:
        async for _ in channel.unary_stream(path)(data, timeout=TIMEOUT_S):
            pass
    else:
        await channel.unary_unary(path)(data, timeout=TIMEOUT_S)


async def _everything(service: Service) -> tuple[int, bytes]:
    """Return the store's head and all the tenant has."""
    listed = await service.policy.List(
        policy_service_pb2.ListRequest(tenant=TENANT), timeout=TIMEOUT_S
    )
    return service.node.active.revision, listed.SerializeToString(deterministic=True)
