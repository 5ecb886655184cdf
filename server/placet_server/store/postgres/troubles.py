"""What PostgreSQL's errors mean: to be tried again, waited out, or shown to a person."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import asyncpg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeoutError

from placet_server.store.contract import StoreDamaged, StoreError, StoreUnavailable
from placet_server.store.postgres.address import NoHostTakesWrites


@dataclass(frozen=True, slots=True)
class Trouble:
    """One error, understood."""

    text: str
    is_passing: bool = False
    """Whether the same transaction may succeed in a moment; this one did nothing."""
    is_lost: bool = False
    """Whether the connection was lost: another may be had in a moment."""
    is_damage: bool = False
    is_locked_out: bool = False
    """Whether somebody kept the log locked for longer than was waited."""

    def to_error(self, where: str) -> StoreError:
        """Return what the store reports."""
        kind = StoreDamaged if self.is_damage else StoreUnavailable
        return kind(f"`{where}`: {self.text}")


def diagnose(error: Exception) -> Trouble | None:
    """Return what an error of the driver means; None if it is none, or is our mistake."""
    if isinstance(error, PoolTimeoutError):
        return Trouble("no connection is free; try later")
    if isinstance(error, NoHostTakesWrites):
        return Trouble(f"{error}; see that one of them runs and is primary", is_lost=True)
    reason = error.orig if isinstance(error, DBAPIError) else error
    state = getattr(reason, "sqlstate", None)
    text = _first_line(reason)
    if isinstance(state, str):
        return _by_state(state, text)
    if isinstance(reason, OSError):
        return Trouble(f"{text}; see that the server runs", is_lost=True)
    if _is_closed(reason) or _is_out_of_step(reason):
        return Trouble(f"{text}; the connection was lost", is_lost=True)
    if isinstance(reason, asyncpg.ClientConfigurationError):
        return Trouble(f"{text}; see `store.url`")
    return None


def _by_state(state: str, text: str) -> Trouble | None:
    if hint := _find(state, _LOST):
        return Trouble(f"{text}; {hint}", is_lost=True)
    if hint := _find(state, _PASSING):
        return Trouble(f"{text}; {hint}", is_passing=True, is_locked_out=state == _LOCKED_OUT)
    if hint := _find(state, _UNAVAILABLE):
        return Trouble(f"{text}; {hint}")
    if state.startswith(_DAMAGED):
        return Trouble(f"{text}; restore the database from a backup", is_damage=True)
    return None


def _find(state: str, hints: Mapping[str, str]) -> str | None:
    return next((hint for code, hint in hints.items() if state.startswith(code)), None)


# By SQLSTATE, or its class, the first two characters.
_LOST = {
    "08": "the connection was lost",
    "57P": "the server stops or starts",
    "25P03": "the node was too slow within a transaction; try again",
}
_LOCKED_OUT = "55P03"
_PASSING = {
    "40001": "others write at the same time; try again",
    "40P01": "others write at the same time; try again",
    _LOCKED_OUT: "another node keeps the log locked; see that the replicas it waits for are there",
    "25006": "the server has become a replica",
    "0A000": "the tables have changed; try again",
    "53300": "allow more with max_connections",
}
_UNAVAILABLE = {
    "57014": "it took too long; try later",
    "53": "see the server's disk and memory",
    "58": "see the server's log",
    "28": "see the user, its password and pg_hba.conf",
    "3D": "create the database",
    "3F": "create the schema",
    "42501": "grant it, or let the owner run `placet store migrate`",
    "22023": "see the settings in `store.url`",
}
# A table or a column is missing, or a rule is broken that only we write by, or pages are.
_DAMAGED = ("42", "23", "XX001", "XX002")


def _is_closed(reason: BaseException | None) -> bool:
    """Whether it is about a connection that ended, which the driver says without a code."""
    return "connection is closed" in str(reason) or "connection was closed" in str(reason)


def _is_out_of_step(reason: BaseException | None) -> bool:
    """Whether the driver has lost track of what the server says.

    So it does when a server gave up on a process that stood still, and that goes on: the end of
    the connection comes in the middle of the next statement.
    """
    return isinstance(getattr(reason, "__cause__", None), asyncpg.InternalClientError)


def _first_line(reason: BaseException | None) -> str:
    """Return what was wrong, without the driver's prefix of its class."""
    text = str(reason).partition("\n")[0]
    head, colon, rest = text.partition(">: ")
    return (rest if colon and head.startswith("<class") else text) or type(reason).__name__
