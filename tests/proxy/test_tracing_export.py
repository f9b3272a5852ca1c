"""How spans reach a collector, what happens without one, and without OpenTelemetry."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.config.structs import parse
from app.errors import ConfigError
from app.proxy import tracing
from app.proxy.tracing import LAST_SPANS, check_tracing
from tests import processes
from tests.backends import answer, answering, refusing, silent
from tests.collector import collecting
from tests.proxy.traces import ask
from tests.redis_servers import RedisServer
from tests.serving import proxying


@pytest.fixture(autouse=True)
def _nobody_tries_on(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """The SDK goes on for as long as this says; what it logs then would be another test's."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "3")
    yield
    for thread in threading.enumerate():
        if thread.name in {LAST_SPANS, "OtelBatchSpanRecordProcessor"}:
            thread.join()


async def test_a_collector_that_is_away_costs_spans_and_nothing_else(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "LAST_BATCH", 0.1)
    monkeypatch.setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
    async with refusing() as away, answering(answer(b"hello")) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", away)
        async with proxying(valkey, tracing=True) as proxy:
            await proxy.route("a.test", backend)
            for _ in range(20):
                assert b" 200 " in await ask(proxy)
    assert "Connection refused" in caplog.text


async def test_a_worker_does_not_wait_for_a_collector_that_is_silent(
    valkey: RedisServer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(tracing, "LAST_BATCH", 0.1)
    async with silent() as collector, answering(answer(b"hello")) as backend:
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", collector.url)
        async with proxying(valkey, tracing=True) as proxy:
            await proxy.route("a.test", backend)
            assert b" 200 " in await ask(proxy)
        assert "spans lost" in caplog.text
        assert len(collector.requests) == 1


async def test_spans_that_wait_are_sent_at_a_workers_end(
    valkey: RedisServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Under `hipache serve`: the thread that sends them begins in the worker, after the fork."""
    async with (
        collecting(monkeypatch, delay=600_000, OTEL_SERVICE_NAME="edge") as collector,
        answering(answer(b"hello")) as backend,
        processes.serve(tmp_path, valkey.url, workers=2, tracing=True) as service,
    ):
        async with valkey.client as redis:
            await redis.rpush("frontend:a.test", "id", backend.url)
        for _ in range(10):
            assert b" 200 " in await service.ask()
        assert collector.spans == []
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
        spans = await collector.took(20)
    assert {span.kind for span in spans} == {"SERVER", "CLIENT"}
    assert {each["service.name"] for each in collector.resources} == {"edge"}


@pytest.mark.parametrize(
    "command", ["app.cli serve", "app.cli check", "uvicorn app:create_app --factory"]
)
def test_without_the_extra_one_line_says_what_to_install(tmp_path: Path, command: str) -> None:
    """OpenTelemetry's API alone is what other packages bring along."""
    (tmp_path / "opentelemetry").mkdir()
    (tmp_path / "opentelemetry/__init__.py").touch()
    processes.write_config(tmp_path, "redis:", tracing=True)
    done = run(tmp_path, "-m", *command.split())
    assert (done.returncode, done.stdout) == (78, "")
    remedy = "server.tracing: OpenTelemetry is missing: pip install 'hipache[otel]'"
    assert done.stderr == f"hipache: config.json: {remedy}\n"
    (finding,) = json.loads(run(tmp_path, "-m", "app.cli", "doctor", "--json").stdout)["findings"]
    assert (finding["name"], finding["problem"]) == ("bad-configuration", remedy)


def test_without_tracing_nothing_of_it_is_imported(tmp_path: Path) -> None:
    """Other parts of OpenTelemetry may be: redis-py takes what it finds."""
    code = "import app.cli, sys; print(*sys.modules)"
    loaded = set(run(tmp_path, "-c", code).stdout.split())
    assert "app.proxy.tracing" in loaded
    assert not loaded & {
        "app.proxy.tracing_spans",
        "opentelemetry.sdk.trace",
        "opentelemetry.exporter",
    }


def test_a_variable_that_can_not_be_used_is_told_before_anything_starts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("OTEL_BSP_MAX_QUEUE_SIZE", "-1")
    with pytest.raises(ConfigError, match="max_queue_size must be a positive integer"):
        check_tracing(parse('{"server": {"tracing": true}}'))
    check_tracing(parse("{}"))


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python on this checkout; what is in `folder` comes before what is installed."""
    path = os.pathsep.join([str(folder), str(processes.ROOT)])
    environ = os.environ | {"PYTHONPATH": path}
    return subprocess.run(
        [sys.executable, *arguments], cwd=folder, env=environ, check=False,
        capture_output=True, text=True, timeout=30,
    )  # fmt: skip
