"""Makes the decision log that the configuration asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from opentelemetry.sdk.resources import Resource

from placet_server.config import ConfigError, TelemetryConfig
from placet_server.telemetry.decision_log.log import DecisionLog, DecisionLogSettings, WhenSlow
from placet_server.telemetry.decision_log.masking import Masker, MaskMode, MaskRefused
from placet_server.telemetry.decision_log.records import AskedRequest
from placet_server.telemetry.decision_log.sinks import FileSink, Sink, SinkFailed, StdoutSink
from placet_server.telemetry.decision_log.spool import Spool
from placet_server.telemetry.recorders import Metrics


@asynccontextmanager
async def running_decision_log(
    config: TelemetryConfig,
    metrics: Metrics,
    resource: Resource,
    *,
    node: str,
    region: str,
    read: Callable[[object], AskedRequest],
) -> AsyncIterator[DecisionLog | None]:
    """Run a decision log for the length of the block; at its end, deliver what is left.

    Raises:
        ConfigError: a path to mask is of no use, or a file cannot be opened.
    """
    if config.decision_log == "off":
        yield None
        return
    when_slow = WhenSlow(config.decision_log_when_slow)
    masker = masker_of(config)
    try:
        sink = _sink(config, resource)
        spool = _spool(config) if when_slow is WhenSlow.SPILL else None
    except SinkFailed as error:
        raise ConfigError(str(error)) from error
    decision_log = DecisionLog(
        sink=sink,
        read=read,
        masker=masker,
        settings=DecisionLogSettings(
            when_slow=when_slow,
            max_queue=config.decision_log_queue,
            max_queue_bytes=config.decision_log_queue_bytes,
            block_s=config.decision_log_block_s,
            sample_one_in=config.decision_log_sample_one_in,
            flush_s=config.decision_log_flush_s,
        ),
        metrics=metrics,
        node=node,
        region=region,
        spool=spool,
    )
    decision_log.start()
    try:
        yield decision_log
    finally:
        await decision_log.aclose()


def _sink(config: TelemetryConfig, resource: Resource) -> Sink:
    if config.decision_log == "stdout":
        return StdoutSink()
    if config.decision_log == "file":
        return FileSink(
            Path(config.decision_log_path),
            max_bytes=config.decision_log_max_bytes,
            keep=config.decision_log_keep,
        )
    from placet_server.telemetry.decision_log.otlp import OtlpSink

    return OtlpSink(resource, endpoint=config.otlp_endpoint)


def _spool(config: TelemetryConfig) -> Spool:
    return Spool(
        Path(config.decision_log_spool_path), max_bytes=config.decision_log_spool_max_bytes
    )


def masker_of(config: TelemetryConfig) -> Masker:
    """Return what takes out of a record what must not be written down.

    Raises:
        ConfigError: a path to mask is of no use, or the key cannot be read.
    """
    file, salt = config.decision_log_mask_salt_file, b""
    try:
        if file:
            salt = Path(file).read_bytes().strip()
        return Masker(config.decision_log_mask, MaskMode(config.decision_log_mask_mode), salt=salt)
    except MaskRefused as error:
        raise ConfigError(f"telemetry.decision_log_mask: {error}") from error
    except OSError as error:
        raise ConfigError(
            f"cannot read `{file}`: {error.strerror}; check telemetry.decision_log_mask_salt_file"
        ) from error
