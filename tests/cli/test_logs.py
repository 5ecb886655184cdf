from __future__ import annotations

import json
import logging
import sys
from collections.abc import Iterator

import pytest
from opentelemetry.trace import NonRecordingSpan, SpanContext, use_span

from placet.cli.logs import JsonFormatter, TextFormatter, set_up_logging


def record(message: str = "policy published", **extra: object) -> logging.LogRecord:
    made = logging.LogRecord("placet_server.app", logging.INFO, "f.py", 1, message, None, None)
    made.created = 0.5
    vars(made).update(extra)
    return made


def test_text_shows_fields_as_words() -> None:
    line = TextFormatter().format(record(tenant="acme", revision=3, path="a b", empty=""))

    assert line.endswith('INFO    app: policy published tenant=acme revision=3 path="a b" empty=""')


def test_a_record_is_one_line_whatever_is_in_it() -> None:
    line = TextFormatter().format(record("one\ntwo", value="three\nfour"))

    assert "\n" not in line
    assert r"one\ntwo" in line
    assert r'value="three\nfour"' in line


def test_json_is_one_object_with_the_fields_beside_the_message() -> None:
    document = json.loads(JsonFormatter().format(record(tenant="ä", problem=ValueError("x"))))

    assert document == {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "info",
        "logger": "placet_server.app",
        "message": "policy published",
        "tenant": "ä",
        "problem": "x",
    }


def test_a_line_leads_to_the_trace_it_was_written_in() -> None:
    context = SpanContext(trace_id=0xABC, span_id=0xD, is_remote=False)
    with use_span(NonRecordingSpan(context)):
        document = json.loads(JsonFormatter().format(record()))
        line = TextFormatter().format(record())

    trace_id, span_id = "abc".rjust(32, "0"), "d".rjust(16, "0")
    assert (document["trace_id"], document["span_id"]) == (trace_id, span_id)
    assert line.endswith(f"policy published trace_id={trace_id} span_id={span_id}")
    assert "trace_id" not in json.loads(JsonFormatter().format(record()))


@pytest.mark.parametrize("formatter", [TextFormatter(), JsonFormatter()])
def test_tracebacks_are_kept(formatter: logging.Formatter) -> None:
    failed = record()
    try:
        raise ValueError("on purpose")
    except ValueError:
        failed.exc_info = sys.exc_info()

    text = formatter.format(failed)

    assert "Traceback" in text
    assert "ValueError: on purpose" in text


@pytest.fixture
def root_logger() -> Iterator[logging.Logger]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield root
    root.handlers[:] = handlers
    root.setLevel(level)
    logging.captureWarnings(False)


def test_the_log_goes_to_standard_error_at_its_level(
    root_logger: logging.Logger, capsys: pytest.CaptureFixture[str]
) -> None:
    set_up_logging(level="warning", as_json=True)

    logging.getLogger("placet").info("not this")
    logging.getLogger("placet").warning("but this", extra={"tenant": "acme"})

    captured = capsys.readouterr()
    assert captured.out == ""
    assert [json.loads(line)["message"] for line in captured.err.splitlines()] == ["but this"]
