"""Writing to the audit logs, within a transaction: records, and the tree over their hashes."""

from __future__ import annotations

import copy
import hashlib
import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import rfc8785
from sqlalchemy import insert, select

from placet_server.store.ledger.contract import AuditEntry
from placet_server.store.ledger.statements import Connection
from placet_server.store.ledger.tables import audit_logs, audit_nodes, audit_parts, audit_records
from placet_server.store.tables import insert_into

_SALT_BYTES = 32
_HASH_BYTES = 32
_FOUND_BY = ("agent", "action", "action_id", "run_id", "decision_id", "outcome")


class Entry(NamedTuple):
    """What is to be put down, and where."""

    tenant: str
    id: str
    entry: AuditEntry


async def write(connection: Connection, entries: Sequence[Entry], *, source: str) -> None:
    """Put entries down, each at the end of its tenant's log."""
    by_tenant: dict[str, list[Entry]] = defaultdict(list)
    for entry in entries:
        by_tenant[entry.tenant].append(entry)
    records: list[dict[str, Any]] = []
    parts: list[dict[str, Any]] = []
    nodes: list[dict[str, Any]] = []
    logs: list[dict[str, Any]] = []
    for tenant, its_entries in by_tenant.items():
        size, frontier = await _read_log(connection, tenant)
        for entry in its_entries:
            text, its_parts = _build(entry, source)
            leaf = hashlib.sha256(b"\0" + text.encode()).digest()
            at = {"tenant": tenant, "position": size}
            records.append({**at, **_columns(entry), "json": text, "leaf_hash": leaf})
            parts += ({**at, **part} for part in its_parts)
            nodes += ({"tenant": tenant, **node} for node in _grow(frontier, size, leaf))
            size += 1
        logs.append({"tenant": tenant, "size": size, "frontier": b"".join(frontier)})
    await connection.execute(insert(audit_records), records)
    if nodes:
        await connection.execute(insert(audit_nodes), nodes)
    if parts:
        await connection.execute(insert(audit_parts), parts)
    statement = insert_into(connection, audit_logs)
    statement = statement.on_conflict_do_update(
        index_elements=["tenant"],
        set_={"size": statement.excluded.size, "frontier": statement.excluded.frontier},
    )
    await connection.execute(statement, logs)


async def _read_log(connection: Connection, tenant: str) -> tuple[int, list[bytes]]:
    statement = select(audit_logs.c.size, audit_logs.c.frontier)
    row = (await connection.execute(statement.where(audit_logs.c.tenant == tenant))).one_or_none()
    if row is None:
        return 0, []
    hashes = row.frontier
    return row.size, [
        hashes[start : start + _HASH_BYTES] for start in range(0, len(hashes), _HASH_BYTES)
    ]


def _grow(frontier: list[bytes], size: int, leaf: bytes) -> Iterable[dict[str, Any]]:
    """Put a leaf at the end of a tree, and yield the subtrees that it completes."""
    node, level = leaf, 0
    while size >> level & 1:
        node = hashlib.sha256(b"\1" + frontier.pop() + node).digest()
        level += 1
        yield {"level": level, "position": size >> level, "hash": node}
    frontier.append(node)


def _build(entry: Entry, source: str) -> tuple[str, list[dict[str, Any]]]:
    """Return a record as CloudEvents 1.0 have it, in canonical form, and its personal parts."""
    what = entry.entry
    data, parts = _apart(what)
    record: dict[str, Any] = {
        "specversion": "1.0",
        "id": entry.id,
        "source": source,
        "type": what.type,
        "subject": what.target,
        "time": what.time.isoformat(),
        "datacontenttype": "application/json",
        "actor": what.actor,
        "tenant": entry.tenant,
        "data": data,
    }
    return rfc8785.dumps(record).decode(), parts


def _apart(entry: AuditEntry) -> tuple[Mapping[str, Any], list[dict[str, Any]]]:
    """Put the hashes of personal parts in their places."""
    data: dict[str, Any] = copy.deepcopy(dict(entry.data))
    parts = []
    for personal in entry.personal:
        holder: Any = data
        *way, last = [
            step.replace("~1", "/").replace("~0", "~") for step in personal.pointer.split("/")[1:]
        ]
        for step in way:
            holder = holder[int(step)] if isinstance(holder, list) else holder[step]
        place = int(last) if isinstance(holder, list) else last
        salt, text = secrets.token_bytes(_SALT_BYTES), rfc8785.dumps(holder[place])
        holder[place] = hashlib.sha256(salt + text).hexdigest()
        pointer = f"/data{personal.pointer}"
        parts.append({"pointer": pointer, "salt": salt, "json": text.decode()})
    return data, parts


def _columns(entry: Entry) -> dict[str, Any]:
    what = entry.entry
    named = {name: what.data.get(name) for name in _FOUND_BY}
    return {
        "id": entry.id,
        "time": what.time,
        "type": what.type,
        "actor": what.actor,
        "target": what.target,
        **{name: value if isinstance(value, str) else None for name, value in named.items()},
    }
