"""Draws what is to be seen, in as many lines and columns as there are. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from rich.cells import cell_len
from rich.text import Text

from placet.cli.demo_regions.choosing import Choice
from placet.cli.demo_regions.sights import Destination, NodeSight, Sight, TenantSight
from placet.cli.demo_regions.world import NodeState
from placet.cli.terminal import safe

_KEYS: Sequence[tuple[str, str]] = (
    ("k", "kill"),
    ("h", "hang"),
    ("b", "back"),
    ("d", "drain"),
    ("c", "control"),
    ("p", "publish"),
    ("?", "help"),
    ("q", "quit"),
)

_STYLES: Mapping[NodeState, str] = {
    NodeState.STARTING: "cyan",
    NodeState.SERVING: "green",
    NodeState.DRAINING: "yellow",
    NodeState.SILENT: "yellow",
    NodeState.HUNG: "bold red",
    NodeState.KILLED: "red",
    NodeState.ENDED: "bold red",
}
_ANSWERING = (NodeState.SERVING, NodeState.DRAINING)
_WIDE = 104
"""From so many columns on, there is room for times by country."""


def draw(sight: Sight, choice: Choice, *, width: int, height: int) -> Text:
    """Return the picture.

    Args:
        sight: what there is to be seen.
        choice: what the keys are about.
        width: columns there are.
        height: lines there are; the picture has exactly so many, and the keys in the last.
    """
    head = [_title(sight), Text(sight.about, "dim"), Text()]
    nodes = [_nodes_header(), *_nodes(sight, choice), Text()]
    calls = [
        _calls_header(sight, width),
        *(_calls(tenant, sight, width) for tenant in sight.tenants),
    ]
    foot = [_chosen(sight, choice), _keys(sight)]
    room = height - len(head) - len(nodes) - len(calls) - len(foot) - 1
    body = [*head, *nodes, *calls, Text(), *_news(sight, room)]
    # What has no room is left out from below; what can be pressed never is.
    shown = [*body[: max(height - len(foot), 0)], *foot][-height:]
    shown[-len(foot) : -len(foot)] = [Text()] * (height - len(shown))
    return Text("\n").join(_cut(line, width) for line in shown)


def _cut(line: Text, width: int) -> Text:
    cut = line.copy()
    cut.truncate(width, overflow="ellipsis")
    return cut


# ------------------------------------------------------------------------------------- head


def _title(sight: Sight) -> Text:
    serving = sum(node.state in _ANSWERING for _, nodes in sight.sites for node in nodes)
    count = sum(len(nodes) for _, nodes in sight.sites)
    totals = sight.totals
    minutes, seconds = divmod(int(sight.since_s), 60)
    title = Text()
    title.append("placet demo", "bold")
    title.append(f"  {minutes}:{seconds:02}  ")
    title.append(f"{serving}/{count} nodes", "" if serving == count else "yellow")
    title.append(f"  {sight.pace.per_second:.0f} calls/s  ")
    title.append(f"{totals.failed} failed", "bold red" if totals.failed else "green")
    title.append("  ")
    title.append(f"{totals.misplaced} misplaced", "bold red" if totals.misplaced else "green")
    if totals.nowhere:
        title.append(f"  {totals.nowhere} had nowhere to go", "yellow")
    return title


# ------------------------------------------------------------------------------------ nodes

_NODE_COLUMNS = (("state", -12), ("rev", 4), ("stale", 6), ("/s", 4))
_REGION_WIDTH = 17


def _nodes_header() -> Text:
    line = Text("  region".ljust(_REGION_WIDTH), "dim")
    for number in (1, 2):
        line.append("  ")
        for name, width in _NODE_COLUMNS:
            line.append(_padded(f"node {number}" if name == "state" else name, width))
    return line


def _nodes(sight: Sight, choice: Choice) -> list[Text]:
    lines = []
    for number, (site, nodes) in enumerate(sight.sites):
        is_chosen = number == choice.region
        line = Text()
        line.append(">" if is_chosen else " ", "bold")
        name = f"{number + 1} {site.name}".ljust(_REGION_WIDTH - 1)
        line.append(name, "reverse" if is_chosen and not choice.node else "")
        for node in nodes:
            line.append("  ")
            picked = is_chosen and int(node.spec.number) == choice.node
            line.append_text(_node(node, is_chosen=picked))
        lines.append(line)
    return lines


def _node(node: NodeSight, *, is_chosen: bool) -> Text:
    answers = node.state in _ANSWERING
    word = node.state.value + ("*" if node.spec.is_control else "")
    if node.is_lost and not answers:
        word += " lost"
    told = (
        word,
        f"r{node.revision}" if answers else "-",
        _seconds(node.staleness_s) if answers else "-",
        f"{node.calls_per_second:.0f}" if answers else "-",
    )
    line = Text()
    for text, (name, width) in zip(told, _NODE_COLUMNS, strict=True):
        style = _STYLES[node.state] if name == "state" else ""
        line.append(_padded(text, width), f"{style} reverse" if is_chosen else style)
    return line


def _seconds(seconds: float) -> str:
    return f"{seconds:.1f}s" if seconds < 100 else f"{seconds / 60:.0f}m"


# ------------------------------------------------------------------------------------ calls

_TENANT_WIDTHS = (-7, -10)
_NUMBER_COLUMNS = (("p50", 5), ("p99", 5), ("/s", 4), ("failed", 7))


def _country_width(sight: Sight, width: int) -> int:
    numbers = sum(wide for _, wide in _NUMBER_COLUMNS)
    fixed = 2 + sum(abs(wide) for wide in _TENANT_WIDTHS) + numbers
    return min(max((width - fixed) // max(len(sight.countries), 1), 6), 18)


def _calls_header(sight: Sight, width: int) -> Text:
    wide = _country_width(sight, width)
    line = Text("  ", "dim")
    for name, column in zip(("tenant", "may be"), _TENANT_WIDTHS, strict=True):
        line.append(_padded(name, column))
    for country in sight.countries:
        line.append(_padded(f"{country}", -wide))
    for name, column in _NUMBER_COLUMNS:
        line.append(_padded(name, column))
    return line


def _calls(tenant: TenantSight, sight: Sight, width: int) -> Text:
    wide, totals = _country_width(sight, width), tenant.totals
    line = Text("  ")
    line.append(_padded(tenant.spec.name, _TENANT_WIDTHS[0]))
    line.append(_padded(tenant.spec.rule.name, _TENANT_WIDTHS[1]), "dim")
    for country in sight.countries:
        destination = tenant.destinations[country]
        line.append(_padded(_destination(destination, width), -wide))
    failed = totals.failed + totals.nowhere + totals.misplaced
    told = (
        _milliseconds(tenant.pace.p50_ms),
        _milliseconds(tenant.pace.p99_ms),
        f"{tenant.pace.per_second:.0f}",
        str(failed),
    )
    for text, (name, column) in zip(told, _NUMBER_COLUMNS, strict=True):
        line.append(_padded(text, column), "bold red" if name == "failed" and failed else "")
    return line


def _destination(destination: Destination, width: int) -> str:
    """Write where calls go: ``euw12`` is both nodes of ``eu-west``; with ``+`` also elsewhere."""
    if not destination.nodes:
        return "-"
    code, numbers = destination.nodes[0]
    text = f"{code}{''.join(numbers)}" + ("+" if len(destination.nodes) > 1 else "")
    if width >= _WIDE and destination.p50_ms is not None:
        text += f" {destination.p50_ms:.0f} ms"
    return text


def _milliseconds(value: float | None) -> str:
    return f"{value:.0f}" if value is not None else "-"


# ------------------------------------------------------------------------------------- foot


def _news(sight: Sight, room: int) -> list[Text]:
    lines = []
    for line in sight.news[-room:] if room > 0 else ():
        text = Text()
        text.append(f"{line.at_s:7.1f}  ", "dim")
        text.append(safe(line.text))
        lines.append(text)
    return lines


def _chosen(sight: Sight, choice: Choice) -> Text:
    site, nodes = sight.sites[choice.region]
    line = Text()
    line.append("picked: ", "dim")
    if choice.node:
        node = nodes[choice.node - 1]
        about = ", control node" if node.spec.is_control else ""
        line.append(f"{node.spec.name}", "bold")
        line.append(f" ({site.title}, {site.jurisdiction}{about})")
    else:
        line.append(f"all of {site.name}", "bold")
        line.append(f" ({site.title}, {site.jurisdiction})")
    line.append(f"; {choice.region + 1} again or Tab for one of its nodes", "dim")
    return line


def _keys(sight: Sight) -> Text:
    line = Text()
    for key, what in ((_numbers(sight), "pick"), *_KEYS):
        line.append(f"{' ' if line else ''}{key}", "bold")
        line.append(f" {what} ", "dim")
    return line


def _numbers(sight: Sight) -> str:
    count = len(sight.sites)
    return f"1-{count}" if count > 1 else "1"


def _padded(text: str, width: int) -> str:
    """Pad a text: to the left side for a negative width, else to the right."""
    blank = " " * (abs(width) - cell_len(text))
    return text + blank if width < 0 else blank + text


def help_page(*, width: int, height: int) -> Text:
    """Return the page that says what can be done."""
    return Text("\n").join(_cut(Text(line), width) for line in _HELP.splitlines()[:height])


_HELP = """\
Regions run on this machine, two nodes in each. The regions under one law have
one control node (*) with a store; the others follow it. Callers in countries
ask for tenants all the time, each of which may be only where its rule says.

  1, 2 …  pick a region; the same number again, or Tab: one of its nodes
  arrows  pick
  k       kill what is picked (SIGKILL)
  h       let it hang (SIGSTOP), or go on
  b       bring back what was killed or hangs; B: all of it
  d       drain it, so that calls go elsewhere, or end that
  c       kill the control node of the region that is picked
  p       publish a change, and see when each node decides by it
  q       quit; everything is stopped and removed

In the lower table euw12 means: both nodes of eu-west answer the tenant's calls
from that country; + means that some calls go to another region too. Failed
calls should stay 0 as long as some node is there that the tenant may be on;
others had nowhere to go. Misplaced is an answer from where it may not be.
Between places a byte takes as long as light in a fibre that is 1.5 times as
long as the great circle; p50 and p99 are of the last second.

any key goes back"""
