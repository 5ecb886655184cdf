"""Configuration: one reader for file, environment and flags.

A value comes from, in rising order of authority: its default, a TOML file, a
``PLACET_<SECTION>_<KEY>`` variable, a flag. Keys nobody knows are refused.
"""

from __future__ import annotations

import difflib
import os
import re
import socket
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import Any, get_type_hints

from placet_engine import native


class ConfigError(ValueError):
    """A configuration that cannot be used; the message says what to change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerConfig:
    """``[server]``."""

    listen: str = "127.0.0.1:7717"
    """Address to serve on, ``host:port``. Port 0 takes any free one."""
    node: str = ""
    """Name of this node in decisions. Empty: the host's name."""
    advertise: str = ""
    """Address clients reach this node at, ``host:port``. Empty: the one it listens on; where that
    is a wildcard, nobody is sent to this node."""
    region: str = "local"
    """Region of this node: one of those in `topology.file`, or `local`, which is none."""
    allow_insecure: bool = False
    """Whether to listen without TLS on addresses others can reach."""
    drain_s: float = 10.0
    """How long calls under way may take when the server stops, in seconds."""
    compile_threads: int = 2
    """Threads that compile policies and explain decisions."""
    front: str = "grpc"
    """What callers reach first: `grpc`, or `envoy`, which is faster and needs its extra."""
    workers: int = 1
    """Processes that serve on the one address. More than one need a store they can share."""
    max_connection_age_s: float = 60.0
    """After how long clients are asked to connect anew, in seconds, so that connections spread
    over the workers again. Only where there are several. 0: never."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TlsConfig:
    """``[tls]``. Files are PEM, and may be replaced while the server runs."""

    cert: str = ""
    """File with this node's certificate, followed by those between it and its CA. Empty: plain
    text."""
    key: str = ""
    """File with its private key, not encrypted."""
    client_ca: str = ""
    """File with the CAs whose certificates callers may show. Empty: they are not asked for any."""
    require_client_cert: bool = True
    """Whether callers must show one, where there is `client_ca`. They need not only with the
    envoy front."""
    min_version: str = "1.2"
    """Oldest version of TLS that is spoken: `1.2`, or `1.3` with the envoy front."""
    reload_s: float = 5.0
    """How often the files are looked at for changes, in seconds."""
    upstream_ca: str = ""
    """File with the CAs of other nodes, to which this one shows `cert`; `system`: those that this
    machine trusts; `plaintext`: no TLS. Empty: `client_ca` or, without, `system` where there is
    `cert`, else `plaintext`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class IdentityConfig:
    """``[identity]``."""

    access: str = ""
    """TOML file that says who may do what. Needed where callers can prove who they are."""
    jwks: str = ""
    """File or address (https://) of the keys that bearer tokens are signed with. Empty: no tokens
    are taken."""
    jwks_refresh_s: float = 300.0
    """How often the keys are fetched from an address, in seconds."""
    issuer: str = ""
    """Who has to have issued tokens, their claim `iss`."""
    audience: str = ""
    """Whom they have to be for, in their claim `aud`."""
    algorithms: tuple[str, ...] = ("RS256", "PS256", "ES256", "EdDSA")
    """Algorithms they may be signed with. None that works without a public key is taken."""
    name_claim: str = "sub"
    """Claim with the caller's name."""
    groups_claim: str = "groups"
    """Claim with the names of the caller's groups."""
    leeway_s: float = 30.0
    """How far clocks may be apart, in seconds."""
    reload_s: float = 5.0
    """How often the files are looked at for changes, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreConfig:
    """``[store]``."""

    kind: str = "sqlite"
    """`sqlite` keeps everything in one file; `postgres` in a database that nodes on many machines
    share, and needs its extra; `memory` forgets it at the end."""
    path: str = "placet.db"
    """File of the sqlite store. Made when it is not there."""
    url: str = ""
    """Database of the postgres store, such as ``postgresql://placet@db1,db2/placet``: of several
    hosts, the one that takes writes is used. A password is better kept in PGPASSFILE."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TopologyConfig:
    """``[topology]``."""

    file: str = ""
    """TOML file of the regions there are, see docs/regions.md. Empty: the six that ship."""
    lease_s: float = 0.45
    """How long a node may be silent before it is lost, in seconds. Longer for nodes that are far
    away, and where there are many."""
    max_renewals_per_second: float = 300.0
    """How many renewals of leases this node takes. With more nodes their leases are longer."""
    probe_every_s: float = 0.25
    """How often a node is asked whether it serves, in seconds. 0: never."""
    probe_timeout_s: float = 0.3
    """How long it may take over the answer, in seconds."""
    share_s: float = 1.0
    """How often control nodes on one store tell each other of their nodes, in seconds. What is
    news is told at once."""
    max_watchers: int = 5000
    """Streams of routes and nodes that this node holds at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class XdsConfig:
    """``[xds]``. For clients of gRPC and Envoy that balance by themselves, see docs/xds.md."""

    balancing: str = "least_request"
    """Who gets the next call, where clients do not say: `least_request`, `round_robin`, `random`
    or `weighted`."""
    max_clients: int = 5000
    """Clients that this node holds at the same time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamConfig:
    """``[upstream]``. For a node without a store, which follows others."""

    addresses: tuple[str, ...] = ()
    """Nodes to follow, ``host:port``, the preferred ones first. Empty: this node has a store."""
    state_path: str = "placet-edge.state"
    """File to keep what is followed in, and to start from. Empty: none is kept."""
    state_every_s: float = 5.0
    """How often it is written at most, in seconds. 0: never, it is only read."""
    stale_after_s: float = 7.0
    """Silence, or staleness of its own, past which an upstream is left for another, in seconds."""
    prefer_after_s: float = 60.0
    """How long a later upstream is followed before an earlier one is tried again, in seconds."""
    start_over: bool = False
    """Whether to leave the state file out, and take what the upstream has, whatever store it
    is of."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheConfig:
    """``[cache]``."""

    max_bytes: int = 64 * 1024 * 1024
    """Memory for decisions that are remembered, in bytes. Tenants share it."""
    ttl_s: float = 300.0
    """How long one is, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SubscribeConfig:
    """``[subscribe]``."""

    heartbeat_s: float = 2.0
    """How often a quiet stream is sent a heartbeat, in seconds. At most 5."""
    max_subscriptions: int = 5000
    """Streams this node holds at the same time."""
    max_waiting: int = 256
    """Revisions a subscriber may be behind before it is reset."""
    write_timeout_s: float = 60.0
    """A stream whose reader takes nothing for this long is closed, in seconds."""
    max_window_commits: int = 10_000
    """Revisions kept in memory, from which subscribers can resume."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitsConfig:
    """``[limits]``. Zero turns a limit off."""

    target_wait_s: float = 0.004
    """How long calls may wait for their turn. Beyond it some are refused, in seconds."""
    max_calls: int = 1000
    """Calls for decisions in work at the same time."""
    max_management_calls: int = 32
    """Calls about policies in work at the same time. They are not counted as the others."""
    tenant_decisions_per_second: float = 0.0
    """Decisions a tenant may ask this node for, in batches and streams too."""
    tenant_burst_s: float = 1.0
    """How many seconds' worth of decisions a tenant may ask for at once."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutsConfig:
    """``[rollouts]``. What holds where a plan says nothing, and how nodes take part."""

    bake_s: float = 300.0
    """How long a canary's step is held at least, in seconds."""
    min_samples: int = 100
    """Below so many samples a guard says nothing yet, and the step waits."""
    error_rate: float = 0.01
    """Bound of the requests that only the candidate cannot decide, from 0 to 1."""
    deny_rate_change: float = 0.05
    """Bound of the change of the part that is denied, from 0 to 1."""
    latency_s: float = 0.01
    """Bound of the 99th percentile of the candidate's time to decide, in seconds."""
    rejections: int = 0
    """How many nodes may reject a candidate."""
    shadow_percent: float = 10.0
    """How many of the live requests are decided by both revisions to compare them."""
    shadow_per_second: int = 200
    """How many those may be on one node."""
    tick_s: float = 0.25
    """How often what is due is looked for, in seconds."""
    report_s: float = 1.0
    """How often a node tells at most what it decides by while no rollout is under way, in
    seconds."""
    node_lease_s: float = 15.0
    """A node that has said nothing for this long is not waited for, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogConfig:
    """``[log]``."""

    level: str = "info"
    """`debug`, `info`, `warning` or `error`."""
    format: str = "text"
    """`text` for people, `json` for programs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TelemetryConfig:
    """``[telemetry]``."""

    prometheus_listen: str = ""
    """Address for Prometheus to scrape, ``host:port``, path /metrics. Empty: none."""
    otlp_endpoint: str = ""
    """Collector to push to, such as ``http://127.0.0.1:4317``. Empty: that of
    OTEL_EXPORTER_OTLP_ENDPOINT, if set. Needs the extra `otlp`."""
    otlp_interval_s: float = 30.0
    """How often metrics are pushed, in seconds."""
    max_tenants: int = 100
    """Tenants that decisions are counted for by name; all others together are `_other`."""
    traces: bool = False
    """Whether to make spans of calls and push them to the collector."""
    trace_ratio: float = 0.01
    """Part of the calls to trace whose caller does not say, from 0 to 1."""
    decision_log: str = "off"
    """Where to record every decision: `off`, `stdout`, `file` or `otlp`."""
    decision_log_path: str = "decisions.jsonl"
    """File for `file`."""
    decision_log_max_bytes: int = 100_000_000
    """Size past which a new file is started."""
    decision_log_keep: int = 10
    """Full files that are kept beside the one written to."""
    decision_log_mask: tuple[str, ...] = ()
    """Fields to mask, such as ``context.ssn`` and ``subject.properties.*``."""
    decision_log_mask_mode: str = "replace"
    """`replace` by ***, `drop`, or `hash` with a key."""
    decision_log_mask_salt_file: str = ""
    """File with the key for `hash`. Empty: a new key at every start."""
    decision_log_when_slow: str = "sample"
    """When records are not taken fast enough: `block`, `spill` to disk, `sample` or `drop`."""
    decision_log_queue: int = 10_000
    """Decisions that may wait to be written down."""
    decision_log_queue_bytes: int = 64_000_000
    """Size of their requests past which the queue counts as full."""
    decision_log_block_s: float = 1.0
    """How long `block` lets a request wait before it is refused, in seconds."""
    decision_log_sample_one_in: int = 10
    """Of how many decisions `sample` keeps one."""
    decision_log_spool_path: str = "decisions.spool"
    """File for `spill`."""
    decision_log_spool_max_bytes: int = 1_000_000_000
    """Size of that file past which records are lost."""
    decision_log_flush_s: float = 5.0
    """How long delivering what is left may take when the server stops, in seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """Everything that can be configured."""

    server: ServerConfig = field(default_factory=ServerConfig)
    tls: TlsConfig = field(default_factory=TlsConfig)
    identity: IdentityConfig = field(default_factory=IdentityConfig)
    store: StoreConfig = field(default_factory=StoreConfig)
    upstream: UpstreamConfig = field(default_factory=UpstreamConfig)
    topology: TopologyConfig = field(default_factory=TopologyConfig)
    xds: XdsConfig = field(default_factory=XdsConfig)
    cache: CacheConfig = field(default_factory=CacheConfig)
    subscribe: SubscribeConfig = field(default_factory=SubscribeConfig)
    limits: LimitsConfig = field(default_factory=LimitsConfig)
    rollouts: RolloutsConfig = field(default_factory=RolloutsConfig)
    log: LogConfig = field(default_factory=LogConfig)
    telemetry: TelemetryConfig = field(default_factory=TelemetryConfig)


@dataclass(frozen=True, slots=True)
class Origin:
    """One value and where it comes from."""

    key: str
    """``section.key``."""
    value: object
    source: str
    """``default``, ``file <path>``, ``environment <variable>`` or ``flag``."""

    @property
    def kind(self) -> str:
        """The first word of the source."""
        return self.source.partition(" ")[0]


PREFIX = "PLACET_"
# Variables of the same prefix that are none of the server's configuration.
_OTHER_VARIABLES = frozenset(
    {
        "PLACET_CONFIG",
        "PLACET_ADDRESS",
        "PLACET_TENANT",
        "PLACET_ACTOR",
        "PLACET_GROUPS",
        "PLACET_CLIENT_TLS",
        "PLACET_CLIENT_CA",
        "PLACET_CLIENT_CERT",
        "PLACET_CLIENT_KEY",
        "PLACET_SERVER_NAME",
        "PLACET_TOKEN_FILE",
        "PLACET_TOKEN",
        native.VARIABLE,
    }
)


def read_config(
    *,
    file: Path | None = None,
    environment: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> tuple[Config, list[Origin]]:
    """Read the configuration and where each value of it comes from.

    Args:
        file: a TOML file. None: there is none.
        environment: variables. None: the process's own.
        flags: values by ``section.key``; None as a value means not given.

    Raises:
        ConfigError: a file that cannot be read, an unknown key, a value out
            of range. All of the wrong values are in the message.
    """
    given: dict[str, Origin] = {}
    environment = os.environ if environment is None else environment
    _refuse_unknown_path(environment)
    for origin in (
        *_from_file(file),
        *_from_environment(environment),
        *(Origin(key, value, "flag") for key, value in (flags or {}).items() if value is not None),
    ):
        given[origin.key] = origin
    _refuse_unknown(given.values())
    sections, origins, wrong = {}, [], []
    for section, section_type in _sections().items():
        values: dict[str, Any] = {}
        hints = get_type_hints(section_type)
        for spec in fields(section_type):
            key = f"{section}.{spec.name}"
            origin = given.get(key, Origin(key, spec.default, "default"))
            try:
                values[spec.name] = _converted(origin, hints[spec.name])
            except ConfigError as error:
                wrong.append(str(error))
            value = values.get(spec.name, origin.value)
            origins.append(Origin(key, _shown(key, value), origin.source))
        if not wrong:
            sections[section] = section_type(**values)
    wrong.extend(_out_of_range(origins))
    if wrong:
        raise ConfigError("\n".join(wrong))
    config = Config(**sections)
    _refuse_contradictions(config, given)
    return config, origins


def _sections() -> dict[str, type]:
    return dict(get_type_hints(Config))


def _from_file(file: Path | None) -> Iterator[Origin]:
    if file is None:
        return
    try:
        document = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise ConfigError(f"cannot read `{file}`: {error.strerror}; check --config") from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"`{file}` is not valid TOML: {error}") from error
    for section, values in document.items():
        if not isinstance(values, dict):
            raise ConfigError(
                f"`{section}` in `{file}` is not in a section; put it under one, such as [server]"
            )
        for key, value in values.items():
            yield Origin(f"{section}.{key}", value, f"file {file}")


def _from_environment(environment: Mapping[str, str]) -> Iterator[Origin]:
    for name in sorted(environment):
        if name.startswith(PREFIX) and name not in _OTHER_VARIABLES:
            section, _, key = name.removeprefix(PREFIX).lower().partition("_")
            yield Origin(f"{section}.{key}", environment[name], f"environment {name}")


def _refuse_unknown_path(environment: Mapping[str, str]) -> None:
    """See that the engine's own variable says what it can say."""
    asked = environment.get(native.VARIABLE, "on")
    if asked not in ("on", "off"):
        raise ConfigError(f"`{native.VARIABLE}` is `{asked}`; use `on` or `off`")


