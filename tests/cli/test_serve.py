from __future__ import annotations

import json
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import grpc
import pytest

from placet import ChangeSet, Client, Policy
from placet.v1 import (
    evaluate_service_pb2,
    evaluate_service_pb2_grpc,
    subscribe_service_pb2,
    subscribe_service_pb2_grpc,
)
from placet_engine import native
from tests.cli.shell import PATIENCE_S, Shell, environment, running, serving


def test_the_server_says_where_it_is_and_what_to_do_next(tmp_path: Path) -> None:
    with serving(tmp_path) as (address, process):
        result = process.end()

    assert result.code == 0
    assert address.startswith("127.0.0.1:")
    assert f"placet serves on {address}, store placet.db at revision 0; publish policies: " in (
        result.out
    )
    assert "drained" in result.err
    assert "Traceback" not in result.err


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_drains_and_ends_well(tmp_path: Path, number: signal.Signals) -> None:
    """A stream that is open is told, and does not hold the server up."""
    with serving(tmp_path, "--store", "memory") as (address, process):
        with grpc.insecure_channel(address) as channel:
            stub = subscribe_service_pb2_grpc.SubscribeServiceStub(channel)
            events = stub.Subscribe(subscribe_service_pb2.SubscribeRequest(), timeout=PATIENCE_S)
            first = next(events)
            process.send(number)
            last = [event.WhichOneof("event") for event in events][-1]
        result = process.end(None)

    assert first.WhichOneof("event") == "snapshot_begin"
    assert last == "go_away"
    assert result.code == 0
    assert "Traceback" not in result.err


def test_a_second_interrupt_ends_it_at_once(tmp_path: Path) -> None:
    """A call that is open may take a minute to finish; the second Ctrl-C does not wait for it."""
    held = threading.Event()

    def requests() -> Iterator[evaluate_service_pb2.EvaluateStreamRequest]:
        yield evaluate_service_pb2.EvaluateStreamRequest(correlation_id="1")
        held.wait(PATIENCE_S)

    with (
        serving(tmp_path, "--store", "memory", "--drain-s", "60") as (address, process),
        grpc.insecure_channel(address) as channel,
    ):
        stub = evaluate_service_pb2_grpc.EvaluateServiceStub(channel)
        call = stub.EvaluateStream(requests())
        # The server is at work on the call.
        answer = next(call)
        process.send(signal.SIGINT)
        process.wait_for("stopping", in_="err")
        result = process.end(signal.SIGINT)
        held.set()
        call.cancel()

    assert answer.correlation_id == "1"
    assert result.code == 130
    assert "Traceback" not in result.err


def test_what_was_published_is_there_after_a_restart(
    tmp_path: Path, shell: Shell, starter: Path
) -> None:
    with serving(tmp_path) as (address, process):
        pushed = shell("policy", "push", ".", "-t", "acme", "--address", address)
        process.end(signal.SIGTERM)
    with serving(tmp_path) as (address, process):
        line = process.wait_for("placet serves on")
        asked = shell(
            *[
                "evaluate",
                "-t",
                "acme",
                "-s",
                "User::alice",
                "-a",
                "view",
                "-r",
                "Invoice::paper",
                "--address",
            ],
            address,
        )
        process.end()

    assert (pushed.code, asked.code) == (0, 0)
    assert "at revision 1; ask it: placet evaluate" in line


def test_the_log_is_text_with_fields_or_json(tmp_path: Path) -> None:
    with serving(tmp_path, "--store", "memory") as (address, process):
        text = process.end()
    with running(
        *["serve", "--listen", "127.0.0.1:0", "--store", "memory", "--log-format", "json"],
        cwd=tmp_path,
    ) as process:
        serving_line = json.loads(process.wait_for('"serving"', in_="err"))
        as_json = process.end(signal.SIGTERM)

    assert f"INFO    app: serving address={address} revision=0 path={native.path()}" in text.err
    assert serving_line["message"] == "serving"
    assert serving_line["revision"] == 0
    assert serving_line["path"] == native.path()
    # For programs all of it is JSON, but the word to whoever pressed Ctrl-C.
    assert as_json.out == ""


