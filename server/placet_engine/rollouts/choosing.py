"""Who gets the candidate: the same subjects from every node, and more of them with every step."""

from __future__ import annotations

import mmh3

from placet_engine.model import EntityUid

BUCKETS = 100


def bucket(seed: int, key: str) -> int:
    """Return one of 100 buckets, each as likely, always the same for a seed and a key.

    The hash is MurmurHash3 (x86, 32 bit). It is scaled down by multiplication, which takes its
    upper bits and no division: Lemire, "Fast Random Integer Generation in an Interval" (2019).
    """
    return (mmh3.hash(key, seed, signed=False) * BUCKETS) >> 32


def subject_key(subject: EntityUid) -> str:
    """Return what a subject is hashed by."""
    return f"{subject.type}::{subject.id}"


def is_chosen(seed: int, key: str, share_percent: int) -> bool:
    """Whether a key is within a share. Who is in a share is in every larger one."""
    return bucket(seed, key) < share_percent