def _refuse_unknown(origins: Iterable[Origin]) -> None:
    known = [
        f"{section}.{spec.name}"
        for section, section_type in _sections().items()
        for spec in fields(section_type)
    ]
    for origin in origins:
        if origin.key not in known:
            close = difflib.get_close_matches(origin.key, known, 1)
            hint = f"did you mean `{close[0]}`?" if close else "see `placet config --explain`"
            raise ConfigError(f"unknown key `{origin.key}` ({origin.source}); {hint}")


def _converted(origin: Origin, wanted: type) -> Any:
    """Take text for what it stands for; refuse values of another type."""
    value = origin.value
    try:
        if isinstance(value, str) and wanted is bool:
            return _TRUTH[value.lower()]
        if isinstance(value, str) and wanted in (int, float):
            return wanted(value)
        if wanted is float and isinstance(value, int) and not isinstance(value, bool):
            return float(value)
        if wanted == tuple[str, ...]:
            return _texts(value)
        if type(value) is wanted:
            return value
    except (KeyError, ValueError):
        pass
    raise ConfigError(
        f"`{origin.key}` is `{_shown(origin.key, value)}` ({origin.source}), which is not "
        f"{_TYPE_WORDS[wanted]}"
    )


def _shown(key: str, value: object) -> object:
    """Return a value as it may be shown: without a password in it."""
    return _PASSWORD.sub(r"\1\2***", str(value)) if key in _WITH_PASSWORDS else value


