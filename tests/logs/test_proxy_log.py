"""One event, one line: what the proxy tells about itself."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import trustme

from app.logs.proxy_log import MAX_ALIKE, MAX_REMEMBERED, Repeats, set_up
from tests.backends import answer, answering, refusing
from tests.processes import ROOT, command, write_config
from tests.redis_servers import RedisServer

SELF_SIGNED = trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.bytes()


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


def test_what_was_held_back_is_counted_once():
    log = Repeating()
    said = [log.say("dead b=%s", "a") for _ in range(4)]
    said += [log.say("dead b=%s", str(number)) for number in range(MAX_ALIKE + 10)]
    assert said.count(None) == 3 + 11
    log.now = 60.0
    assert [log.say("dead b=%s", b) for b in ("a", "0")] == [3 + 11, 0]


def test_two_defects_are_told_apart_by_what_was_raised():
    log = Repeating()

    def failed(kind: type[Exception]) -> bool:
        raised = (kind, kind(), None)
        record = logging.LogRecord("x", logging.ERROR, "x.py", 1, "failed", (), raised)
        return log.filter.filter(record)

    kinds = (ValueError, KeyError, ValueError)
    assert [failed(kind) for kind in kinds] == [True, True, False]


def test_a_backend_that_comes_and_goes_does_not_fill_the_log():
    log = Repeating()
    said = [log.say("alive after=%.1fs", n / 10, level=logging.INFO) for n in range(100)]
    assert said == [0] * MAX_ALIKE + [None] * (100 - MAX_ALIKE)
    log.now = 60.0
    assert log.say("alive after=%.1fs", 0.0, level=logging.INFO) == 100 - MAX_ALIKE


def test_news_of_the_same_words_are_all_told():
    log = Repeating()
    assert [log.say("reload", level=logging.INFO) for _ in range(3)] == [0, 0, 0]


def test_of_a_supervisor_no_news_are_held_back(logged):
    logger, lines = logged(serves=False)
    for number in range(2 * MAX_ALIKE):
        logger.info("worker started worker=%d", number)
    assert len(lines()) == 2 * MAX_ALIKE


def test_other_libraries_write_as_we_do():
    """Not in this process, whose root logger is pytest's."""
    script = """
import logging
from app.logs.proxy_log import set_up
set_up("json", worker=2)
for _ in range(3):
    logging.getLogger("asyncio").warning("socket.send() raised exception.")
logging.getLogger("httpx").info("chatter")
"""
    done = subprocess.run(
        [sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, check=True
    )
    [line] = [json.loads(line) for line in done.stderr.splitlines()]
    assert (line["event"], line["worker"]) == ("socket.send() raised exception.", 2)
    assert line["level"] == "warning"


async def test_nothing_that_clients_or_backends_do_fills_the_log(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """Each is done a hundred times; no worker says more than MAX_ALIKE of it in a minute."""
    path = write_config(
        tmp_path, valkey.url, 1, accessLog=str(tmp_path / "gone/access.log"),
        maxConnections=20, trustedProxies=["192.0.2.1"],
    )  # fmt: skip
    config = json.loads(path.read_text())
    (tmp_path / "own.pem").write_bytes(SELF_SIGNED)
    config["https"] = {"bind": "127.0.0.1", "port": 0, "cert": "own.pem", "key": "own.pem"}
    config["http"]["bind"] = [
        "127.0.0.1", {"address": "127.0.0.1", "port": 0, "proxyProtocol": True},
    ]  # fmt: skip
    path.write_text(json.dumps(config))
    async with (
        command("app.cli", "serve", cwd=tmp_path) as service,
        answering(answer(b"x")) as sound,
        answering(answer(b"x")) as other,
        refusing() as gone,
        valkey.client as client,
    ):
        ports = [
            int((await service.saw(r"listening address=127\.0\.0\.1:(\d+)"))[1]) for _ in range(3)
        ]
        service.port, proxied, secured = ports
        await service.saw("worker ready")
        shutil.rmtree(tmp_path / "gone")
        await client.rpush("frontend:up.test", "id", sound.url)
        for number in range(100):
            await client.rpush(f"frontend:bad{number}.test", "id", f"http://h:{number}x")
            await client.hset("options:up.test", "rateLimit", f"nonsense{number}")
            await client.rpush(f"frontend:gone{number}.test", "id", gone, f"{gone}/")
            await service.ask(f"gone{number}.test")
            await client.rpush(f"frontend:back{number}.test", "id", sound.url, other.url)
            await client.sadd(f"dead:back{number}.test", 0, 1)
            await service.ask(f"back{number}.test")
            await service.ask("up.test")
            await service.ask(f"bad{number}.test")
            await service.ask(f"no host {number}")
            for port in (proxied, secured):
                await spoken(port, b"nonsense\r\n\r\n")
        idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(20)]
        for _ in range(100):
            await spoken(service.port, b"")
        for _, writer in idle:
            writer.close()
        service.signal(signal.SIGTERM)
        await service.ended()
    said = Counter(told(line)["event"] for line in service.log)
    for event in (
        "backend dead", "backend alive", "backend unusable", "option unusable",
        "access log lost", "refusing connections", "PROXY header refused",
    ):  # fmt: skip
        assert sum(count for name, count in said.items() if name.startswith(event)) >= 1, event
    assert max(said.values()) <= MAX_ALIKE, said
    assert len(said) < 30, said  # and nobody puts a value where a word should be


async def spoken(port: int, data: bytes) -> None:
    """Say this on a connection of its own, and read to its end."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        await reader.read()
    except ConnectionError:
        pass
    writer.close()


def told(line: str) -> dict[str, str]:
    """A line in the form `key=value`, its keys in order."""
    assert re.fullmatch(r"time=\S+Z (worker=\d+ )?level=\w+ event=.*\n", line), line
    found = re.findall(r'(\w+)=("(?:[^"\\]|\\.)*"|\S+)', line)
    return {key: value.strip('"') for key, value in found}
