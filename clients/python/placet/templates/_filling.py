"""Fills in a template: what comes out are policies and links, ready to be published.

A Cedar template that is the same for everybody who applies it is published once, below
``templates/``, and each application has a link to it. One with values of its own, and a policy that
has no slots for a link to fill, belong to the one application. So the values of one application
never change what another one decides by, and without its links what is shared has no effect.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from placet import (
    ChangeSet,
    EntityRef,
    InvalidRequest,
    Item,
    ItemKey,
    ItemKind,
    Layer,
    Policy,
    Position,
    TemplateLink,
    Violation,
)
from placet._policies import Body
from placet.templates._literals import fill
from placet.templates._parameters import Value, read_values

if TYPE_CHECKING:
    from placet.templates._template import Template, TemplatePolicy


@dataclass(frozen=True, slots=True, kw_only=True)
class Application:
    """A template with its parameters filled in, under an id."""

    template: str
    id: str
    """What the ids of its items begin with, before a slash."""
    policies: tuple[Policy, ...]
    """Cedar policies, and Cedar templates for the links. Those whose id begins with ``templates/``
    are the same for every application."""
    links: tuple[TemplateLink, ...]
    obsolete: frozenset[ItemKey]
    """What an earlier application of the same id may have made that this one has not."""

    @property
    def items(self) -> tuple[Policy | TemplateLink, ...]:
        """Everything it is made of."""
        return (*self.policies, *self.links)

    @property
    def own(self) -> frozenset[ItemKey]:
        """Keys of what is, or may have been, this application's alone."""
        made = (item.key for item in self.items)
        return self.obsolete.union(key for key in made if not key.id.startswith(_SHARED))

    def has_made(self, item: Item) -> bool:
        """Whether an item comes from an application of this template under this id."""
        if isinstance(item.body, Policy):
            return item.body.labels.get(_LABEL) == self.template
        if isinstance(item.body, TemplateLink):
            shared = f"{_SHARED}{self.template}/"
            template_id = item.body.template_id
            return template_id.startswith(shared) or template_id == f"{item.body.id}/template"
        return False

    def change_set(self, existing: Iterable[Item] = ()) -> ChangeSet:
        """Return what to publish.

        Args:
            existing: what the tenant has. Of it, what is obsolete is removed.
        """
        there = {item.key: item.body for item in existing}
        return ChangeSet(
            policies=[_placed(policy, there.get(policy.key)) for policy in self.policies],
            template_links=self.links,
            deletes=sorted(self.obsolete.intersection(there), key=lambda key: key.id),
        )


def _placed(policy: Policy, there: Body | None) -> Policy:
    """Keep what is known of where a text came from: it is the same text if it is in a folder."""
    if isinstance(there, Policy) and there.cedar == policy.cedar:
        return replace(policy, position=there.position)
    return policy


_SHARED = "templates/"
_LABEL = "template"


def apply(
    template: Template, given: Mapping[str, object], *, id_: str, platform: bool
) -> Application:
    """Fill in a template; see ``Template.apply``."""
    values, wrong = read_values(template.parameters, given)
    if template.any_of and not any(name in given for name in template.any_of):
        listed = ", ".join(f"`{name}`" for name in template.any_of)
        wrong.append(Violation(template.any_of[0], f"is missing; give at least one of {listed}"))
    wrong.extend(_wrong_id(id_) if id_ else ())
    if wrong:
        raise InvalidRequest(violations=wrong, reason="PARAMETERS_REFUSED")
    return _Filling(template, values, id_ or _id_of(template, values), platform).application()


def remove(template: Template, id_: str) -> Application:
    """Return the application of which nothing is left; see ``Template.removal``."""
    wrong = _wrong_id(id_)
    if wrong:
        raise InvalidRequest(violations=wrong, reason="PARAMETERS_REFUSED")
    return Application(
        template=template.name,
        id=id_,
        policies=(),
        links=(),
        obsolete=_own_keys(template, id_),
    )


# Room is left for what comes behind the slash; a server takes 256 in all.
_ID = re.compile(r"[A-Za-z0-9._/:@#+-]{1,200}")


def _wrong_id(id_: str) -> list[Violation]:
    if not _ID.fullmatch(id_):
        letters = "1 to 200 letters, digits and `._/:@#+-`"
        return [Violation("id", f"is `{id_[:80]}`; use {letters}")]
    if f"{id_}/".startswith(_SHARED):
        return [Violation("id", f"begins with `{_SHARED}`, where shared ones are; choose another")]
    return []


