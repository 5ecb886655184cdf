"""``placet template list`` and ``show``: what ships."""

from __future__ import annotations

import shlex
from typing import Annotated, Any, TypeAlias

import typer
from rich.text import Text

from placet import templates
from placet.cli import terminal
from placet.cli.applications import named, with_cases
from placet.cli.as_json import to_json
from placet.cli.cedar_text import cedar_text
from placet.cli.completing import template_names
from placet.cli.options import Json
from placet.templates import Parameter, Template, TemplatePolicy

TemplateName: TypeAlias = Annotated[
    str,
    typer.Argument(
        help="Which template; `placet template list` shows them.",
        metavar="NAME",
        autocompletion=template_names,
        show_default=False,
    ),
]


def list_(as_json: Json = False) -> None:
    """List the templates that ship with Placet."""
    found = [templates.load(name) for name in templates.names()]
    if as_json:
        terminal.print_json(
            [
                {"name": template.name, "title": template.title, "summary": template.summary}
                for template in found
            ]
        )
        return
    table = terminal.table("name", "what it does", "to fill in")
    for template in found:
        table.add_row(
            template.name,
            template.summary,
            ", ".join(parameter.name for parameter in _asked(template)),
        )
    terminal.out().print(table)


def _asked(template: Template) -> list[Parameter]:
    """Return the parameters nobody can do without."""
    return [
        parameter
        for parameter in template.parameters
        if parameter.required or parameter.name in template.any_of
    ]


def show(name: TemplateName, as_json: Json = False) -> None:
    """Show what a template is for, what it asks for, its Cedar text and its test cases."""
    template = named(name)
    cases = [case.name for file in with_cases(template).cases for case in file.cases]
    if as_json:
        terminal.print_json(_to_json(template, cases))
        return
    terminal.line(Text.assemble((template.title, "bold"), f"  {template.summary}"))
    for paragraph in template.purpose.strip().split("\n\n"):
        terminal.line("")
        terminal.out().print(" ".join(paragraph.split()))
    _heading("does not cover")
    for limit in template.limits:
        terminal.out().print(Text(f"- {limit}"))
    _heading("relies on")
    table = terminal.table("what", "type", "about")
    for reliance in template.relies_on:
        table.add_row(reliance.name, reliance.type, reliance.about)
    terminal.out().print(table)
    _heading("parameters")
    table = terminal.table("name", "kind", "default", "example", "about")
    for parameter in template.parameters:
        table.add_row(
            parameter.name,
            parameter.kind.value,
            _default(parameter, template),
            parameter.example,
            parameter.about,
        )
    terminal.out().print(table)
    _heading("policies")
    for policy in template.policies:
        terminal.line(Text.assemble((policy.name, "bold"), (_slots(policy), "dim")))
        terminal.line(cedar_text(policy.cedar))
        terminal.line("")
    terminal.line(Text(f"{len(cases)} test cases", "dim"))
    for case in cases:
        terminal.line(f"  {case}")
    terminal.line("")
    terminal.line(f"apply it: {_command(template)}")


def _heading(text: str) -> None:
    terminal.line("")
    terminal.line(text, style="dim")


def _default(parameter: Parameter, template: Template) -> Text:
    if parameter.default is not None:
        return Text(parameter.default)
    if parameter.name in template.any_of:
        return Text("one of these", "yellow")
    return Text("required", "bold yellow") if parameter.required else Text("optional", "dim")


def _slots(policy: TemplatePolicy) -> str:
    """Say what fills a policy's slots, if it has any."""
    slots = (("principal", policy.principal), ("resource", policy.resource))
    filled = [f"?{slot} = {parameter}" for slot, parameter in slots if parameter]
    return f"  linked with {', '.join(filled)}" if filled else ""


def _command(template: Template) -> str:
    settings = [f"{parameter.name}={parameter.example}" for parameter in _asked(template)]
    return shlex.join(
        ["placet", "template", "apply", template.name, "-t", "TENANT"]
        + [word for setting in settings for word in ("--set", setting)]
    )


def _to_json(template: Template, cases: list[str]) -> dict[str, Any]:
    document: dict[str, Any] = to_json(template)
    for shown, parameter in zip(document["parameters"], template.parameters, strict=True):
        shown["kind"] = parameter.kind.value
        shown["required"] = parameter.required
    return {**document, "cases": cases}
