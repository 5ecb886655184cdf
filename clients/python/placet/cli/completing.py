"""What the shell offers when somebody presses tab."""

from __future__ import annotations

import typer

from placet import templates


def template_names(incomplete: str) -> list[tuple[str, str]]:
    """Offer templates by name, each with what it is."""
    return [
        (name, templates.load(name).title)
        for name in templates.names()
        if name.startswith(incomplete)
    ]


def parameters(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the parameters of the template that was named, up to the equals sign."""
    # The words before an option that is not complete yet have not been sorted into parameters.
    words = [context.params.get("name"), *context.args]
    named = next((word for word in words if word in templates.names()), None)
    if named is None:
        return []
    return [
        (f"{parameter.name}=", parameter.about)
        for parameter in templates.load(named).parameters
        if parameter.name.startswith(incomplete)
    ]
