"""Log lines as text or JSON."""

from __future__ import annotations

import json
import logging
import sys

import pytest

from bertbundle._shared.logs import LOG_FORMATS
from embedded_server import Launch
from tiny_bundles import TinyBundles


def make_record(**fields: object) -> logging.LogRecord:
    """Return a log record with fields."""
    record = logging.LogRecord("name", logging.INFO, "file", 1, "hello %s", ("world",), None)
    record.fields = fields
    return record


def test_json_lines() -> None:
    """Each line of the JSON format is an object with the message, the fields, and an exception as text."""
    line = json.loads(LOG_FORMATS["json"]().format(make_record(code="OK", milliseconds=1.5)))
    assert line.pop("time").endswith("+00:00")
    assert line == {"level": "INFO", "logger": "name", "message": "hello world", "code": "OK", "milliseconds": 1.5}
    failed = make_record()
    try:
        raise ValueError("broken")
    except ValueError:
        failed.exc_info = sys.exc_info()
    assert "ValueError: broken" in json.loads(LOG_FORMATS["json"]().format(failed))["exception"]


def test_text_lines() -> None:
    """The text format appends the fields."""
    assert LOG_FORMATS["text"]().format(make_record(code="OK")).endswith("INFO name: hello world code=OK")


@pytest.mark.slow
def test_process_logs_json(bundles: TinyBundles, launch: Launch) -> None:
    """With --log_format=json every line on stderr is JSON; the start-up lines are on stdout."""
    bundles.write(1)
    server = launch("--model_name=tiny", f"--model_base_path={bundles.base}", "--log_format=json", "--log_requests")
    server.address().predict_tiny()
    server.process.terminate()
    _, stderr = server.process.communicate(timeout=60)
    lines = [json.loads(line) for line in stderr.splitlines()]
    assert [line["code"] for line in lines if line["logger"] == "bertbundle_serving.requests"] == ["OK"]
