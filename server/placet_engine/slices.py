"""The policies that could be about a request, as Cedar takes them.

Cedar evaluates every policy it is given, so it is given those only whose scope the request can
match. Requests of one kind fall into the same buckets of the index, and share a slice.
"""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from functools import cached_property
from typing import TYPE_CHECKING, TypeAlias

import cedarpy
from cachetools import LRUCache

from placet_engine import native
from placet_engine.model import EntityUid, Verdict
from placet_engine.policy_index import Bucket
from placet_engine.precedence import EffectivePolicy
from placet_engine.reads import Reads, union

if TYPE_CHECKING:
    from placet_native import Policies

_Places: TypeAlias = tuple[str, ...]


class Slice:
    """A few policies, ready to be evaluated. Within Cedar a policy's id is its place here.

    Places keep ids of any form out of Cedar's messages, and keep policies of two layers apart
    that have the same id.
    """

    def __init__(self, buckets: Sequence[Bucket]) -> None:
        # A policy about several actions may have come by more than one of them.
        self.policies: Bucket = tuple(
            {id(policy): policy for bucket in buckets for policy in bucket}.values()
        )
        self.buckets = tuple(buckets)
        self.serial = next(_SERIALS)
        """Never given to another slice."""
        # Sorted, so that explanations list entities in one order everywhere.
        self.literals: tuple[EntityUid, ...] = tuple(
            sorted({literal for policy in self.policies for literal in policy.parsed.literals})
        )
        self.verdicts: dict[tuple[_Places, bool], Verdict] = {}
        """What was made of answers of Cedar before; bounded by who adds to it."""

    # Of these sets most requests need one, which Cedar parses when it is first asked for.

    @cached_property
    def enforced(self) -> cedarpy.PolicySet:
        """The policies that count."""
        return self.policy_set(_counts)

    @cached_property
    def with_log_only(self) -> cedarpy.PolicySet | None:
        """What would be enforced if log-only policies counted; none, nothing to ask."""
        if not any(policy.parsed.log_only for policy in self.policies):
            return None
        return self.policy_set(lambda policy: policy.would_count)

    @cached_property
    def native(self) -> Policies | None:
        """The policies that count, for the native path; None if they are not for it."""
        if native.extension is None or self.with_log_only is not None:
            return None
        try:
            policies: Policies = native.extension.Policies(
                self._text(_counts), self.serial, self.literals, self.reads
            )
        except ValueError:
            return None
        return policies

    @cached_property
    def reads(self) -> Reads:
        """What of a request the policies look at."""
        return union(policy.parsed.reads for policy in self.policies)

    def policy_set(self, takes_part: Callable[[EffectivePolicy], bool]) -> cedarpy.PolicySet:
        """Build Cedar's handle for some of the policies."""
        return cedarpy.PolicySet.from_json_str(
            self._text(takes_part), release_gil=len(self.policies) > _LONG_WORK
        )

    def _text(self, takes_part: Callable[[EffectivePolicy], bool]) -> str:
        """Write some of the policies in Cedar's JSON form."""
        static = ",".join(
            f'"{place}":{policy.parsed.json_text}'
            for place, policy in enumerate(self.policies)
            if takes_part(policy)
        )
        return f'{{"staticPolicies":{{{static}}},"templates":{{}},"templateLinks":[]}}'


def _counts(policy: EffectivePolicy) -> bool:
    return policy.counts


_SERIALS = itertools.count()
_LONG_WORK = 100
"""From so many policies on, others should get to run while Cedar parses them."""


class SliceCache:
    """Slices by the buckets they are made of; the least recently used go first. Thread-safe.

    Buckets are compared by identity: those that a change left alone are the same objects before
    and after it, so that a new revision finds nearly all of its slices there already.
    """

    def __init__(self, *, max_policies: int = 20_000) -> None:
        # One slice may be larger than all should be together. It is kept, alone: there is no
        # deciding without it.
        self._slices: LRUCache[tuple[int, ...], Slice] = LRUCache(
            max_policies, getsizeof=lambda slice_: min(1 + len(slice_.policies), max_policies)
        )
        self._lock = threading.Lock()

    def get(self, buckets: Sequence[Bucket]) -> Slice:
        """Return the slice of some buckets. Two threads may both build one; they build the same."""
        # A slice holds on to its buckets, so that no other object can have their identity.
        key = tuple(map(id, buckets))
        with self._lock:
            found: Slice | None = self._slices.get(key)
        if found is not None:
            return found
        built = Slice(buckets)
        with self._lock:
            self._slices[key] = built
        return built

    def forget(self) -> None:
        """Remember no slice. Those in use stay as long as they are."""
        with self._lock:
            self._slices.clear()