def _id_of(template: Template, values: Mapping[str, Value]) -> str:
    """Make an id of the template's name and of what its links are always about."""
    slots = dict.fromkeys(name for policy in template.policies for name in policy.slots)
    required = {parameter.name for parameter in template.parameters if parameter.required}
    about = [values[name] for name in slots if name in required]
    ids = [_UNFIT.sub("-", ref.id)[:60] for ref in about if isinstance(ref, EntityRef)]
    return "/".join([template.name, *ids])


_UNFIT = re.compile(r"[^A-Za-z0-9._@+-]+")


@dataclass(frozen=True, slots=True)
class _Ids:
    """How the items are named that one Cedar text of a template leads to."""

    template: str
    application: str
    policy: str

    @property
    def shared(self) -> str:
        """Id of a Cedar template that every application may link."""
        return f"{_SHARED}{self.template}/{self.policy}"

    @property
    def own(self) -> str:
        """Id of what decides: of the link, or else of the policy."""
        return f"{self.application}/{self.policy}"

    @property
    def own_template(self) -> str:
        """Id of a Cedar template that only this application links."""
        return f"{self.own}/template"


def _own_keys(template: Template, id_: str) -> frozenset[ItemKey]:
    """Return the keys of everything that an application may have for itself."""
    keys = set()
    for policy in template.policies:
        ids = _Ids(template.name, id_, policy.name)
        if policy.slots:
            keys.add(ItemKey(ItemKind.TEMPLATE_LINK, ids.own))
            keys.add(ItemKey(ItemKind.POLICY, ids.own_template))
        else:
            keys.add(ItemKey(ItemKind.POLICY, ids.own))
    return frozenset(keys)


class _Filling:
    """One application in the making."""

    def __init__(
        self, template: Template, values: Mapping[str, Value], id_: str, platform: bool
    ) -> None:
        self._template = template
        self._values = values
        self._id = id_
        self._is_platform = platform
        parameters = {parameter.name: parameter for parameter in template.parameters}
        self._literals = {name: parameters[name].literal(value) for name, value in values.items()}
        self._defaults = {
            name: parameter.literal(parameter.read(parameter.default))
            for name, parameter in parameters.items()
            if parameter.default is not None
        }

    def application(self) -> Application:
        policies: list[Policy] = []
        links: list[TemplateLink] = []
        for policy in self._template.policies:
            if not all(name in self._values for name in policy.slots):
                continue
            ids = _Ids(self._template.name, self._id, policy.name)
            if not policy.slots:
                policies.append(self._policy(ids.own, policy))
                continue
            template_id = ids.shared if self._has_defaults(policy) else ids.own_template
            policies.append(self._policy(template_id, policy))
            links.append(self._link(ids.own, template_id, policy))
        made = {*(policy.key for policy in policies), *(link.key for link in links)}
        return Application(
            template=self._template.name,
            id=self._id,
            policies=tuple(policies),
            links=tuple(links),
            obsolete=_own_keys(self._template, self._id) - made,
        )

    def _has_defaults(self, policy: TemplatePolicy) -> bool:
        """Whether a text comes out as it does for everybody who keeps to the defaults."""
        return all(
            self._literals.get(name) == self._defaults.get(name) for name in policy.placeholders
        )

    def _policy(self, id_: str, policy: TemplatePolicy) -> Policy:
        return Policy(
            id=id_,
            cedar=fill(policy.cedar, self._literals),
            layer=self._layer(policy),
            jurisdiction=self._template.jurisdiction if self._is_platform else "",
            description=policy.description,
            labels={_LABEL: self._template.name},
            position=Position(file=f"{self._template.name}/{policy.name}.cedar"),
        )

    def _layer(self, policy: TemplatePolicy) -> Layer:
        if not self._is_platform:
            return policy.layer
        return Layer.JURISDICTION if self._template.jurisdiction else Layer.UNSPECIFIED

    def _link(self, id_: str, template_id: str, policy: TemplatePolicy) -> TemplateLink:
        return TemplateLink(
            id=id_,
            template_id=template_id,
            principal=self._filler(policy.principal),
            resource=self._filler(policy.resource),
        )

    def _filler(self, name: str) -> EntityRef | None:
        value = self._values.get(name)
        return value if isinstance(value, EntityRef) else None
