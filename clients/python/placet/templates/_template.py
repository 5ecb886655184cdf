"""A shipped template: what it is for, what it asks for, and the Cedar texts it is made of.

In these, ``$name`` stands where a parameter's value goes, as a literal; ``?principal`` and
``?resource`` are Cedar's slots, which links fill. How both are filled is in ``_filling``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from placet import Layer
from placet.templates._filling import Application, apply, remove
from placet.templates._literals import placeholders
from placet.templates._parameters import Parameter


@dataclass(frozen=True, slots=True, kw_only=True)
class Reliance:
    """Something a request or an entity has to have for the policies to work."""

    name: str
    """Such as ``context.now`` or ``resource.owner``."""
    type: str
    """As Cedar calls it."""
    about: str


@dataclass(frozen=True, slots=True, kw_only=True)
class TemplatePolicy:
    """One Cedar text of a template."""

    name: str
    cedar: str
    """With ``$name`` where values go."""
    description: str
    layer: Layer = Layer.UNSPECIFIED
    """The layer a tenant publishes it in."""
    principal: str = ""
    """The parameter that fills ``?principal``."""
    resource: str = ""
    """The parameter that fills ``?resource``."""

    @property
    def slots(self) -> tuple[str, ...]:
        """Parameters that fill slots. The text is linked if all of them are given."""
        return tuple(name for name in (self.principal, self.resource) if name)

    @property
    def placeholders(self) -> frozenset[str]:
        """Parameters whose values are in the text."""
        return placeholders(self.cedar)


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """Policies to be filled in, with everything one has to know about them."""

    name: str
    title: str
    summary: str
    """What it does, in a sentence."""
    purpose: str
    """What it is for and how it decides."""
    limits: tuple[str, ...]
    """What it does not cover."""
    relies_on: tuple[Reliance, ...]
    parameters: tuple[Parameter, ...]
    any_of: tuple[str, ...] = ()
    """Optional parameters of which at least one has to be given."""
    policies: tuple[TemplatePolicy, ...]
    jurisdiction: str = ""
    """Whose law it is. On the platform it is in that jurisdiction's layer."""
    cases: str
    """Test cases as YAML, about the template with the parameters' examples filled in."""

    @property
    def examples(self) -> dict[str, str]:
        """The example of each parameter, as it would be typed."""
        return {parameter.name: parameter.example for parameter in self.parameters}

    def fillers(self, slot: str) -> tuple[str, ...]:
        """Return the parameters that fill ``principal``, or ``resource``, in some policy."""
        filling = (
            policy.principal if slot == "principal" else policy.resource for policy in self.policies
        )
        return tuple(dict.fromkeys(name for name in filling if name))

    def apply(
        self, values: Mapping[str, object], *, id_: str = "", platform: bool = False
    ) -> Application:
        """Fill in the parameters. Nothing is published.

        Args:
            values: for each parameter its value, as text or as a Python value of its kind.
            id_: what the ids of the items begin with. Unless given, it is made of the template's
                name and of what its links are about.
            platform: whether it is to hold for every tenant.

        Raises:
            InvalidRequest: ``violations`` name everything that is wrong, by parameter.
        """
        return apply(self, values, id_=id_, platform=platform)

    def removal(self, id_: str) -> Application:
        """Return what takes the application of an id away again, once it is published.

        What applications share stays: without links it has no effect.

        Raises:
            InvalidRequest: no application can have that id.
        """
        return remove(self, id_)
