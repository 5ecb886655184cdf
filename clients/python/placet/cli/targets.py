"""Brings an application of a template to a server, once what is there has been looked at."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from placet import (
    ChangeSet,
    Client,
    Conflict,
    Item,
    ItemKey,
    ItemKind,
    NotFound,
    Publication,
    Validation,
)
from placet.cli.failures import Failure
from placet.cli.folders import Folder
from placet.cli.plan import planned_changes
from placet.cli.publishing import publish_folder
from placet.templates import Application

Changes: TypeAlias = "list[tuple[str, ItemKey]]"


@dataclass(frozen=True, slots=True)
class Applied:
    """What came of an application: nothing was published if there are no changes."""

    publication: Publication
    changes: Changes


@dataclass(frozen=True, slots=True)
class Target:
    """An application, and whose it is to be."""

    application: Application
    folder: Folder
    """The application again, for messages to quote."""
    owner: str
    may_change: bool
    """Whether what is there under the same id may be changed, since somebody named it."""

    def try_(self, client: Client) -> tuple[Validation, Changes]:
        """Return what a server says of it, and what it would change.

        Raises:
            Failure: it would change what nobody named.
        """
        plan = self._plan(client)
        if not plan.changes:
            return Validation(valid=True, problems=()), []
        validation = client.validate(plan.change_set)
        return validation, plan.changes if validation.valid else []

    def publish(self, client: Client, message: str, expected_revision: int | None) -> Applied:
        """Publish it on top of what was looked at; look again if somebody else was faster.

        Raises:
            Conflict: the tenant is not at the expected revision, or changes all the time.
            Failure: it would change what nobody named.
            FilesRefused: it does not compile there.
        """
        attempts_left = _ATTEMPTS if expected_revision is None else 1
        while True:
            attempts_left -= 1
            plan = self._plan(client)
            if not plan.changes:
                return Applied(_nothing(plan.revision), [])
            expected = plan.revision if expected_revision is None else expected_revision
            try:
                publication = publish_folder(
                    client, plan.change_set, self.folder, message=message, expected=expected
                )
            except Conflict:
                if not attempts_left:
                    raise
            else:
                return Applied(publication, plan.changes)

    def _plan(self, client: Client) -> _Plan:
        revision, standing = self._standing(client)
        change_set = self.application.change_set(standing)
        changes = planned_changes(change_set, standing, owner=self.owner)
        self._refuse_strangers(standing, changes)
        return _Plan(revision, change_set, changes)

    def _standing(self, client: Client) -> tuple[int, Sequence[Item]]:
        """Return the revision, and what there is of policies and links that this could meet."""
        prefixes = {f"{item.id.rpartition('/')[0]}/" for item in self.application.policies}
        try:
            # Asked first: what is listed may be newer, and then the publish is refused.
            revision = next(client.history(page_size=1)).revision
            return revision, [
                item
                for prefix in sorted({f"{self.application.id}/", *prefixes})
                for item in client.list_items(kinds=_KINDS, id_prefix=prefix, page_size=1000)
            ]
        except (NotFound, StopIteration):
            # It would come into being.
            return 0, ()

    def _refuse_strangers(self, standing: Sequence[Item], changes: Changes) -> None:
        """Refuse to touch what others made, and what is there under an id that nobody named."""
        own = {key.id for key in self.application.own}
        id_, template = self.application.id, self.application.template
        for item in standing:
            if item.key.id in own and not self.application.has_made(item):
                raise Failure(
                    f"`{item.key.id}` is there and does not come from `{template}`; "
                    "choose another --id"
                )
        if not self.may_change and any(
            change != "added" and key in self.application.own for change, key in changes
        ):
            raise Failure(
                f"`{id_}` is applied already, with other values; --id {id_} changes it, another "
                "--id adds one beside it"
            )


@dataclass(frozen=True, slots=True)
class _Plan:
    """What is to be published on top of a revision, and what that changes."""

    revision: int
    change_set: ChangeSet
    changes: Changes


def _nothing(revision: int) -> Publication:
    return Publication(revision=revision, warnings=(), upserts=0, deletes=0)


_ATTEMPTS = 3
_KINDS = (ItemKind.POLICY, ItemKind.TEMPLATE_LINK)