_WITH_PASSWORDS = frozenset({"store.url"})
_PASSWORD = re.compile(r"(://[^:@/?#]*:)[^?#]*(?=@)|([?&](?:ssl)?password=)[^&]*")


def _texts(value: object) -> tuple[str, ...]:
    """Take a list of texts, or one text with commas."""
    if isinstance(value, str):
        return tuple(part.strip() for part in value.split(",") if part.strip())
    if isinstance(value, list | tuple) and all(isinstance(part, str) for part in value):
        return tuple(value)
    raise ValueError(value)


_TRUTH = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}
_TYPE_WORDS: Mapping[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "text in quotes",
    tuple[str, ...]: "a list of texts",
}

_AT_LEAST: Mapping[str, float] = {
    "server.drain_s": 0,
    "server.compile_threads": 1,
    "server.workers": 1,
    "server.max_connection_age_s": 0,
    "tls.reload_s": 0.01,
    "identity.jwks_refresh_s": 1,
    "identity.leeway_s": 0,
    "identity.reload_s": 0.01,
    "upstream.state_every_s": 0,
    # Heartbeats come every 5 s at least.
    "upstream.stale_after_s": 0.05,
    "upstream.prefer_after_s": 0,
    "topology.lease_s": 0.05,
    "topology.max_renewals_per_second": 1,
    "topology.probe_every_s": 0,
    "topology.probe_timeout_s": 0.01,
    "topology.share_s": 0.05,
    "topology.max_watchers": 1,
    "xds.max_clients": 1,
    "cache.max_bytes": 1,
    "cache.ttl_s": 0.001,
    "subscribe.heartbeat_s": 0.01,
    "subscribe.max_subscriptions": 1,
    "subscribe.max_waiting": 1,
    "subscribe.write_timeout_s": 0.1,
    "subscribe.max_window_commits": 1,
    "limits.target_wait_s": 0,
    "limits.max_calls": 0,
    "limits.max_management_calls": 0,
    "limits.tenant_decisions_per_second": 0,
    "limits.tenant_burst_s": 0.001,
    "rollouts.bake_s": 0,
    "rollouts.min_samples": 1,
    "rollouts.error_rate": 0,
    "rollouts.deny_rate_change": 0,
    "rollouts.latency_s": 0,
    "rollouts.rejections": 0,
    "rollouts.shadow_percent": 0.001,
    "rollouts.shadow_per_second": 1,
    "rollouts.tick_s": 0.005,
    "rollouts.report_s": 0,
    "rollouts.node_lease_s": 1,
    "telemetry.otlp_interval_s": 0.1,
    "telemetry.max_tenants": 0,
    "telemetry.trace_ratio": 0,
    "telemetry.decision_log_max_bytes": 1,
    "telemetry.decision_log_keep": 0,
    "telemetry.decision_log_queue": 1,
    "telemetry.decision_log_queue_bytes": 1,
    "telemetry.decision_log_block_s": 0,
    "telemetry.decision_log_sample_one_in": 2,
    "telemetry.decision_log_spool_max_bytes": 1,
    "telemetry.decision_log_flush_s": 0,
}
_AT_MOST: Mapping[str, float] = {
    "rollouts.bake_s": 30 * 24 * 3600,
    "rollouts.error_rate": 1,
    "rollouts.deny_rate_change": 1,
    "rollouts.shadow_percent": 100,
    "server.workers": 256,
    "identity.leeway_s": 300,
    "subscribe.heartbeat_s": 5,
    "topology.lease_s": 60,
    "topology.probe_every_s": 60,
    "topology.probe_timeout_s": 60,
    "topology.share_s": 60,
    # Times twelve outcomes, causes and caches is what the SDK takes of one metric: 2,000 points.
    "telemetry.max_tenants": 150,
    "telemetry.trace_ratio": 1,
}
_CHOICES: Mapping[str, tuple[str, ...]] = {
    "server.front": ("grpc", "envoy"),
    "store.kind": ("sqlite", "postgres", "memory"),
    "tls.min_version": ("1.2", "1.3"),
    "xds.balancing": ("least_request", "round_robin", "random", "weighted"),
    "log.level": ("debug", "info", "warning", "error"),
    "log.format": ("text", "json"),
    "telemetry.decision_log": ("off", "stdout", "file", "otlp"),
    "telemetry.decision_log_mask_mode": ("replace", "drop", "hash"),
    "telemetry.decision_log_when_slow": ("block", "spill", "sample", "drop"),
}
_ADDRESSES = frozenset(
    {
        "server.listen",
        "server.advertise",
        "telemetry.prometheus_listen",
        "upstream.addresses",
    }
)
_OPTIONAL_ADDRESSES = _ADDRESSES - {"server.listen"}


