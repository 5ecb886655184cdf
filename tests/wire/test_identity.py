"""Who calls is proved, and nobody does or sees what they may not."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pool, message_factory
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from placet.v1 import (
    evaluate_service_pb2,
    node_service_pb2,
    policy_pb2,
    policy_service_pb2,
    rollout_pb2,
    rollout_service_pb2,
    subscribe_service_pb2,
    topology_pb2,
    topology_service_pb2,
)
from placet_server.api.rpcs import RPCS, Unnamed
from placet_server.api.server import PLACET_SERVICES
from placet_server.identity.permissions import Permission
from placet_server.testing import ManualClock
from tests.identities import (
    Issuer,
    TlsFolder,
    authority,
    bearer,
    channel_to,
    entry,
    identity_config,
    issued,
    server_certificate,
)
from tests.wire.details import info
from tests.wire.service import (
    TENANT,
    TIMEOUT_S,
    Service,
    policy,
    request,
    running_service,
    stubs,
)

OTHER, GHOST = "other", "ghost"
_PERMIT = policy("all", "permit (principal, action, resource);")
_EVERYTHING = entry(*Permission, names=["root"], tenants=["*"], platform=True)
_Code = grpc.StatusCode


@pytest.fixture
def issuer() -> Issuer:
    return Issuer()


@asynccontextmanager
async def known(
    folder: Path, issuer: Issuer, *access: str, **options: Any
) -> AsyncIterator[Service]:
    """Run a server that takes tokens, with two tenants; `root` may do everything."""
    identity = identity_config(folder, "\n".join([_EVERYTHING, *access]), issuer.jwks)
    async with running_service(identity=identity, **options) as service:
        for tenant in (TENANT, OTHER):
            await service.policy.Publish(
                _publish(tenant), metadata=bearer(issuer.token("root")), timeout=TIMEOUT_S
            )
        yield service


def _publish(tenant: str) -> policy_service_pb2.PublishRequest:
    return policy_service_pb2.PublishRequest(
        tenant=tenant, change_set=policy_pb2.ChangeSet(policies=[_PERMIT])
    )


# ------------------------------------------------------------------------- who it is


async def test_a_certificate_and_a_token_say_who_calls(tmp_path: Path, issuer: Issuer) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    folder.put(server_certificate(ca), ca.files.certificate)
    access = entry("publish", "read", names=["spiffe://example.test/*"], tenants=[TENANT])
    access += entry("decide", names=["alice"], tenants=[TENANT])
    identity = identity_config(tmp_path, access, issuer.jwks)
    shown = issued(ca, "orders", "spiffe://example.test/orders")
    async with (
        running_service(tls=folder.config(), identity=identity) as service,
        channel_to(service.node.address, ca.files.certificate, shown) as channel,
    ):
        calls, alice = stubs(channel), bearer(issuer.token("alice"))
        await calls["policy"].Publish(_publish(TENANT), timeout=TIMEOUT_S)
        history = await calls["policy"].History(
            policy_service_pb2.HistoryRequest(tenant=TENANT), timeout=TIMEOUT_S
        )
        assert history.revisions[0].author == "spiffe://example.test/orders"
        await calls["evaluate"].Evaluate(request(), metadata=alice, timeout=TIMEOUT_S)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            # The token names the caller, whatever the certificate could do.
            await calls["policy"].Publish(_publish(TENANT), metadata=alice, timeout=TIMEOUT_S)
        assert refused.value.code() is _Code.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("token", "reason"),
    [
        ({"lifetime_s": -60}, "TOKEN_EXPIRED"),
        ({"nbf": 4_000_000_000}, "TOKEN_TOO_EARLY"),
        ({"aud": "somebody-else"}, "TOKEN_REFUSED"),
        ({"iss": "https://elsewhere.test"}, "TOKEN_REFUSED"),
        ({"exp": None}, "TOKEN_REFUSED"),
        ({"exp": "soon"}, "TOKEN_MALFORMED"),
        ({"exp": float("inf")}, "TOKEN_MALFORMED"),
        ({"exp": 10**400}, "TOKEN_MALFORMED"),
        ({"nbf": "now"}, "TOKEN_MALFORMED"),
        ({"sub": None}, "TOKEN_UNNAMED"),
        ({"sub": ""}, "TOKEN_UNNAMED"),
        ({"header": {"kid": "unheard-of"}}, "TOKEN_REFUSED"),
    ],
)
async def test_a_bad_token_is_no_caller(
    tmp_path: Path, issuer: Issuer, token: dict[str, Any], reason: str
) -> None:
    async with known(tmp_path, issuer) as service:
        for _ in range(2):
            error = await _refused(service, "root", issuer.token("root", **token))
            assert (error.code(), info(error).reason) == (_Code.UNAUTHENTICATED, reason)


@pytest.mark.parametrize(
    "authorization",
    ["", "Bearer", "Bearer ", "Bearer a.b.c", "Basic cm9vdDpyb290", "Bearer " + "a" * 6000],
)
async def test_what_is_no_token_is_no_caller(
    tmp_path: Path, issuer: Issuer, authorization: str
) -> None:
    async with known(tmp_path, issuer) as service:
        error = await _failed(
            service.evaluate.Evaluate(
                request(), metadata=(("authorization", authorization),), timeout=TIMEOUT_S
            )
        )
        assert (error.code(), info(error).reason) == (_Code.UNAUTHENTICATED, "TOKEN_MALFORMED")


async def test_a_token_is_good_until_it_expires(tmp_path: Path, issuer: Issuer) -> None:
    clock = ManualClock()
    now_s = clock.now().timestamp()
    identity = identity_config(tmp_path, _EVERYTHING, issuer.jwks)
    async with running_service(identity=identity, clock=clock) as service:
        root = bearer(issuer.token("root", now_s=now_s, lifetime_s=60))
        await service.policy.Publish(_publish(TENANT), metadata=root, timeout=TIMEOUT_S)
        await service.evaluate.Evaluate(request(), metadata=root, timeout=TIMEOUT_S)
        clock.advance(60)
        error = await _failed(
            service.evaluate.Evaluate(request(), metadata=root, timeout=TIMEOUT_S)
        )
        assert (error.code(), info(error).reason) == (_Code.UNAUTHENTICATED, "TOKEN_EXPIRED")


async def test_what_a_caller_says_of_itself_has_to_be_so(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("publish", names=["alice"], tenants=[TENANT], member_of=["leads"])
    async with known(tmp_path, issuer, access) as service:
        token = issuer.token("alice", groups=["staff"])

        async def publish(*said: tuple[str, str]) -> object:
            return await service.policy.Publish(
                _publish(TENANT), metadata=(*bearer(token), *said), timeout=TIMEOUT_S
            )

        await publish(("placet-actor", "alice"), ("placet-groups", "staff,leads"))
        for said in (("placet-actor", "bob"), ("placet-groups", "staff,admins")):
            error = await _failed(publish(said))
            assert (error.code(), info(error).reason) == (_Code.PERMISSION_DENIED, "ACTOR_DIFFERS")


async def test_approval_goes_by_proved_names(tmp_path: Path, issuer: Issuer) -> None:
    """The author cannot approve under another name, nor say it is in a group."""
    access = entry("publish", "approve", "read", names=["*"], tenants=[TENANT])
    async with known(tmp_path, issuer, access) as service:
        ann, bob = (
            bearer(issuer.token(name, groups=groups))
            for name, groups in (("ann", ["leads"]), ("bob", ["leads"]))
        )
        carl = bearer(issuer.token("carl"))
        started = await service.rollouts.StartRollout(
            rollout_service_pb2.StartRolloutRequest(
                tenant=TENANT,
                change_set=policy_pb2.ChangeSet(
                    policies=[policy("no", "forbid (principal, action, resource);")]
                ),
                plan=rollout_pb2.RolloutPlan(
                    manual=rollout_pb2.ManualStrategy(approver_groups=["leads"])
                ),
            ),
            metadata=ann,
            timeout=TIMEOUT_S,
        )
        assert started.rollout.author == "ann"
        approve = rollout_service_pb2.ApproveRolloutRequest(
            tenant=TENANT, rollout_id=started.rollout.id, etag=started.rollout.etag
        )
        for who, reason in (
            (ann, "APPROVAL_REFUSED"),
            (carl, "APPROVAL_REFUSED"),
            ((*ann, ("placet-actor", "bob")), "ACTOR_DIFFERS"),
            ((*carl, ("placet-groups", "leads")), "ACTOR_DIFFERS"),
        ):
            error = await _failed(
                service.rollouts.ApproveRollout(approve, metadata=who, timeout=TIMEOUT_S)
            )
            assert (error.code(), info(error).reason) == (_Code.PERMISSION_DENIED, reason)
        approved = await service.rollouts.ApproveRollout(approve, metadata=bob, timeout=TIMEOUT_S)
        assert approved.rollout.approver == "bob"


# ----------------------------------------------------------------- every rpc, every caller

_SERVED_AT_LEAST = 38
_SERVED = sorted(method for method in RPCS if method[1:].partition("/")[0] in PLACET_SERVICES)


@pytest.fixture
def walked() -> str:
    """Callers of each kind: who may do one thing for one tenant, and nothing else."""
    texts = [entry(name, names=[f"{name}@{TENANT}"], tenants=[TENANT]) for name in Permission]
    return "\n".join(texts)


async def test_every_rpc_asks_who_calls_and_whether_they_may(
    tmp_path: Path, issuer: Issuer, walked: str
) -> None:
    asked = 0
    async with known(tmp_path, issuer, walked) as service:
        for method in _SERVED:
            rpc = RPCS[method]
            error = await _answer(service, method, TENANT, metadata=())
            if error[0] == "UNIMPLEMENTED":
                continue
            asked += 1
            assert (error[0], error[1]) == ("UNAUTHENTICATED", "CREDENTIALS_MISSING"), method
            for permission in Permission:
                token = bearer(issuer.token(f"{permission}@{TENANT}"))
                code, reason, _ = await _answer(service, method, TENANT, metadata=token)
                is_allowed = _is_allowed(method, permission)
                assert ((code, reason) != ("PERMISSION_DENIED", "NOT_ALLOWED")) is is_allowed, (
                    f"{method} by {permission}: {code} {reason}"
                )
                if not rpc.tenant_field:
                    continue
                answers = [
                    await _answer(service, method, tenant, metadata=token)
                    for tenant in (OTHER, GHOST)
                ]
                for (code, reason, text), tenant in zip(answers, (OTHER, GHOST), strict=True):
                    assert (code, reason) == ("PERMISSION_DENIED", "NOT_ALLOWED"), method
                    # Whether there is such a tenant is nobody else's business.
                    assert text.replace(tenant, "") == answers[0][2].replace(OTHER, ""), method
    assert asked >= _SERVED_AT_LEAST


def _is_allowed(method: str, permission: Permission) -> bool:
    rpc = RPCS[method]
    if rpc.tenant_field:
        return permission in rpc.permissions
    return permission in rpc.needed("") and rpc.unnamed is not Unnamed.PLATFORM


async def test_what_is_the_platforms_takes_its_own_word(tmp_path: Path, issuer: Issuer) -> None:
    access = entry(*Permission, names=["tenants"], tenants=["*"])
    access += entry(*Permission, names=["platform"], platform=True)
    async with known(tmp_path, issuer, access) as service:
        for method in _SERVED:
            if RPCS[method].unnamed is not Unnamed.PLATFORM:
                continue
            for name in ("tenants", "platform"):
                code, reason, _ = await _answer(
                    service, method, "", metadata=bearer(issuer.token(name))
                )
                is_refused = (code, reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
                assert is_refused is (name == "tenants") or code == "UNIMPLEMENTED", method


async def test_an_answer_that_is_remembered_is_not_for_everybody(
    tmp_path: Path, issuer: Issuer
) -> None:
    """The hot path looks answers up by the bytes of the request, before anything is read."""
    access = entry("decide", names=["eve"], tenants=[OTHER])
    async with known(tmp_path, issuer, access) as service:
        for token in ("root", "root"):
            await service.evaluate.Evaluate(
                request(), metadata=bearer(issuer.token(token)), timeout=TIMEOUT_S
            )
        eve = bearer(issuer.token("eve"))
        twice = request(tenant=OTHER).SerializeToString() + request().SerializeToString()
        # The last of two tenants counts, and the first is what is seen at first sight.
        for asked in (request().SerializeToString(), twice):
            evaluate: Any = service.channel.unary_unary("/placet.v1.EvaluateService/Evaluate")
            error = await _failed(evaluate(asked, metadata=eve, timeout=TIMEOUT_S))
            assert info(error).reason == "NOT_ALLOWED"


# ------------------------------------------------------------------------ what is listed


async def test_lists_leave_out_what_the_caller_may_not_see(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("read", names=["eve"], tenants=["oth*"])
    async with known(tmp_path, issuer, access) as service:
        for tenant in (TENANT, OTHER):
            await service.evaluate.Evaluate(
                request(tenant=tenant), metadata=bearer(issuer.token("root")), timeout=TIMEOUT_S
            )
        for name, seen in (("root", {TENANT, OTHER}), ("eve", {OTHER})):
            found = await service.nodes.GetCacheStatistics(
                node_service_pb2.GetCacheStatisticsRequest(),
                metadata=bearer(issuer.token(name)),
                timeout=TIMEOUT_S,
            )
            assert {listed.tenant for listed in found.tenants} == seen
            assert found.tenant_count == len(seen)
            assert found.total.misses == len(seen)


async def test_tenants_are_listed_to_those_who_may_see_them(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("read", names=["eve"], tenants=["oth*"])
    async with known(tmp_path, issuer, access) as service:
        for name, seen in (("root", [TENANT, OTHER]), ("eve", [OTHER])):
            listed = await service.topology.ListTenants(
                topology_service_pb2.ListTenantsRequest(),
                metadata=bearer(issuer.token(name)),
                timeout=TIMEOUT_S,
            )
            assert [tenant.name for tenant in listed.tenants] == seen


async def test_the_topology_is_shown_as_far_as_one_may_see(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("read", names=["eve"], tenants=["oth*"])
    access += entry("node", names=["relay"], tenants=["oth*"])
    async with known(tmp_path, issuer, access) as service:
        await _place(service, issuer)
        for name, tenants, has_nodes in (
            ("root", {TENANT, OTHER}, True),
            ("relay", {OTHER}, True),
            ("eve", {OTHER}, False),
        ):
            call: Any = service.topology.WatchTopology(
                topology_service_pb2.WatchTopologyRequest(), metadata=bearer(issuer.token(name))
            )
            seen: set[str] = set()
            nodes = 0
            async with asyncio.timeout(TIMEOUT_S):
                is_whole = False
                while not is_whole:
                    message = await call.read()
                    is_whole = message.snapshot_end
                    seen |= {change.tenant.name for change in message.changes} - {""}
                    nodes += sum(change.HasField("node") for change in message.changes)
            call.cancel()
            assert (seen, bool(nodes)) == (tenants, has_nodes)


async def test_placements_are_followed_by_those_who_may_see_them(
    tmp_path: Path, issuer: Issuer
) -> None:
    """They lie together, and each is some tenant's."""
    access = entry("node", names=["relay"], tenants=["oth*"])
    async with known(tmp_path, issuer, access) as service:
        await _place(service, issuer)
        for name, seen in (("root", {TENANT, OTHER}), ("relay", {OTHER})):
            call: Any = service.subscribe.Subscribe(
                subscribe_service_pb2.SubscribeRequest(), metadata=bearer(issuer.token(name))
            )
            placed: set[str] = set()
            async with asyncio.timeout(TIMEOUT_S):
                while not (message := await call.read()).HasField("heartbeat"):
                    placed |= {
                        item.placement.name
                        for item in message.snapshot_chunk.items
                        if item.HasField("placement")
                    }
            assert placed == seen
            call.cancel()


