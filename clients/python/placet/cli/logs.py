"""How the server's log is written: for people, or as JSON for programs.

Messages are constant and data is in ``extra``, so that both forms are made of the same fields.
"""

from __future__ import annotations

import datetime
import json
import logging
import re
import sys
from typing import Any

# What a record has without any `extra`.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


def set_up_logging(*, level: str, as_json: bool) -> None:
    """Send the log of this process to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if as_json else TextFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    # Says at every start which event loop it uses; alembic, which migrations it looked at.
    for chatty in ("asyncio", "alembic"):
        logging.getLogger(chatty).setLevel(max(logging.WARNING, root.level))
    logging.captureWarnings(True)


def _fields(record: logging.LogRecord) -> dict[str, Any]:
    fields = {name: value for name, value in vars(record).items() if name not in _OWN}
    return {**fields, **_span()}


def _span() -> dict[str, str]:
    """Return what leads from a line to the trace of the call it was written in."""
    # Whoever makes spans has loaded it; nobody else should have to.
    trace = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {
        "trace_id": trace.format_trace_id(context.trace_id),
        "span_id": trace.format_span_id(context.span_id),
    }


def _time(record: logging.LogRecord) -> datetime.datetime:
    return datetime.datetime.fromtimestamp(record.created, datetime.UTC)


class TextFormatter(logging.Formatter):
    """``12:00:00.123 INFO  feed: revision is active revision=3 tenant=acme``."""

    def format(self, record: logging.LogRecord) -> str:
        """Write one record on one line, a traceback below it."""
        name = record.name.rpartition(".")[2]
        fields = "".join(f" {key}={_word(value)}" for key, value in _fields(record).items())
        moment = _time(record).astimezone().isoformat(sep=" ", timespec="milliseconds")[11:23]
        line = f"{moment} {record.levelname:<7} {name}: {_one_line(record.getMessage())}{fields}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line


def _word(value: object) -> str:
    """Write a value so that it reads as one."""
    text = str(value)
    return text if re.fullmatch(r"[^\s\"=]+", text) else json.dumps(text, ensure_ascii=False)


def _one_line(text: str) -> str:
    return text.replace("\r", r"\r").replace("\n", r"\n")


class JsonFormatter(logging.Formatter):
    """One JSON object a line: ``time``, ``level``, ``logger``, ``message`` and the fields.

    Within a span, ``trace_id`` and ``span_id`` are among them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """Write one record on one line, the traceback in it."""
        document = {
            "time": _time(record).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **_fields(record),
        }
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, default=str, ensure_ascii=False)