def test_flags_win_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    (tmp_path / "placet.toml").write_text(
        '[server]\nregion = "us-east"\nnode = "from-file"\n[store]\nkind = "memory"\n'
    )
    env = environment(PLACET_SERVER_NODE="from-environment", PLACET_SERVER_REGION="eu-west")
    with running(
        *["serve", "--listen", "127.0.0.1:0", "--node", "from-flag"], cwd=tmp_path, env=env
    ) as process:
        address = process.wait_for("placet serves on").split()[3].rstrip(",")
        with Client(address, tenant="t", timeout_s=10, management_timeout_s=10) as client:
            policy = Policy(id="p", cedar="permit (principal, action, resource);")
            client.publish(ChangeSet(policies=(policy,)))
            decision = client.evaluate(("U", "a"), "v", ("D", "x"))
        process.end()

    assert (decision.node, decision.region) == ("from-flag", "eu-west")
    assert not (tmp_path / "placet.db").exists()


def test_a_port_that_is_taken_is_told(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with running(
            *f"serve --store memory --listen 127.0.0.1:{port}".split(), cwd=tmp_path
        ) as process:
            result = process.end(None)

    assert (result.code, result.out) == (1, "")
    assert f"error: cannot listen on `127.0.0.1:{port}`: it is in use" in result.err
    assert "Traceback" not in result.err


def test_a_damaged_store_is_told(tmp_path: Path) -> None:
    (tmp_path / "placet.db").write_bytes(b"not a database, but long enough to look at" * 100)

    with running("serve", "--listen", "127.0.0.1:0", cwd=tmp_path) as process:
        result = process.end(None)

    assert (result.code, result.out) == (1, "")
    assert "placet.db`" in result.err
    assert "restore it from a backup" in result.err
    assert "Traceback" not in result.err


def test_a_store_where_nothing_can_be_written_is_told(tmp_path: Path) -> None:
    with running(
        *["serve", "--listen", "127.0.0.1:0", "--store-path", "no/such/folder.db"], cwd=tmp_path
    ) as process:
        result = process.end(None)

    assert result.code == 1
    assert result.err.startswith("error: ")
    assert "Traceback" not in result.err


def test_a_node_that_follows_says_whom_and_goes_on_without(
    tmp_path: Path, shell: Shell, starter: Path
) -> None:
    """By --upstream and --state; the refusal of what needs a store says where to go."""
    state = str(tmp_path / "edge.state")
    with serving(tmp_path) as (control, _):
        assert shell("policy", "push", ".", "-t", "acme", "--address", control).code == 0
        follow = ("--upstream", control, "--state", state, "--node", "edge")
        with serving(tmp_path, *follow) as (edge, process):
            process.wait_for("policies loaded", in_="err")
            refused = shell("policy", "push", ".", "-t", "acme", "--address", edge)
            assert f"following {control}, with nothing to serve until one of them answers" in (
                process.end().out
            )
    assert refused.code == 1
    assert f"takes no changes; call a control node: `{control}`" in refused.err

    with serving(tmp_path, *follow) as (edge, process):
        said = process.wait_for("placet serves on")
        asked = shell(
            *("evaluate", "-s", "User::carol", "-a", "view", "-r", "Invoice::laptops"),
            *("-t", "acme", "--address", edge, "--json"),
        )
    assert f"following {control}, with revision 1 from {state}" in said
    assert json.loads(asked.out)["node"] == "edge"


def test_a_node_that_follows_can_keep_nothing(tmp_path: Path) -> None:
    with (
        serving(tmp_path) as (control, _),
        running(
            *("serve", "--listen", "127.0.0.1:0", "--upstream", control, "--state", ""),
            cwd=tmp_path,
        ) as edge,
    ):
        edge.wait_for("placet serves on")
        result = edge.end()
    assert result.code == 0
    assert not list(tmp_path.glob("*.state*"))


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (("--upstream", "a:1", "--store", "memory"), "has no store: leave out one of them"),
        (("--upstream", "a:1,b"), "write it as host:port"),
        (("--upstream", "a:1,b:2,a:1"), "names one of them twice"),
        (("--upstream", "a:1", "--state", "not/there/edge.state"), "choose another place"),
    ],
)
def test_what_cannot_be_followed_is_refused_with_what_to_do(
    tmp_path: Path, arguments: tuple[str, ...], complaint: str
) -> None:
    with running("serve", "--listen", "127.0.0.1:0", *arguments, cwd=tmp_path) as process:
        result = process.end(None)
    assert result.code == 2
    assert complaint in result.err
