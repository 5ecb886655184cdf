"""``placet region list`` and ``route``: what regions there are, and where callers go."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.text import Text

from placet import Country, GeoPoint, InRegion, PermissionDenied, Place, Region, Route
from placet.cli import terminal
from placet.cli.as_json import to_json
from placet.cli.completing import region_names
from placet.cli.failures import ExitCode, Failure
from placet.cli.fleet import NO_NODES, Tally, tallies
from placet.cli.live import show
from placet.cli.options import (
    DEFAULT_ADDRESS,
    MANAGING_TIMEOUT_S,
    Address,
    Json,
    Tenant,
    Timeout,
    connected,
)


def list_(
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """List the regions there are, the law each is under, and how its nodes fare."""
    with connected(address, timeout_s=timeout_s) as client:
        regions = client.regions()
        try:
            counts = tallies(client.nodes())
        except PermissionDenied:
            # Whoever may only ask for decisions may still see where that can be done.
            counts = None
    show(
        regions,
        view=partial(_regions_view, counts=counts),
        document=partial(_regions_document, counts=counts),
        as_json=as_json,
    )


def _regions_document(
    regions: list[Region], counts: Mapping[str, Tally] | None
) -> list[dict[str, Any]]:
    return [
        {
            **to_json(region),
            "nodes": counts.get(region.name, NO_NODES).to_json() if counts is not None else None,
        }
        for region in regions
    ]


def _regions_view(regions: list[Region], counts: Mapping[str, Tally] | None) -> RenderableType:
    table = terminal.table("region", "where", "jurisdiction", "regulations", "coordinates", "nodes")
    for region in regions:
        tally = counts.get(region.name, NO_NODES) if counts is not None else None
        table.add_row(
            terminal.safe(region.name),
            terminal.safe(region.title) or "-",
            terminal.safe(region.jurisdiction) or "not known",
            terminal.safe(", ".join(region.regulations)) or "-",
            _coordinates(region.location),
            tally.words() if tally is not None else "not shown",
        )
    return table


def _coordinates(place: GeoPoint | None) -> str:
    return f"{place.latitude:.2f}, {place.longitude:.2f}" if place is not None else "-"


def route(
    tenant: Tenant,
    country: Annotated[
        str,
        typer.Option(help="Country of the caller, by ISO 3166-1: two letters.", metavar="CODE"),
    ] = "",
    at: Annotated[
        str,
        typer.Option(
            help="Where the caller is, in degrees; north and east are positive. South and west "
            "need a `=`: --at=-33.9,151.2",
            metavar="LAT,LON",
        ),
    ] = "",
    from_region: Annotated[
        str,
        typer.Option(
            help="Region the caller is in.", metavar="REGION", autocompletion=region_names
        ),
    ] = "",
    address: Address = DEFAULT_ADDRESS,
    timeout_s: Timeout = MANAGING_TIMEOUT_S,
    as_json: Json = False,
) -> None:
    """Show where a tenant's callers at a place are sent, best first, and why.

    Every region of a route is one that the tenant's rule allows. Without a place, callers go to the
    tenant's home.
    """
    place = _place(country, at, from_region)
    with connected(address, tenant=tenant, timeout_s=timeout_s) as client:
        found = client.route(place)
    show(found, view=_route_view, document=to_json, as_json=as_json)


def _place(country: str, at: str, from_region: str) -> Place | None:
    """Read the one place that was given.

    Raises:
        Failure: it is none, or there are several.
    """
    if sum(map(bool, (country, at, from_region))) > 1:
        raise Failure("`--country`, `--at` and `--from-region` exclude each other", ExitCode.USAGE)
    if country:
        return Country(country)
    if from_region:
        return InRegion(from_region)
    if not at:
        return None
    try:
        latitude, longitude = map(float, at.split(","))
    except ValueError:
        raise Failure(
            f"`--at` is `{at}`; write latitude and longitude in degrees, such as 53.3,-6.3",
            ExitCode.USAGE,
        ) from None
    return GeoPoint(latitude, longitude)


def _route_view(found: Route) -> RenderableType:
    head = Text(f"{terminal.safe(found.tenant)} is under {found.residency.name}", "dim")
    table = terminal.table("region", "jurisdiction", "why", "distance", "nodes")
    table.columns[3].justify = "right"
    for one in found.regions:
        table.add_row(
            terminal.safe(one.region),
            terminal.safe(one.jurisdiction) or "not known",
            one.reason.name.lower(),
            f"{one.distance_km:,.0f} km" if one.distance_km else "-",
            terminal.safe(", ".join(endpoint.address for endpoint in one.endpoints)) or "-",
        )
    return Group(head, table)
