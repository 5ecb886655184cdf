"""What the shell offers when somebody presses tab."""

from __future__ import annotations

import os
from itertools import islice

import typer

from placet import PLATFORM, Client, PlacetError, templates
from placet.cli import credentials
from placet.cli.options import DEFAULT_ADDRESS


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


def rollout_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer the newest rollouts by id, each with its state; none when no server tells at once."""
    given = context.params
    address = given.get("address") or os.environ.get("PLACET_ADDRESS") or DEFAULT_ADDRESS
    tenant = given.get("tenant") or os.environ.get("PLACET_TENANT") or PLATFORM
    try:
        with Client(
            address,
            tenant=tenant,
            management_timeout_s=_NO_LONGER_S,
            credentials=credentials.from_environment(),
        ) as client:
            listed = list(islice(client.list_rollouts(page_size=_MOST), _MOST))
    except PlacetError:
        return []
    return [
        (rollout.id, rollout.state.name.lower().replace("_", " "))
        for rollout in listed
        if rollout.id.startswith(incomplete)
    ]


def region_names(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer regions by name, each with where it is; none when no server tells at once."""
    address = context.params.get("address") or os.environ.get("PLACET_ADDRESS") or DEFAULT_ADDRESS
    try:
        with Client(address, management_timeout_s=_NO_LONGER_S) as client:
            regions = client.regions()
    except PlacetError:
        return []
    return [(region.name, region.title) for region in regions if region.name.startswith(incomplete)]


def node_ids(context: typer.Context, incomplete: str) -> list[tuple[str, str]]:
    """Offer nodes by id, each with its region; none when no server tells at once."""
    address = context.params.get("address") or os.environ.get("PLACET_ADDRESS") or DEFAULT_ADDRESS
    try:
        with Client(address, management_timeout_s=_NO_LONGER_S) as client:
            nodes = client.nodes()
    except PlacetError:
        return []
    return [(node.id, node.region) for node in nodes if node.id.startswith(incomplete)]


_NO_LONGER_S = 1.0
_MOST = 20
