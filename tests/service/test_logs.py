import io
import json
import logging

import pytest

from app.service.logs import JsonFormatter, configure_logs


def record(**extra):
    made = logging.LogRecord("app.x", logging.INFO, "x.py", 1, "%d %s", (2, "eggs"), None)
    made.created = 0.5
    made.__dict__.update(extra)
    return made


def test_event_is_one_json_object():
    """An event is a line of JSON with the time of its creation, not of writing."""
    event = json.loads(JsonFormatter().format(record(status=200)))

    assert {
        "time": "1970-01-01T00:00:00.500+00:00",
        "level": "info",
        "logger": "app.x",
        "event": "2 eggs",
        "status": 200,
    } == event


def test_line_breaks_stay_inside_the_line():
    """An event is one line, whatever is logged."""
    assert 1 == len(JsonFormatter().format(record(path="/a\nb\r\n")).splitlines())


@pytest.fixture
def stream():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield io.StringIO()
    root.handlers[:], root.level = handlers, level
    logging.captureWarnings(capture=False)


def test_style_follows_the_stream(stream):
    """Without a terminal, events are JSON; below the level they are not written."""
    configure_logs("warning", "auto", stream)
    logging.getLogger("app").info("no")
    logging.getLogger("app").warning("yes")

    assert ["yes"] == [json.loads(line)["event"] for line in stream.getvalue().splitlines()]


def test_text_is_for_people(stream):
    """As text an event is its time, its level and its sentence."""
    configure_logs("info", "text", stream)
    logging.getLogger("app").info("hello")

    assert stream.getvalue().rstrip().endswith("INFO    hello")
