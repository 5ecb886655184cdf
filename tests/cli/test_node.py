"""`placet node` and `placet region map`, against a real server."""

from __future__ import annotations

import json
import re
import signal
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import grpc
import pytest
import typer

from placet.cli import completing
from placet.v1 import topology_pb2 as pb
from placet.v1 import topology_service_pb2 as service_pb
from placet.v1 import topology_service_pb2_grpc
from tests.cli.shell import PATIENCE_S, Shell, environment, running, serving

SERVING, NOT_SERVING = pb.NODE_HEALTH_SERVING, pb.NODE_HEALTH_NOT_SERVING

Register = Callable[..., None]


@pytest.fixture(name="address", scope="module")
def address_fixture(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A server in Ireland that takes what nodes say for true, and lets no lease lapse."""
    folder = tmp_path_factory.mktemp("nodes")
    (folder / "placet.toml").write_text("[topology]\nlease_s = 60\nprobe_every_s = 0\n")
    options = ("--store", "memory", "--region", "eu-west", "--node", "eu1")
    with serving(folder, *options) as (address, _):
        yield address


@pytest.fixture(name="register")
def register_fixture(address: str) -> Iterator[Register]:
    """Registers nodes, which are gone after the test."""
    with grpc.insecure_channel(address) as channel:
        topology = topology_service_pb2_grpc.TopologyServiceStub(channel)
        registered = []

        def register(id_: str, region: str = "eu-west", **renewal: Any) -> None:
            node = pb.Node(
                id=id_,
                instance="first",
                region=region,
                role=pb.NODE_ROLE_EDGE,
                address=f"{id_}.example.net:7443",
            )
            topology.RegisterNode(service_pb.RegisterNodeRequest(node=node), timeout=PATIENCE_S)
            registered.append(id_)
            given = {"instance": "first", "health": SERVING, **renewal}
            topology.RenewNodeLease(
                service_pb.RenewNodeLeaseRequest(node=id_, **given), timeout=PATIENCE_S
            )

        yield register
        for id_ in registered:
            request = service_pb.DeregisterNodeRequest(node=id_, instance="first")
            topology.DeregisterNode(request, timeout=PATIENCE_S)


@pytest.fixture(name="at")
def at_fixture(address: str, shell: Shell, monkeypatch: pytest.MonkeyPatch) -> Shell:
    """Runs commands that talk to that server, once it lists itself."""
    monkeypatch.setenv("PLACET_ADDRESS", address)
    while "1 of 1 nodes serve" not in shell("node", "list").out:
        pass
    return shell


def _rows(text: str) -> list[list[str]]:
    return [re.split(r"  +", line.strip()) for line in text.splitlines()]


# -------------------------------------------------------------------------------------- list


def test_nodes_are_listed_by_region(at: Shell, register: Register, address: str) -> None:
    register("va1", "us-east", health=NOT_SERVING, health_reason="no disk")
    register("eu2", load=pb.NodeLoad(utilization=0.42, requests_per_second=1234), revision=7)
    result = at("node", "list")

    assert (0, "") == (result.code, result.err)
    head, columns, *rows = _rows(result.out)
    assert ["2 of 3 nodes serve"] == head
    assert ["region", "node", "role", "state", "weight", "load"] == columns[:6]
    assert ["eu-west", "eu1", "control", "serving", "100"] == rows[0][:5]
    assert address == rows[0][-1]
    assert ["eu2", "edge", "serving", "100", "42%", "1,234", "7"] == rows[1][:7]
    assert ["us-east", "va1", "edge", "not serving: no disk"] == rows[2][:4]


def test_nodes_of_a_region_are_listed_for_programs(at: Shell, register: Register) -> None:
    register("va1", "us-east", draining=True)
    document = at("node", "list", "--region", "us-east", "--json").json

    (node,) = document["nodes"]
    assert ("va1", "SERVING", True, False, "va1.example.net:7443") == tuple(
        node[key] for key in ("id", "health", "draining", "takes_calls", "address")
    )
    assert (0, 0.0) == (node["revision"], node["load"]["utilization"])
    assert {"time", "nodes"} == document.keys()


def test_no_nodes_are_told(at: Shell) -> None:
    assert "no nodes\n" == at("node", "list", "--region", "us-east").out


def test_changes_are_lines_without_a_terminal(
    tmp_path: Path, at: Shell, register: Register, address: str
) -> None:
    register("eu2")
    with running("node", "list", "--watch", "--address", address, cwd=tmp_path) as process:
        process.wait_for("eu1 (eu-west): serving")
        process.wait_for("eu2 (eu-west): serving")
        assert 0 == at("node", "drain", "eu2").code
        process.wait_for("eu2 (eu-west): serving → draining")
        assert 0 == at("node", "undrain", "eu2").code
        process.wait_for("eu2 (eu-west): draining → serving")
        result = process.end(signal.SIGINT)
    assert (0, "") == (result.code, result.err)
    assert 4 == len(result.out.splitlines())


def test_a_watch_for_programs_is_a_document_a_line(
    tmp_path: Path, at: Shell, register: Register, address: str
) -> None:
    register("eu2")
    arguments = ("node", "list", "--watch", "--json", "--address", address)
    with running(*arguments, cwd=tmp_path) as process:
        first = json.loads(process.wait_for('"eu2"'))
        assert 0 == at("node", "weight", "eu2", "7").code
        process.wait_for('"weight": 7')
        result = process.end(signal.SIGINT)
    assert ["eu1", "eu2"] == [node["id"] for node in first["nodes"]]
    assert 0 == result.code


def test_a_view_is_drawn_over_on_a_terminal(tmp_path: Path, at: Shell, address: str) -> None:
    forced = environment(FORCE_COLOR="1", TERM="xterm")
    for command in (("node", "list"), ("region", "map")):
        arguments = (*command, "--watch", "--address", address)
        with running(*arguments, cwd=tmp_path, env=forced) as process:
            process.wait_for("\x1b[1A")
            result = process.end(signal.SIGINT)
        assert (0, "") == (result.code, result.err)
        assert "\x1b[?25h" in result.out, "the cursor is hidden"


# ---------------------------------------------------------------------------------- settings


def test_a_node_is_drained_brought_back_and_weighed(at: Shell, register: Register) -> None:
    register("eu2")
    drained = at("node", "drain", "eu2")
    listed = at("node", "list")
    back = at("node", "undrain", "eu2", "--json").json
    weighed = at("node", "weight", "eu2", "50")

    assert (0, "eu2 in eu-west drains: callers are sent elsewhere\n") == (drained.code, drained.out)
    assert ["eu2", "edge", "draining"] in [row[:3] for row in _rows(listed.out)]
    assert (False, True) == (back["draining"], back["takes_calls"])
    assert "eu2 in eu-west has weight 50\n" == weighed.out


def test_a_node_that_stops_is_not_brought_back(at: Shell, register: Register) -> None:
    register("eu2", draining=True)
    assert "is on its way out by itself" in at("node", "undrain", "eu2").out


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("drain", "nobody"), 1, "node `nobody` is not known; list what there is"),
        (("weight", "eu1", "0"), 2, "greater than or equal to 1"),
        (("drain", "a b"), 2, "use 1 to 128 letters, digits and `._-`"),
        (("list", "--region", "a!"), 2, "use 1 to 64 letters, digits and `._-`"),
    ],
)
def test_what_cannot_be_done_says_why(
    at: Shell, arguments: tuple[str, ...], code: int, said: str
) -> None:
    result = at("node", *arguments)
    assert (code, "") == (result.code, result.out)
    assert said in result.err


def test_ids_are_offered(address: str, register: Register) -> None:
    register("va1", "us-east")
    context = typer.Context(typer.main.get_command(typer.Typer(callback=lambda: None)))
    context.params = {"address": address}
    assert [("va1", "us-east")] == completing.node_ids(context, "v")
    context.params = {"address": "127.0.0.1:1"}
    assert [] == completing.node_ids(context, "")


# --------------------------------------------------------------------------------------- map


def test_the_map_shows_regions_where_they_are(at: Shell, register: Register) -> None:
    register("va1", "us-east", health=NOT_SERVING)
    register("eu2", draining=True)
    lines = [line.rstrip() for line in at("region", "map").out.splitlines()]
    drawn = lines[: lines.index("")]

    def place(text: str) -> tuple[int, int]:
        (row,) = (number for number, line in enumerate(drawn) if text in line)
        return row, drawn[row].index(text)

    assert place("eu-west 1/2")[1] > place("us-east 0/1")[1] > place("us-west")[1]
    # Tokyo is to the east and the north of Singapore.
    tokyo, singapore = place("apac-northeast"), place("apac-southeast")
    assert tokyo[0] < singapore[0]
    rows = _rows("\n".join(lines))
    assert ["◐", "eu-west", "Ireland", "EU", "1 of 2 serve, 1 draining"] in [r[:5] for r in rows]
    assert ["○", "us-west", "Oregon", "US", "no nodes", "-", "-"] in rows


@pytest.mark.parametrize("columns", ["40", "80", "200"])
def test_the_map_fits(at: Shell, monkeypatch: pytest.MonkeyPatch, columns: str) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = at("region", "map").out.splitlines()
    assert max(map(len, lines)) <= int(columns)
    assert sum("⣿" in line for line in lines) >= 5


def test_the_picture_is_an_svg_file_that_needs_no_other(
    at: Shell, register: Register, tmp_path: Path
) -> None:
    register("va1", "us-east", health=NOT_SERVING)
    written = at("region", "map", "--svg", "map.svg")
    printed = at("region", "map", "--svg", "-")

    assert (0, "", "the map is in map.svg\n") == (written.code, written.out, written.err)
    text = (tmp_path / "map.svg").read_text("utf-8")
    assert text + "\n" == printed.out
    root = ElementTree.fromstring(text)
    assert "{http://www.w3.org/2000/svg}svg" == root.tag
    words = [" ".join("".join(element.itertext()).split()) for element in root.iter()]
    assert "1 of 2 nodes serve in 6 regions" in words
    assert "us-east: 0 of 1 serve, 1 not serving" in words
    assert {"href", "src", "url("}.isdisjoint(re.findall(r"href|src|url\(", text))


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--svg", "no/such/folder.svg"), "cannot write `no/such/folder.svg`"),
        (("--svg", "x.svg", "--watch"), "`--svg` and `--watch` exclude each other"),
    ],
)
def test_a_map_that_cannot_be_drawn_says_why(
    at: Shell, arguments: tuple[str, ...], said: str
) -> None:
    result = at("region", "map", *arguments)
    assert (2, "") == (result.code, result.out)
    assert said in result.err