def _out_of_range(origins: Iterable[Origin]) -> Iterator[str]:
    for origin in origins:
        value, where = origin.value, f"`{origin.key}` is `{origin.value}` ({origin.source})"
        if isinstance(value, int | float):
            if value < _AT_LEAST.get(origin.key, value):
                yield f"{where}; use at least {_AT_LEAST[origin.key]:g}"
            if value > _AT_MOST.get(origin.key, value):
                yield f"{where}; use at most {_AT_MOST[origin.key]:g}"
        elif origin.key in _CHOICES and value not in _CHOICES[origin.key]:
            yield f"{where}; use one of {', '.join(_CHOICES[origin.key])}"
        elif origin.key in _OPTIONAL_ADDRESSES and not value:
            continue
        elif origin.key in _ADDRESSES:
            addresses = value if isinstance(value, tuple) else (str(value),)
            if not all(map(is_address, addresses)):
                yield f"{where}; write it as host:port, such as 127.0.0.1:7717 or [::1]:7717"


_AUTHORITY = ("default", "file", "environment", "flag")


def _refuse_contradictions(config: Config, given: Mapping[str, Origin]) -> None:
    if config.upstream.addresses:
        # A file is there for several commands: what is said for this one goes before it.
        said = _AUTHORITY.index(given["upstream.addresses"].kind)
        for key in ("store.kind", "store.path", "store.url"):
            if key in given and _AUTHORITY.index(given[key].kind) >= said:
                raise ConfigError(
                    f"`{key}` is given ({given[key].source}) and so is `upstream.addresses`; a "
                    "node that follows others has no store: leave out one of them"
                )
        if len(set(config.upstream.addresses)) < len(config.upstream.addresses):
            raise ConfigError("`upstream.addresses` names one of them twice; name each once")
    elif config.server.workers > 1 and config.store.kind == "memory":
        raise ConfigError(
            f"`server.workers` is `{config.server.workers}` and `store.kind` is `memory`, which "
            "processes cannot share; use `sqlite`, or one worker"
        )
    if config.store.kind == "postgres" and not config.store.url:
        raise ConfigError(
            "`store.kind` is `postgres` and `store.url` is empty; set it to the database, such as "
            "postgresql://placet@db1,db2/placet"
        )
    _refuse_half_of_tls(config)
    _refuse_half_of_identity(config)


