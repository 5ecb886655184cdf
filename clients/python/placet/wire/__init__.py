"""Between the wire and the engine: the one room that knows both.

Reading checks what it reads: a message that breaks a limit or leaves out what
is required raises :class:`Malformed` with every field that is wrong, before
any work is done on it. The server and local evaluation read with the same
code, so that they refuse the same requests.

What stands alone is named ``..._from_wire`` and ``..._to_wire``. What is part
of a larger message is read by a ``read_...`` that is given the message's
:class:`Reader`, which gathers what is wrong until ``finish``.
"""

from __future__ import annotations

from placet.wire.change_sets import (
    change_to_wire,
    read_change_set,
    removal_from_wire,
    removal_to_wire,
)
from placet.wire.decisions import policy_error_to_wire, problem_to_wire, verdict_to_wire
from placet.wire.durations import duration, seconds
from placet.wire.items import item_from_wire, item_to_wire
from placet.wire.keys import key_to_wire, read_key, read_kind
from placet.wire.limits import LIMITS, Limits
from placet.wire.native import NativeRequest, read_batch_natively, read_natively
from placet.wire.nodes import (
    node_to_wire,
    read_condition,
    read_node,
    read_registration,
    registration_to_wire,
    renewal_to_wire,
)
from placet.wire.placements import (
    node_settings_to_wire,
    placement_to_wire,
    read_node_id,
    read_node_settings,
    read_placement,
    read_region,
)
from placet.wire.positions import position_from_wire, position_to_wire
from placet.wire.reader import Reader
from placet.wire.refusals import Malformed, Violation
from placet.wire.requests import BatchReader, read_request, shared_parts, whole_item
from placet.wire.rollouts import read_plan, reading_to_wire, rollout_to_wire
from placet.wire.times import timestamp
from placet.wire.values import (
    attributes_to_wire,
    entity_to_wire,
    uid_to_wire,
    value_from_wire,
    value_to_wire,
)

__all__ = [
    "LIMITS",
    "BatchReader",
    "Limits",
    "Malformed",
    "NativeRequest",
    "Reader",
    "Violation",
    "attributes_to_wire",
    "change_to_wire",
    "duration",
    "entity_to_wire",
    "item_from_wire",
    "item_to_wire",
    "key_to_wire",
    "node_settings_to_wire",
    "node_to_wire",
    "placement_to_wire",
    "policy_error_to_wire",
    "position_from_wire",
    "position_to_wire",
    "problem_to_wire",
    "read_batch_natively",
    "read_change_set",
    "read_condition",
    "read_key",
    "read_kind",
    "read_natively",
    "read_node",
    "read_node_id",
    "read_node_settings",
    "read_placement",
    "read_plan",
    "read_region",
    "read_registration",
    "read_request",
    "reading_to_wire",
    "registration_to_wire",
    "removal_from_wire",
    "removal_to_wire",
    "renewal_to_wire",
    "rollout_to_wire",
    "seconds",
    "shared_parts",
    "timestamp",
    "uid_to_wire",
    "value_from_wire",
    "value_to_wire",
    "verdict_to_wire",
    "whole_item",
]
