"""How large a message may be."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """How large a request may be. Documented in the protos; checked before any work."""

    max_depth: int = 24
    max_map_entries: int = 512
    max_set_elements: int = 4096
    max_string_chars: int = 65_536
    max_id_chars: int = 1024
    max_entities: int = 1000
    max_batch_items: int = 1000
    max_change_items: int = 10_000
    max_policy_chars: int = 100_000
    max_schema_chars: int = 1_000_000
    max_canary_steps: int = 20
    max_bake_s: float = 30 * 24 * 3600
    max_affinity_regions: int = 16
    max_node_weight: int = 1000
    max_upstreams: int = 16
    max_version_chars: int = 64
    max_reason_chars: int = 1024


LIMITS = Limits()
