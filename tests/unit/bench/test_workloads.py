from __future__ import annotations

import pytest

from bench.workloads import (
    Serials,
    asks,
    batch_cold,
    batch_warm,
    hot,
    mixed,
    policies,
    request,
)
from placet.v1 import evaluate_service_pb2 as pb


@pytest.mark.parametrize("size", [10, 1000])
def test_sets_have_their_size_and_no_id_twice(size: int) -> None:
    made = list(policies(size))

    assert size == len({policy.id for policy in made})


def test_mixed_requests_are_old_in_seventeen_of_twenty() -> None:
    bodies, old = mixed(10, Serials()), hot(10)
    known = {old() for _ in range(100)}

    hits = [bodies() in known for _ in range(200)]

    assert 170 == sum(hits)
    # Spread out, not in two blocks.
    assert all(0 < sum(not hit for hit in hits[start : start + 20]) for start in range(0, 200, 20))


def test_batches_have_their_items() -> None:
    warm, cold = batch_warm(100, 10), batch_cold(100, 10, Serials())

    same = [pb.EvaluateBatchRequest.FromString(warm()[5:]) for _ in range(2)]
    new = [pb.EvaluateBatchRequest.FromString(cold()[5:]) for _ in range(2)]

    assert same[0] == same[1]
    assert [100] * 4 == [len(batch.items) for batch in (*same, *new)]
    serials = {item.context["serial"].string_value for batch in new for item in batch.items}
    assert 200 == len(serials)
    assert {"d0", "d99"} < {item.resource.id for item in new[0].items}


def test_requests_are_spread_over_large_sets() -> None:
    named = {
        int(ask.subject[1:])
        for ask in asks(10_000)
        if ask.action == "view" and "-" not in ask.subject
    }

    assert max(named) > 4_000
    assert len(named) > 30


def test_requests_carry_what_policies_read() -> None:
    made = request(asks(10)[2], "0000000001")

    assert {"serial", "level", "archived"} == set(made.context)
