"""Decision logs as tests write them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

TENANT = "acme"

Document = dict[str, Any]


def record(
    subject: str = "ann", action: str = "view", resource: str = "plan", **fields: Any
) -> Document:
    """Return the record of a decision about a user and a document: allowed by policy `view`."""
    return {
        "version": 1,
        "run": "r",
        "sequence": 1,
        "time": "2026-03-01T12:00:00+00:00",
        "decision_id": "d-1",
        "tenant": TENANT,
        "subject": {"type": "User", "id": subject, "properties": {}},
        "action": {"type": "Action", "name": action, "properties": {}},
        "resource": {"type": "Doc", "id": resource, "properties": {}},
        "context": {},
        "entities": [],
        "outcome": "ALLOW",
        "cause": "PERMITTED",
        "reasons": [by("view")],
        "obligations": [],
        "errors": [],
        "log_only": None,
        "revision": 1,
        "cached": False,
        "region": "",
        "node": "",
        "duration_s": 0.001,
        "trace_id": "",
        "span_id": "",
        "kept_one_in": 1,
        "masked": [],
        **fields,
    }


def by(policy_id: str) -> Document:
    """Return a policy as a record names it."""
    return {"policy_id": policy_id, "layer": "TENANT", "message": ""}


def denied(*arguments: str, **fields: Any) -> Document:
    """Return the record of a decision that no policy allowed."""
    return record(*arguments, outcome="DENY", cause="NO_PERMIT", reasons=[], **fields)


def lines(documents: Iterable[Document]) -> bytes:
    """Return records as a log has them."""
    return b"".join(json.dumps(document).encode() + b"\n" for document in documents)


def write_log(path: Path, *documents: Document) -> Path:
    """Write a log."""
    path.write_bytes(lines(documents))
    return path
