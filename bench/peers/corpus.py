"""The common ground: documents, people, and rules that each system expresses in its own language.

An admin may do anything; an editor may view and edit what is of the same department; an owner may
view, edit and delete; nobody may do anything with what is archived or has no serial.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

ACTIONS = ("view", "edit", "delete", "share")
SERIAL_DIGITS = 10
PLACEHOLDER = "0" * SERIAL_DIGITS


@dataclass(frozen=True, slots=True)
class Case:
    """One request and what has to be answered."""

    subject: str
    roles: tuple[str, ...]
    department: str
    """The subject's."""
    action: str
    document: str
    owner: str
    document_department: str
    archived: bool
    serial: str
    """Ten digits, which the policies read, so that requests can be told apart by them; or none."""

    @property
    def allowed(self) -> bool:
        """Whether the rules allow it, in plain Python."""
        if self.archived or not self.serial:
            return False
        return (
            "admin" in self.roles
            or (
                "editor" in self.roles
                and self.action in ("view", "edit")
                and self.department == self.document_department
            )
            or (self.owner == self.subject and self.action in ("view", "edit", "delete"))
        )


_PEOPLE = (
    ("ann", ("admin",), "legal"),
    ("bob", ("editor",), "legal"),
    ("cyd", ("editor", "viewer"), "sales"),
    ("dan", ("viewer",), "sales"),
    ("eve", ("viewer",), "legal"),
)


def cases() -> list[Case]:
    """Return every combination once: 240 cases, of which some are allowed and some are not."""
    made = []
    documents = itertools.product(("ann", "bob", "dan"), ("legal", "sales"), (False, True))
    for number, (owner, department, archived) in enumerate(documents):
        for (subject, roles, own), action in itertools.product(_PEOPLE, ACTIONS):
            made.append(
                Case(
                    subject=subject,
                    roles=roles,
                    department=own,
                    action=action,
                    document=f"doc{number}",
                    owner=owner,
                    document_department=department,
                    archived=archived,
                    serial=PLACEHOLDER,
                )
            )
    # Some without a serial: the rule about it has to hold everywhere.
    return [
        replace(case, serial="") if index % 40 == 7 else case for index, case in enumerate(made)
    ]


def fresh(body: Callable[[Case], bytes], serials: Iterator[int]) -> Callable[[], bytes]:
    """Return requests that each have a serial of their own.

    Args:
        body: a case as it goes onto the wire. The serial's place is found by its digits, and
            every serial has as many.
        serials: numbers nobody used.
    """
    marker = PLACEHOLDER.encode("ascii")
    parts = itertools.cycle(
        [tuple(body(case).split(marker)) for case in cases() if case.serial == PLACEHOLDER]
    )

    def next_body() -> bytes:
        return (b"%010d" % next(serials)).join(next(parts))

    return next_body


def fresh_batches(
    body: Callable[[Sequence[Case]], bytes],
    batches: Sequence[Sequence[Case]],
    serials: Iterator[int],
) -> Callable[[], bytes]:
    """Return batches all of whose requests have a serial of their own. Arguments as of `fresh`."""
    marker = PLACEHOLDER.encode("ascii")
    parts = itertools.cycle(
        [
            body([replace(case, serial=PLACEHOLDER) for case in batch]).split(marker)
            for batch in batches
        ]
    )

    def next_body() -> bytes:
        pieces = next(parts)
        filled = [pieces[0]]
        for piece in pieces[1:]:
            filled += (b"%010d" % next(serials), piece)
        return b"".join(filled)

    return next_body
