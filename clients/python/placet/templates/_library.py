"""Finds the templates that ship, and reads them.

Each is a folder below ``library``: ``template.yaml`` describes it, ``cases.yaml`` has its test
cases, and each ``.cedar`` file is one policy, named by the file. They are part of the package, so
what is wrong with them is a mistake of ours that the tests find, and ends in whatever it raises.
"""

from __future__ import annotations

from functools import cache
from importlib import resources
from importlib.resources.abc import Traversable
from typing import Any

import yaml

from placet import Layer, NotFound
from placet.templates._parameters import Kind, Parameter
from placet.templates._template import Reliance, Template, TemplatePolicy


def _library() -> Traversable:
    return resources.files("placet.templates") / "library"


@cache
def names() -> tuple[str, ...]:
    """Return the names of all templates there are, in order."""
    return tuple(sorted(folder.name for folder in _library().iterdir() if folder.is_dir()))


@cache
def load(name: str) -> Template:
    """Return a template by its name.

    Raises:
        NotFound: there is none of that name.
    """
    if name not in names():
        listed = ", ".join(f"`{known}`" for known in names())
        raise NotFound(f"no template `{name}`; use one of {listed}", reason="TEMPLATE_UNKNOWN")
    folder = _library() / name
    # What YAML holds has no type; the constructors below refuse what they do not know.
    document: dict[str, Any] = yaml.safe_load((folder / "template.yaml").read_text("utf-8"))
    policies = document.pop("policies")
    return Template(
        name=name,
        limits=tuple(document.pop("limits")),
        relies_on=tuple(
            Reliance(name=what, **about) for what, about in document.pop("relies_on").items()
        ),
        parameters=tuple(
            _parameter(parameter, **about)
            for parameter, about in document.pop("parameters").items()
        ),
        any_of=tuple(document.pop("any_of", ())),
        policies=tuple(
            _policy(policy, (folder / f"{policy}.cedar").read_text("utf-8"), **about)
            for policy, about in policies.items()
        ),
        cases=(folder / "cases.yaml").read_text("utf-8"),
        **document,
    )


def _parameter(name: str, *, kind: str, **about: Any) -> Parameter:
    return Parameter(name=name, kind=Kind(kind), **about)


def _policy(name: str, cedar: str, *, layer: str = "unspecified", **about: Any) -> TemplatePolicy:
    return TemplatePolicy(name=name, cedar=cedar.strip(), layer=Layer[layer.upper()], **about)
