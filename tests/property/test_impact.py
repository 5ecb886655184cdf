"""What `placet policy impact` finds in a real log, held against servers that have the policies."""

from __future__ import annotations

import asyncio
import tempfile
from collections import Counter
from dataclasses import replace
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

import placet
from placet.cli.contents import Documents
from placet.cli.replay.answers import Answer, answer_of
from placet.cli.replay.impact import Impact
from placet.cli.replay.recordings import Recordings, Wanted
from placet.cli.replay.replaying import Replay
from placet.cli.replay.versions import Compiling, Sets, Version, Versions
from placet_engine.changes import ChangeSet
from placet_engine.items import PLATFORM
from placet_server.config import TelemetryConfig
from placet_server.testing import running_server
from tests.property import strategies
from tests.property.strategies import Case
from tests.unit.engine import make
from tests.ways import to_sdk

_TENANT = "acme"
_TIMEOUT_S = 30.0


@settings(max_examples=25)
@given(data=st.data())
def test_what_is_reported_is_what_comes_of_publishing(data: st.DataObject) -> None:
    stable = data.draw(strategies.cases(), label="stable")
    other = data.draw(strategies.cases(), label="candidate")
    # Some of its policies stay, some change, and perhaps entities do.
    kept = tuple(written for written in stable.written if data.draw(st.booleans()))
    ids = {written.policy.id for written in kept}
    candidate = replace(
        stable,
        written=(*kept, *(new for new in other.written if new.policy.id not in ids)),
        stored=other.stored if data.draw(st.booleans()) else stable.stored,
    )

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(_check(stable, candidate, Path(folder) / "log"))


async def _check(stable: Case, candidate: Case, log: Path) -> None:
    before = await _answers(stable, stable, log)
    after = await _answers(candidate, stable, None)

    versions = [_version(case) for case in (stable, candidate)]
    same = _impact(Versions(versions[0], versions[0]), log)
    found = _impact(Versions(*versions), log)

    decided = [pair for pair in zip(before, after, strict=True) if pair[0].outcome != "NO_ANSWER"]
    truth = Counter((one.outcome, two.outcome) for one, two in decided if one != two)
    told: Counter[tuple[str, str]] = Counter()
    for (one, two, _), count in found.ways.items():
        told[one, two] += count.decisions
    assert told == truth
    assert found.count.decisions == same.count.decisions == len(decided)
    assert (same.changed.decisions, same.groups, same.drift, found.drift) == (0, {}, {}, {})
    examples = [
        (example.before, example.after)
        for group in found.groups.values()
        for row in group.rows.values()
        for example in row.heaviest()
    ]
    assert set(examples) <= set(decided)
    assert bool(examples) is bool(truth)


async def _answers(published: Case, asked: Case, log: Path | None) -> list[Answer]:
    """Publish a case's policies on a server, and ask it another's requests."""
    telemetry = TelemetryConfig(
        decision_log="file" if log else "off", decision_log_path=str(log or "")
    )
    async with running_server(telemetry=telemetry) as node:
        for owner, bodies in ((PLATFORM, published.platform), (_TENANT, published.tenant)):
            if bodies:
                change_set = ChangeSet(upserts=tuple(bodies))
                await node.publisher.publish(owner, change_set, timeout_s=_TIMEOUT_S)
        async with placet.aio.Client(node.address, tenant=_TENANT, timeout_s=_TIMEOUT_S) as client:
            # An approval that was given is a permit a server issued; none is here.
            requests = [to_sdk(replace(request, approved=False)) for request in asked.requests]
            results = await client.evaluate_batch(requests)
    return [answer_of(result) for result in results]


def _version(case: Case) -> Version:
    platform, own = make.item_set(PLATFORM, case.platform), make.item_set(_TENANT, case.tenant)
    return Compiling().version(Sets(platform, own), Documents())


def _impact(versions: Versions, log: Path) -> Impact:
    impact = Impact(examples=100)
    replay = Replay(versions, impact)
    for record in Recordings([str(log)], Wanted(tenant=_TENANT)).read():
        replay.take(record)
    return impact