def _refuse_half_of_tls(config: Config) -> None:
    tls = config.tls
    if bool(tls.cert) is not bool(tls.key):
        has, lacks = ("cert", "key") if tls.cert else ("key", "cert")
        raise ConfigError(f"there is `tls.{has}` and no `tls.{lacks}`; TLS needs both")
    if tls.client_ca and not tls.cert:
        raise ConfigError(
            "there is `tls.client_ca` and no `tls.cert`; only with TLS callers show certificates"
        )
    if config.server.front == "grpc" and tls.cert:
        if tls.min_version != "1.2":
            raise ConfigError(
                f"`tls.min_version` is `{tls.min_version}`, and gRPC's own server cannot be kept "
                'from speaking 1.2; use `server.front = "envoy"`, or 1.2'
            )
        if tls.client_ca and not tls.require_client_cert:
            raise ConfigError(
                "`tls.require_client_cert` is `False`, and gRPC's own server asks everybody for a "
                'certificate or nobody; use `server.front = "envoy"`, or require them'
            )


def _refuse_half_of_identity(config: Config) -> None:
    identity = config.identity
    proofs = [
        key
        for key, value in (
            ("tls.client_ca", config.tls.client_ca),
            ("identity.jwks", identity.jwks),
        )
        if value
    ]
    if proofs and not identity.access:
        raise ConfigError(
            f"with `{proofs[0]}` callers prove who they are, and nothing says what they may do; "
            "write a file of who may do what and name it as `identity.access`"
        )
    if identity.jwks:
        for key in ("issuer", "audience"):
            if not getattr(identity, key):
                raise ConfigError(
                    f"there is `identity.jwks` and no `identity.{key}`; without it tokens that "
                    "were made for somebody else would be taken"
                )
    for algorithm in identity.algorithms:
        if algorithm not in _SIGNATURES:
            raise ConfigError(
                f"`identity.algorithms` has `{algorithm}`; use some of {', '.join(_SIGNATURES)}"
            )


