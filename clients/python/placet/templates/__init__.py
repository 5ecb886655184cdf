"""Policies that ship with Placet, ready to be filled in and published.

    from placet import templates

    freeze = templates.load("change-freeze")
    application = freeze.apply(
        {
            "environment": placet.EntityRef("Environment", "production"),
            "starts": datetime(2026, 12, 20, tzinfo=UTC),
            "ends": datetime(2027, 1, 3, tzinfo=UTC),
            "emergency_group": placet.EntityRef("Group", "on-call"),
        },
        id_="holidays",
    )
    client.publish(application.change_set(), message="frozen for the holidays")

``names()`` lists what ships. A ``Template`` documents itself: ``purpose``, ``limits``,
``relies_on``, ``parameters``, ``policies``, ``cases``. Applying checks every parameter and touches
nothing; what comes out is plain Cedar and links, published, diffed and removed like any other. On
the command line, ``placet template`` does the same. Needs ``pip install 'placet[cli]'``.
"""

from __future__ import annotations

try:
    import yaml  # noqa: F401
except ModuleNotFoundError as missing:
    raise ModuleNotFoundError(
        f"templates need `{missing.name}`; pip install 'placet[cli]'", name=missing.name
    ) from missing

from placet.templates._filling import Application
from placet.templates._library import load, names
from placet.templates._parameters import Kind, Parameter
from placet.templates._template import Reliance, Template, TemplatePolicy

__all__ = [
    "Application",
    "Kind",
    "Parameter",
    "Reliance",
    "Template",
    "TemplatePolicy",
    "load",
    "names",
]
