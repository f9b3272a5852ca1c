"""One event, one line: what the proxy tells about itself."""

from __future__ import annotations

import io
import json
import logging

import pytest

from app.logs.proxy_log import MAX_ALIKE, MAX_REMEMBERED, Repeats, set_up


@pytest.fixture
def logged():
    """Set up a logger of our own; returns it and a function that gives the lines so far."""
    name = "test.proxy_log"
    stream = io.StringIO()

    def start(log_format="text", **options):
        set_up(log_format, stream=stream, loggers=(name,), **options)
        return logging.getLogger(name), lambda: stream.getvalue().splitlines()

    yield start
    logging.getLogger(name).handlers.clear()


def without_time(line: str) -> str:
    time, _, rest = line.partition(" ")
    assert time.startswith("time=2")
    assert time.endswith("Z")
    return rest


def test_text_is_key_and_value(logged):
    logger, lines = logged(worker=3)
    logger.warning("backend dead frontend=%s backend=%s ttl=%ds", "a.org", "http://h:80", 30)
    (line,) = lines()
    assert without_time(line) == (
        'worker=3 level=warning event="backend dead" frontend=a.org backend=http://h:80 ttl=30s'
    )


def test_json_says_the_same_with_numbers_as_numbers(logged):
    logger, lines = logged("json", worker=3)
    logger.info("backend dead frontend=%s took=%.1fs, trying others", "a.org", 0.25)
    values = json.loads(lines()[0])
    assert values.pop("time").endswith("Z")
    assert values == {
        "worker": 3,
        "level": "info",
        "event": "backend dead, trying others",
        "frontend": "a.org",
        "took": 0.25,
    }


@pytest.mark.parametrize(
    ("message", "args", "event"),
    [
        ("started", (), "started"),
        ("100%% of %s", ("it",), "100% of it"),
        ("Started server process [%d]", (7,), "Started server process [7]"),
        ("left=%d%%", (5,), "left=5%"),
        ("%(a)s", ({"a": 1},), "1"),
    ],
)
def test_a_message_without_keys_is_its_event(logged, message, args, event):
    logger, lines = logged("json")
    logger.info(message, *args)
    assert json.loads(lines()[0])["event"] == event


@pytest.mark.parametrize("hostile", ['a" level=error', "a\nb", "\x1b[31m", "a=b", "\\", "é", ""])
@pytest.mark.parametrize("log_format", ["text", "json"])
def test_no_value_breaks_a_line_or_forges_a_key(logged, log_format, hostile):
    logger, lines = logged(log_format)
    logger.info("bad host host=%s end=%d", hostile, 1)
    (line,) = lines()
    assert line.isascii()
    assert line.isprintable()
    assert json.dumps(hostile) in line


def test_a_key_can_not_stand_for_our_own(logged):
    logger, lines = logged("json")
    logger.info("odd level=%s time=%s", "x", "y")
    values = json.loads(lines()[0])
    assert (values["level"], values["level_"], values["time_"]) == ("info", "x", "y")


def test_a_traceback_stays_in_its_line(logged):
    logger, lines = logged()
    try:
        raise ValueError("two\nlines")
    except ValueError:
        logger.exception("failed part=%s", "x")
    (line,) = lines()
    assert 'event=failed part=x trace="Traceback (most recent call last):\\n' in line


def test_no_other_handler_says_it_again(logged, caplog):
    logger, lines = logged()
    logger.info("once")
    assert (len(lines()), caplog.messages) == (1, [])


@pytest.mark.parametrize(("debug", "count"), [(True, 1), (False, 0)])
def test_debug_messages_only_when_asked(logged, debug, count):
    logger, lines = logged(debug=debug)
    logger.debug("request")
    assert len(lines()) == count


def test_setting_up_again_does_not_double_the_lines(logged):
    logged()
    logger, lines = logged(worker=1)
    logger.info("once")
    assert len(lines()) == 1


class Repeating:
    """A filter under a clock that a test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self.filter = Repeats(clock=lambda: self.now)

    def say(self, message="away cause=%s", *args, level=logging.WARNING, name="x"):
        """What comes through: None, or how many were held back before it."""
        record = logging.LogRecord(name, level, "x.py", 1, message, args, None)
        return record.__dict__.get("repeated") if self.filter.filter(record) else None


def test_a_dead_redis_is_one_line_a_minute_with_a_count():
    log = Repeating()
    said = []
    for second in range(0, 150, 10):
        log.now = float(second)
        said.append(log.say("away cause=%s", "refused"))
    assert [(i * 10, count) for i, count in enumerate(said) if count is not None] == [
        (0, 0),
        (60, 5),
        (120, 5),
    ]


def test_two_dead_backends_are_two_lines():
    log = Repeating()
    assert [log.say("dead b=%s", "a"), log.say("dead b=%s", "b")] == [0, 0]


def test_ever_new_values_do_not_fill_the_log():
    log = Repeating()
    said = [log.say("bad host=%s", str(number)) for number in range(5000)]
    assert said == [0] * MAX_ALIKE + [None] * (5000 - MAX_ALIKE)
    log.now = 60.0
    assert log.say("bad host=%s", "again") == 5000 - MAX_ALIKE


def test_a_dead_collector_is_one_line_a_minute_though_each_says_how_long_it_waits():
    log = Repeating()
    name = "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    waits = [log.say("refused, retrying in %.2fs", 1.01 * n, name=name) for n in range(5)]
    assert waits == [0, None, None, None, None]
    log.now = 60.0
    assert log.say("refused, retrying in %.2fs", 9.9, name=name) == 4


def test_what_was_said_is_remembered_within_bounds():
    log = Repeating()
    log.say("first")
    for number in range(2 * MAX_REMEMBERED):
        log.say(f"message {number}")
    assert log.say("first") == 0  # forgotten, so it is said again


def test_life_cycle_messages_are_never_held_back():
    log = Repeating()
    assert [log.say("reload", level=logging.INFO) for _ in range(3)] == [None, None, None]
    record = logging.LogRecord("x", logging.INFO, "x.py", 1, "reload", (), None)
    assert [log.filter.filter(record) for _ in range(3)] == [True, True, True]