# Those whose keys can be public: whoever can check a token cannot make one.
_SIGNATURES = (
    *("RS256", "RS384", "RS512", "PS256", "PS384", "PS512"),
    *("ES256", "ES384", "ES512", "EdDSA"),
)


def to_document(config: Config) -> dict[str, dict[str, Any]]:
    """Return a configuration as what can be written as JSON, by section and key."""
    return asdict(config)


def from_document(document: Mapping[str, Mapping[str, Any]]) -> Config:
    """Return the configuration that :func:`to_document` wrote down."""
    return Config(
        **{
            name: section(**{key: _as_value(value) for key, value in document[name].items()})
            for name, section in _sections().items()
        }
    )


def _as_value(value: Any) -> Any:
    """Return what JSON made of a value as it was: lists are tuples here."""
    return tuple(value) if isinstance(value, list) else value


def for_worker(config: Config, number: int) -> Config:
    """Return what a configuration means for one of several workers on a machine, from 0.

    What only one process can have, each gets one of: the Prometheus port is the configured one
    plus its number, and so on the file of the decision log. Each is a node with a name of its own.
    """
    telemetry = config.telemetry
    host, _, port = telemetry.prometheus_listen.rpartition(":")
    listen = f"{host}:{int(port) + number}" if port and int(port) else telemetry.prometheus_listen
    path = Path(telemetry.decision_log_path)
    name = config.server.node or socket.gethostname()
    upstream = config.upstream
    return replace(
        config,
        server=replace(config.server, node=f"{name}.{number}"),
        # All start from one file; the first writes it.
        upstream=upstream if number == 0 else replace(upstream, state_every_s=0.0),
        telemetry=replace(
            telemetry,
            prometheus_listen=listen,
            decision_log_path=str(path.with_name(f"{path.stem}.{number}{path.suffix}")),
        ),
    )


def is_address(text: str) -> bool:
    """Whether a text is written as ``host:port``."""
    host, colon, port = text.rpartition(":")
    return bool(host and colon) and port.isdigit() and int(port) < 65_536
