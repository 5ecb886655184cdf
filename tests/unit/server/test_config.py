"""One reader for file, environment and flags."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from placet_server.config import (
    Config,
    ConfigError,
    for_worker,
    from_document,
    read_config,
    to_document,
)


def _file(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "placet.toml"
    path.write_text(text, "utf-8")
    return path


def test_without_anything_the_defaults_hold() -> None:
    config, origins = read_config(environment={})

    assert config == Config()
    assert {origin.source for origin in origins} == {"default"}


def test_a_flag_wins_over_the_environment_and_that_over_the_file(tmp_path: Path) -> None:
    file = _file(tmp_path, '[server]\nnode = "file"\nregion = "file"\nlisten = "127.0.0.1:1"\n')
    config, origins = read_config(
        file=file,
        environment={"PLACET_SERVER_NODE": "environment", "PLACET_SERVER_REGION": "environment"},
        flags={"server.node": "flag", "server.drain_s": None},
    )

    sources = {origin.key: origin.source for origin in origins}
    assert (config.server.node, config.server.region) == ("flag", "environment")
    assert config.server.listen == "127.0.0.1:1"
    assert sources["server.node"] == "flag"
    assert sources["server.region"] == "environment PLACET_SERVER_REGION"
    assert sources["server.listen"] == f"file {file}"
    assert sources["server.drain_s"] == "default"


def test_text_is_taken_for_what_it_stands_for() -> None:
    config, _ = read_config(
        environment={
            "PLACET_SERVER_ALLOW_INSECURE": "yes",
            "PLACET_CACHE_MAX_BYTES": "5",
            "PLACET_CACHE_TTL_S": "1.5",
        }
    )

    assert config.server.allow_insecure is True
    assert (config.cache.max_bytes, config.cache.ttl_s) == (5, 1.5)


def test_lists_are_lists_in_a_file_and_have_commas_in_a_variable(tmp_path: Path) -> None:
    file = _file(tmp_path, "[telemetry]\ndecision_log_mask = ['context.a', 'context.b']\n")
    from_file, _ = read_config(file=file, environment={})
    variable = {"PLACET_TELEMETRY_DECISION_LOG_MASK": "context.a, context.b"}
    from_environment, _ = read_config(environment=variable)

    expected = ("context.a", "context.b")
    assert from_file.telemetry.decision_log_mask == expected
    assert from_environment.telemetry.decision_log_mask == expected


def test_variables_of_the_command_line_are_no_configuration() -> None:
    names = (
        *("ADDRESS", "TENANT", "ACTOR", "GROUPS", "TOKEN", "TOKEN_FILE", "SERVER_NAME"),
        *("CLIENT_TLS", "CLIENT_CA", "CLIENT_CERT", "CLIENT_KEY"),
    )
    config, _ = read_config(environment={f"PLACET_{name}": "x" for name in names} | {"HOME": "/"})

    assert config == Config()


_TLS = "[tls]\ncert = 'a'\nkey = 'b'\n"
_ACCESS = "[identity]\naccess = 'x'\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[server]\nlisen = 'x'\n", "unknown key `server.lisen` .*did you mean `server.listen`"),
        ("[sever]\nlisten = 'x'\n", "unknown key `sever.listen`"),
        ("listen = 'x'\n", "`listen` in .* is not in a section"),
        ("[server]\nlisten = 7717\n", "`server.listen` is `7717` .* not text in quotes"),
        ("[server]\nlisten = '127.0.0.1'\n", "write it as host:port"),
        ("[server]\nlisten = '127.0.0.1:99999'\n", "write it as host:port"),
        ("[server]\nallow_insecure = 'maybe'\n", "not true or false"),
        ("[cache]\nmax_bytes = 0\n", "`cache.max_bytes` is `0` .*at least 1"),
        ("[cache]\nmax_bytes = true\n", "not a whole number"),
        ("[subscribe]\nheartbeat_s = 9.0\n", "at most 5"),
        ("[store]\nkind = 'mysql'\n", "use one of sqlite, postgres, memory"),
        ("[store]\nkind = 'postgres'\n", "`store.url` is empty"),
        ("[log]\nlevel = 'loud'\n", "use one of debug"),
        ("[server]\nfront = 'nginx'\n", "use one of grpc, envoy"),
        ("[server]\nworkers = 0\n", "`server.workers` is `0` .*at least 1"),
        ("[server]\nworkers = 2\n[store]\nkind = 'memory'\n", "processes cannot share"),
        ("[server\n", "is not valid TOML"),
        ("[telemetry]\nprometheus_listen = '9464'\n", "write it as host:port"),
        ("[telemetry]\nmax_tenants = 1000\n", "at most 150"),
        ("[telemetry]\ntrace_ratio = 2.0\n", "at most 1"),
        ("[telemetry]\ndecision_log = 'kafka'\n", "use one of off, stdout, file, otlp"),
        ("[telemetry]\ndecision_log_mask = [1]\n", "which is not a list of texts"),
        ("[tls]\ncert = 'a'\n", "there is `tls.cert` and no `tls.key`"),
        ("[tls]\nkey = 'a'\n", "there is `tls.key` and no `tls.cert`"),
        ("[tls]\nclient_ca = 'a'\n", "there is `tls.client_ca` and no `tls.cert`"),
        ("[tls]\nmin_version = '1.1'\n", "use one of 1.2, 1.3"),
        (f"{_TLS}min_version = '1.3'\n", "cannot be kept from speaking 1.2"),
        (
            f"{_TLS}client_ca = 'c'\nrequire_client_cert = false\n{_ACCESS}",
            "everybody for a certificate or nobody",
        ),
        (
            f"{_TLS}client_ca = 'c'\n",
            "with `tls.client_ca` callers prove who they are, and nothing",
        ),
        ("[identity]\njwks = 'k'\n", "with `identity.jwks` callers prove who they are"),
        (f"{_ACCESS}jwks = 'k'\naudience = 'a'\n", "no `identity.issuer`"),
        (f"{_ACCESS}jwks = 'k'\nissuer = 'i'\n", "no `identity.audience`"),
        (f"{_ACCESS}algorithms = ['none']\n", "`identity.algorithms` has `none`"),
        (f"{_ACCESS}algorithms = ['HS256']\n", "`identity.algorithms` has `HS256`"),
        (f"{_ACCESS}leeway_s = 3600.0\n", "at most 300"),
    ],
)
def test_what_cannot_be_used_is_refused(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read_config(file=_file(tmp_path, text), environment={})


def test_every_wrong_value_is_named_at_once(tmp_path: Path) -> None:
    file = _file(tmp_path, "[cache]\nmax_bytes = 0\n[store]\nkind = 'x'\n[log]\nlevel = 3\n")

    with pytest.raises(ConfigError) as caught:
        read_config(file=file, environment={})

    assert set(re.findall(r"`(\w+\.\w+)` is", str(caught.value))) == {
        "cache.max_bytes",
        "store.kind",
        "log.level",
    }


def test_an_unknown_variable_is_refused() -> None:
    with pytest.raises(ConfigError, match="environment PLACET_SERVER_LISTENN"):
        read_config(environment={"PLACET_SERVER_LISTENN": "x"})


def test_a_file_that_is_not_there_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="cannot read"):
        read_config(file=tmp_path / "gone.toml", environment={})


def test_a_configuration_can_be_written_down_and_read_again() -> None:
    config, _ = read_config(environment={"PLACET_SERVER_WORKERS": "3", "PLACET_CACHE_TTL_S": "1.5"})

    assert from_document(json.loads(json.dumps(to_document(config)))) == config


def test_workers_do_not_share_what_only_one_process_can_have() -> None:
    config, _ = read_config(
        environment={
            "PLACET_TELEMETRY_PROMETHEUS_LISTEN": "127.0.0.1:9464",
            "PLACET_TELEMETRY_DECISION_LOG_PATH": "logs/decisions.jsonl",
        }
    )

    workers = [for_worker(config, number).telemetry for number in range(2)]

    assert [worker.prometheus_listen for worker in workers] == ["127.0.0.1:9464", "127.0.0.1:9465"]
    assert [worker.decision_log_path for worker in workers] == [
        "logs/decisions.0.jsonl",
        "logs/decisions.1.jsonl",
    ]


@pytest.mark.parametrize("listen", ["", "127.0.0.1:0"])
def test_workers_without_a_port_of_their_own_keep_it_so(listen: str) -> None:
    config, _ = read_config(environment={"PLACET_TELEMETRY_PROMETHEUS_LISTEN": listen})

    assert for_worker(config, 1).telemetry.prometheus_listen == listen


def test_the_engines_own_variable_is_none_of_the_configuration_and_is_checked() -> None:
    config, _ = read_config(environment={"PLACET_NATIVE": "off"})

    assert config == Config()
    with pytest.raises(ConfigError, match="`PLACET_NATIVE` is `maybe`; use `on` or `off`"):
        read_config(environment={"PLACET_NATIVE": "maybe"})


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("postgresql://u:geheim@h1:5432,h2/d", "postgresql://u:***@h1:5432,h2/d"),
        ("postgresql://u:ge:h@eim@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u:ge/heim@h/d", "postgresql://u:***@h/d"),
        ("postgresql://u@h1:5432/d", "postgresql://u@h1:5432/d"),
        ("postgresql://h1:5432/d?application_name=a@b", None),
        ("postgresql:///d?user=u&password=geheim&sslmode=require", None),
    ],
)
def test_a_password_is_used_and_not_shown(url: str, shown: str | None) -> None:
    config, origins = read_config(environment={"PLACET_STORE_URL": url})

    (origin,) = [origin for origin in origins if origin.key == "store.url"]
    assert config.store.url == url
    assert "heim" not in str(origin.value)
    assert shown is None or origin.value == shown


def test_a_node_that_follows_has_no_store_beside(tmp_path: Path) -> None:
    """But a file that is there for all commands has less to say than what is said for this one."""
    file = tmp_path / "placet.toml"
    file.write_text('[store]\npath = "placet.db"\n')

    config, _ = read_config(file=file, environment={}, flags={"upstream.addresses": "a:1,b:2"})
    assert config.upstream.addresses == ("a:1", "b:2")
    with pytest.raises(ConfigError, match="leave out one of them"):
        read_config(
            environment={"PLACET_UPSTREAM_ADDRESSES": "a:1"}, flags={"store.kind": "memory"}
        )


def test_the_first_worker_alone_writes_the_state_file() -> None:
    config, _ = read_config(environment={}, flags={"upstream.addresses": "a:1"})

    first, second = for_worker(config, 0), for_worker(config, 1)
    assert first.upstream.state_every_s == config.upstream.state_every_s > 0
    assert second.upstream.state_every_s == 0
    assert first.upstream.state_path == second.upstream.state_path