async def test_who_follows_everything_gets_what_it_may(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("node", names=["relay"], tenants=["oth*"])
    async with known(tmp_path, issuer, access) as service:
        for name, seen in (("root", {TENANT, OTHER}), ("relay", {OTHER})):
            call: Any = service.subscribe.Subscribe(
                subscribe_service_pb2.SubscribeRequest(), metadata=bearer(issuer.token(name))
            )
            owners: set[str] = set()
            async with asyncio.timeout(TIMEOUT_S):
                while not (message := await call.read()).HasField("heartbeat"):
                    owners |= {item.owner for item in message.snapshot_chunk.items}
                assert owners == seen
                for tenant in (TENANT, OTHER):
                    changed = _publish(tenant)
                    changed.change_set.policies[0].description = name
                    await service.policy.Publish(
                        changed, metadata=bearer(issuer.token("root")), timeout=TIMEOUT_S
                    )
                deltas: set[str] = set()
                while OTHER not in deltas:
                    message = await call.read()
                    deltas |= {change.upsert.owner for change in message.delta.changes}
            assert deltas == seen
            call.cancel()


# ----------------------------------------------------------------------- while it lasts


async def test_a_stream_does_not_outlive_its_token(tmp_path: Path, issuer: Issuer) -> None:
    clock = ManualClock()
    identity = identity_config(tmp_path, _EVERYTHING, issuer.jwks)
    async with running_service(identity=identity, clock=clock) as service:
        token = issuer.token("root", now_s=clock.now().timestamp(), lifetime_s=60)
        await service.policy.Publish(_publish(TENANT), metadata=bearer(token), timeout=TIMEOUT_S)
        call: Any = service.subscribe.Subscribe(
            subscribe_service_pb2.SubscribeRequest(tenant=TENANT), metadata=bearer(token)
        )
        async with asyncio.timeout(TIMEOUT_S):
            while not (await call.read()).HasField("heartbeat"):
                pass
            clock.advance(61)
            error = await _failed(_read_on(call))
        assert (error.code(), info(error).reason) == (_Code.UNAVAILABLE, "CALLER_CHANGED")


async def test_an_access_file_is_read_anew(tmp_path: Path, issuer: Issuer) -> None:
    """Who loses a right loses it at once, streams included; a broken file changes nothing."""
    access = entry("read", names=["eve"], tenants=[OTHER])
    async with known(tmp_path, issuer, access) as service:
        eve, root = bearer(issuer.token("eve")), bearer(issuer.token("root"))
        calls = [
            service.subscribe.Subscribe(
                subscribe_service_pb2.SubscribeRequest(tenant=OTHER), metadata=who
            )
            for who in (eve, root)
        ]
        for call in calls:
            await call.read()
        path = tmp_path / "access.toml"
        path.write_text("[[access]]\nnames = 7")
        path.with_suffix(".new").write_text(_EVERYTHING)
        path.with_suffix(".new").rename(path)
        async with asyncio.timeout(TIMEOUT_S):
            error = await _failed(_read_on(calls[0]))
            assert (error.code(), info(error).reason) == (_Code.UNAVAILABLE, "CALLER_CHANGED")
            code, reason, _ = await _answer(
                service, "/placet.v1.PolicyService/List", OTHER, metadata=eve
            )
            assert (code, reason) == ("PERMISSION_DENIED", "NOT_ALLOWED")
            # Others are left in peace.
            assert (await calls[1].read()) is not grpc.aio.EOF
        calls[1].cancel()


# -------------------------------------------------------------------- what is not placet's


async def test_health_is_for_everybody_and_channelz_for_operators(
    tmp_path: Path, issuer: Issuer
) -> None:
    access = entry("operate", names=["eve"], tenants=["*"])
    async with known(tmp_path, issuer, access) as service:
        health: Any = health_pb2_grpc.HealthStub(service.channel)
        answer = await health.Check(health_pb2.HealthCheckRequest(), timeout=TIMEOUT_S)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        untyped: Any = service.channel
        channelz: Any = channelz_pb2_grpc.ChannelzStub(untyped)
        reflection: Any = reflection_pb2_grpc.ServerReflectionStub(untyped)
        for name, codes in (
            ("", (_Code.UNAUTHENTICATED, _Code.UNAUTHENTICATED)),
            ("eve", (_Code.PERMISSION_DENIED, _Code.OK)),
            ("root", (_Code.OK, _Code.OK)),
        ):
            metadata = bearer(issuer.token(name)) if name else ()
            listed = reflection.ServerReflectionInfo(
                iter([reflection_pb2.ServerReflectionRequest(list_services="")]),
                metadata=metadata,
                timeout=TIMEOUT_S,
            )
            await asyncio.gather(_read_on(listed), return_exceptions=True)
            seen = {
                await getattr(channelz, method.name)(
                    getattr(channelz_pb2, method.input_type.name)(),
                    metadata=metadata,
                    timeout=TIMEOUT_S,
                ).code()
                for method in channelz_pb2.DESCRIPTOR.services_by_name["Channelz"].methods
            }
            # Whoever may look is told that there is no socket 0.
            assert (seen - {_Code.NOT_FOUND}, await listed.code()) == ({codes[0]}, codes[1])


async def test_an_envoys_word_is_taken_from_envoy_only(tmp_path: Path, issuer: Issuer) -> None:
    ca = authority()
    forged = issued(ca, "root").certificate.decode().replace("\n", "%0A").replace(" ", "%20")
    access = entry("read", names=["*"], tenants=[TENANT])
    async with known(tmp_path, issuer, access) as service:
        code, reason, _ = await _answer(
            service,
            "/placet.v1.PolicyService/List",
            TENANT,
            metadata=(("x-forwarded-client-cert", f'Cert="{forged}"'),),
        )
        assert (code, reason) == ("UNAUTHENTICATED", "CREDENTIALS_MISSING")


async def test_nobody_in_particular_can_be_let_in(tmp_path: Path, issuer: Issuer) -> None:
    access = entry("decide", anonymous=True, tenants=[TENANT])
    async with known(tmp_path, issuer, access) as service:
        await service.evaluate.Evaluate(request(), timeout=TIMEOUT_S)
        error = await _failed(service.evaluate.Evaluate(request(tenant=OTHER), timeout=TIMEOUT_S))
        assert error.code() is _Code.PERMISSION_DENIED


# -------------------------------------------------------------------------------- helpers


async def _place(service: Service, issuer: Issuer) -> None:
    for tenant in (TENANT, OTHER):
        placed = topology_pb2.Tenant(name=tenant, residency=topology_pb2.RESIDENCY_RULE_ANY)
        await service.topology.PutTenant(
            topology_service_pb2.PutTenantRequest(tenant=placed),
            metadata=bearer(issuer.token("root")),
            timeout=TIMEOUT_S,
        )


async def _failed(call: Any) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as failed:
        await call
    return failed.value


async def _refused(service: Service, name: str, token: str) -> grpc.aio.AioRpcError:
    return await _failed(
        service.evaluate.Evaluate(request(), metadata=bearer(token), timeout=TIMEOUT_S)
    )


async def _read_on(call: Any) -> None:
    while await call.read() is not grpc.aio.EOF:
        pass


async def _answer(
    service: Service, method: str, tenant: str, *, metadata: tuple[tuple[str, str], ...]
) -> tuple[str, str, str]:
    """Make a call for a tenant that says little else; return its code, reason and message."""
    found = descriptor_pool.Default().FindMethodByName(method[1:].replace("/", "."))
    asked = message_factory.GetMessageClass(found.input_type)()
    *outer, name = RPCS[method].tenant_field.split(".")
    if name:
        inner: Any = asked
        for part in outer:
            inner = getattr(inner, part)
        setattr(inner, name, tenant)
    data = asked.SerializeToString()
    channel: Any = service.channel
    try:
        if found.client_streaming:
            stream = channel.stream_stream(method)(
                iter([data]), metadata=metadata, timeout=TIMEOUT_S
            )
            answer = await stream.read()
            if answer is not grpc.aio.EOF:
                result = evaluate_service_pb2.EvaluateStreamResponse.FromString(answer)
                code = next(code for code in _Code if code.value[0] == result.error.code)
                return code.name, result.error.reason, result.error.message
        elif found.server_streaming:
            call = channel.unary_stream(method)(data, metadata=metadata, timeout=TIMEOUT_S)
            await call.read()
            call.cancel()
        else:
            await channel.unary_unary(method)(data, metadata=metadata, timeout=TIMEOUT_S)
    except grpc.aio.AioRpcError as error:
        if error.code() is _Code.UNIMPLEMENTED:
            # Designed, and served by nobody yet.
            return error.code().name, "", ""
        if found.client_streaming and error.code() is _Code.INTERNAL:
            # The call was over before its first message was written, and gRPC's client tells of
            # the write that failed instead of what the server said. It seldom comes to that.
            return await _answer(service, method, tenant, metadata=metadata)
        return error.code().name, info(error).reason, error.details() or ""
    return "OK", "", ""
