"""`placet xds`: what clients are started with, and who is connected."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.shell import Shell
from tests.stock_client import bootstrap, stock_client


@pytest.fixture(name="files")
def files_fixture(tmp_path: Path) -> Path:
    for name in ("ca.pem", "client.pem", "client.key", "token"):
        (tmp_path / name).write_text(name)
    return tmp_path


def servers(document: Any) -> list[str]:
    return [server["server_uri"] for server in document["xds_servers"]]


def test_without_options_it_is_for_a_server_on_this_machine(shell: Shell) -> None:
    document = shell("xds", "bootstrap", "--id", "orders").json
    (server,) = document["xds_servers"]
    assert "127.0.0.1:7717" == server["server_uri"]
    assert [{"type": "insecure"}] == server["channel_creds"]
    assert ["xds_v3"] == server["server_features"]
    assert {"id": "orders", "locality": {}} == document["node"]


def test_servers_keep_their_order_and_clients_say_who_they_are(shell: Shell) -> None:
    document = shell(
        *("xds", "bootstrap", "--server", "b:1,dns:///a.test:2,[::1]:3", "-t", "acme"),
        *("--residency", "EU_ONLY", "--region", "eu-west", "--balancing", "weighted"),
    ).json
    assert ["b:1", "dns:///a.test:2", "[::1]:3"] == servers(document)
    assert {"region": "eu-west"} == document["node"]["locality"]
    assert {
        "placet.tenant": "acme",
        "placet.residency": "EU_ONLY",
        "placet.balancing": "weighted",
    } == document["node"]["metadata"]
    assert document["node"]["id"]
    country = shell("xds", "bootstrap", "--country", "ie").json
    assert {"placet.country": "IE"} == country["node"]["metadata"]


def test_tls_and_tokens_are_files_where_the_client_finds_them(shell: Shell, files: Path) -> None:
    def credentials(*options: str) -> Any:
        (server,) = shell("xds", "bootstrap", *options).json["xds_servers"]
        return server["channel_creds"], server.get("call_creds")

    assert ([{"type": "tls"}], None) == credentials("--tls")
    ca = {"ca_certificate_file": str(files / "ca.pem")}
    assert ([{"type": "tls", "config": ca}], None) == credentials("--tls-ca", "ca.pem")
    given = ("--tls-ca", "ca.pem", "--tls-cert", "client.pem", "--tls-key", "client.key")
    (mutual,), calls = credentials(*given, "--token-file", "token")
    assert {
        **ca,
        "certificate_file": str(files / "client.pem"),
        "private_key_file": str(files / "client.key"),
    } == mutual["config"]
    token = {"jwt_token_file": str(files / "token")}
    assert [{"type": "jwt_token_file", "config": token}] == calls


def test_a_file_is_not_replaced_unless_asked_to(shell: Shell, tmp_path: Path) -> None:
    out = tmp_path / "xds.json"
    first = shell("xds", "bootstrap", "-o", out, "-t", "acme")
    assert (0, "") == (first.code, first.out)
    assert f"export GRPC_XDS_BOOTSTRAP={out}" in first.err
    again = shell("xds", "bootstrap", "-o", out)
    assert (2, True) == (again.code, "--force" in again.err)
    assert "acme" in out.read_text()
    assert 0 == shell("xds", "bootstrap", "-o", out, "--force").code
    assert "acme" not in out.read_text()
    missing = shell("xds", "bootstrap", "-o", tmp_path / "none" / "xds.json")
    assert (1, True) == (missing.code, "cannot write" in missing.err)


def test_for_envoy_there_is_a_port_and_everything_else_comes_by_xds(
    shell: Shell, files: Path
) -> None:
    document = shell(
        *("xds", "bootstrap", "--envoy", "--server", "a.test:1,b.test:2", "--listen", "[::1]:9"),
        *("--tls-cert", "client.pem", "--tls-key", "client.key"),
    ).json
    static = document["static_resources"]
    (listener,), (control,) = static["listeners"], static["clusters"]
    assert {"address": "::1", "port_value": 9} == listener["address"]["socket_address"]
    assert "dns" in control["type"].lower()
    assert {"placet.tls": "mutual"} == document["node"]["metadata"]
    trusted, shown = static["secrets"]
    assert {"system_root_certs": {}} == trusted["validation_context"]
    assert str(files / "client.key") in json.dumps(shown)


@pytest.mark.parametrize(
    ("options", "why"),
    [
        (["--server", "a"], "write it as HOST:PORT"),
        (["--server", "a:0"], "write it as HOST:PORT"),
        (["--server", "ipv4:a:1,b:2/x:3"], "write it as HOST:PORT"),
        (["--server", ","], "names nobody"),
        (["--server", "a:1,a:1"], "names one of them twice"),
        (["-t", "a b"], "1 to 64 letters"),
        (["--residency", "EU"], "use one of `ANY`, `EU_ONLY`"),
        (["--balancing", "robin"], "did you mean `round_robin`?"),
        (["--country", "UK"], "did you mean `GB`?"),
        (["--country", "IE", "--region", "eu-west"], "exclude each other"),
        (["--tls-ca", "none.pem"], "there is no such file"),
        (["--tls-cert", "client.pem"], "give both"),
        (["--token-file", "none"], "there is no such file"),
        (["--listen", "127.0.0.1:1"], "is for `--envoy`"),
        (["--envoy", "--listen", "1"], "write it as HOST:PORT"),
        (["--envoy", "--token-file", "token"], "use --tls-cert"),
        (["--envoy", "--server", "dns:///a.test:1"], "leave out `dns:///`"),
    ],
)
def test_what_cannot_be_meant_is_refused(
    shell: Shell, files: Path, options: list[str], why: str
) -> None:
    result = shell("xds", "bootstrap", *options)
    assert (2, "") == (result.code, result.out)
    assert why in result.err.replace("\n", " ")


async def test_clients_are_listed(shell: Shell, server: str) -> None:
    none = await asyncio.to_thread(shell, "xds", "clients", "--address", server)
    assert "no xDS clients" in none.out
    given = bootstrap(server, region="eu-west", residency="ANY")
    async with stock_client(given) as client:
        await client.call(deadline_s=2.0)
        listed = await asyncio.to_thread(shell, "xds", "clients", "--address", server, "--json")
        shown = await asyncio.to_thread(shell, "xds", "clients", "--address", server)
    (found,) = listed.json["clients"]
    assert ("a-client", "C_CORE", "ANY") == (found["id"], found["library"], found["residency"])
    assert ["placet"] == found["targets"]
    assert all(one["is_current"] for one in found["subscriptions"])
    assert "C-core" in shown.out
    assert "up to date" in shown.out
