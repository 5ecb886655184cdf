"""Who is refused, and how long a certificate is still good, can be seen before it hurts."""

from __future__ import annotations

import datetime
import logging
from pathlib import Path
from typing import Any

import grpc
import pytest

from tests.identities import (
    Issuer,
    TlsFolder,
    authority,
    bearer,
    channel_to,
    entry,
    identity_config,
    issued,
)
from tests.telemetry.scraping import SCRAPED, value
from tests.wire.service import TIMEOUT_S, request, running_service, stubs

_DAY_S = 24 * 3600


async def test_refusals_are_counted_and_some_are_logged(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    issuer = Issuer()
    identity = identity_config(tmp_path, entry("decide", names=["ann"], tenants=["x"]), issuer.jwks)
    ann, old = issuer.token("ann"), issuer.token("ann", lifetime_s=-9)
    async with running_service(identity=identity, telemetry=SCRAPED) as service:
        for metadata, times in (((), 2), (bearer(ann), 3), (bearer(old), 4)):
            for _ in range(times):
                with pytest.raises(grpc.aio.AioRpcError):
                    await service.evaluate.Evaluate(request(), metadata=metadata, timeout=TIMEOUT_S)
        for reason, count in (("CREDENTIALS_MISSING", 2), ("NOT_ALLOWED", 3), ("TOKEN_EXPIRED", 4)):
            name = "placet_identity_refused_total"
            assert await value(service.node, name, reason=reason) == count
    told: list[Any] = [
        record for record in caplog.records if record.message == "a caller was refused"
    ]
    assert [record.reason for record in told] == [
        "CREDENTIALS_MISSING",
        "NOT_ALLOWED",
        "TOKEN_EXPIRED",
    ]
    assert told[1].caller == "ann"
    assert not any(token in str(vars(record)) for record in told for token in (ann, old))


async def test_the_end_of_a_certificate_is_seen_coming(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    ca, folder = authority(), TlsFolder(tmp_path)
    for days, is_told in ((100, False), (5, True)):
        caplog.clear()
        lifetime = datetime.timedelta(days=days)
        folder.put(issued(ca, "server", "127.0.0.1", lifetime=lifetime))
        with caplog.at_level(logging.WARNING):
            async with running_service(tls=folder.config(), telemetry=SCRAPED) as service:
                left_s = await value(service.node, "placet_tls_certificate_remaining_seconds")
                async with channel_to(service.node.address, ca.files.certificate) as channel:
                    with pytest.raises(grpc.aio.AioRpcError):
                        await stubs(channel)["evaluate"].Evaluate(request(), timeout=TIMEOUT_S)
        assert (days - 1) * _DAY_S < left_s <= days * _DAY_S
        assert ("expires soon" in caplog.text) is is_told
