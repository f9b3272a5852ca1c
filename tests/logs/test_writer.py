"""The writer never blocks its caller, keeps order, and counts what it loses."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest

from app.logs import writer as log_files
from app.logs.access_log import compile_format
from app.logs.log_target import LogTarget
from app.logs.record import AccessRecord, HeadRecord
from app.logs.sinks import DescriptorSink, FileSink
from app.logs.writer import AccessLog, LineWriter, access_log

ROOT = Path(__file__).parents[2]

WRITER = """
import sys
from pathlib import Path
from app.logs.writer import LineWriter
from app.logs.sinks import FileSink
path, name, count = sys.argv[1:]
writer = LineWriter(FileSink(Path(path)))
writer.start()
for number in range(int(count)):
    writer.write(f"{name} {number} {'x' * (number % 300)}")
writer.close(30)
print(writer.lost)
"""


@pytest.fixture
def pipe():
    """A read end as a file, and a sink on the write end."""
    read_end, write_end = os.pipe()
    with os.fdopen(read_end) as reader:
        yield reader, DescriptorSink(write_end)
        os.close(write_end)


def test_closing_writes_all_lines_in_order(tmp_path):
    writer = LineWriter(FileSink(tmp_path / "log"))
    writer.start()
    lines = [f"line {number}" for number in range(10_000)]
    for line in lines:
        writer.write(line)
    writer.close()
    assert (tmp_path / "log").read_text().splitlines() == lines
    assert writer.lost == 0


async def test_the_event_loop_closes_it_too(tmp_path):
    writer = LineWriter(FileSink(tmp_path / "log"))
    writer.start()
    writer.write("a")
    await writer.aclose()
    assert (tmp_path / "log").read_text() == "a\n"


def test_a_lone_line_is_written_within_a_second(pipe):
    reader, sink = pipe
    writer = LineWriter(sink)
    writer.start()
    writer.write("alone")
    assert reader.readline() == "alone\n"  # the writer stays open
    writer.close()


def test_64_kib_are_written_at_once(pipe):
    reader, sink = pipe
    writer = LineWriter(sink, flush_seconds=3600)
    writer.start()
    for _ in range(66):
        writer.write("x" * 1024)
    assert [reader.readline() for _ in range(60)] == ["x" * 1024 + "\n"] * 60
    writer.close()


def test_a_log_that_can_not_be_opened_is_told_at_the_start(tmp_path, caplog):
    (tmp_path / "log").mkdir()
    writer = LineWriter(FileSink(tmp_path / "log"))
    writer.start()
    writer.close()
    told = [record.getMessage() for record in caplog.records if record.name == "app.logs.writer"]
    assert told == ["access log cannot be opened cause=Is a directory"]


def test_lines_before_a_reopen_go_to_the_file_before_it(tmp_path):
    """The rename is done by the sink itself, when it is told to open the file anew."""
    path = tmp_path / "log"

    class Rotating(FileSink):
        def reopen(self) -> None:
            if path.exists():
                path.rename(tmp_path / "log.1")
            super().reopen()

    writer = LineWriter(Rotating(path), flush_seconds=3600)
    writer.start()
    writer.write("before")
    writer.reopen()
    writer.close()
    assert ((tmp_path / "log.1").read_text(), path.read_text()) == ("before\n", "")


def test_a_disk_that_stands_still_never_blocks_and_costs_counted_lines(pipe, monkeypatch, caplog):
    reader, sink = pipe
    monkeypatch.setattr(log_files, "MAX_PENDING", 2**20)
    writer = LineWriter(sink)
    writer.start()
    for number in range(5000):
        writer.write(f"{number} " + "x" * 1000)  # nobody reads: a pipe holds 64 KiB
    lost = writer.lost
    assert 3800 < lost < 4200
    got = [reader.readline() for _ in range(5000 - lost)]
    assert [int(line.split()[0]) for line in got] == list(range(5000 - lost))
    assert {len(line.split()[1]) for line in got} == {1000}
    writer.close()
    assert writer.lost == lost
    assert f"access log lost lines={lost} cause=too slow" in caplog.text


def test_lines_that_a_standing_disk_keeps_at_the_end_are_counted(pipe):
    reader, sink = pipe
    writer = LineWriter(sink)
    writer.start()
    for _ in range(300):
        writer.write("x" * 1000)
    writer.close(timeout=0.01)
    assert writer.lost > 0
    reader.close()  # else its thread would go on, into the pipe of another test
    writer.close()


def test_a_full_disk_is_told_once_with_a_count(caplog):
    caplog.set_level(logging.WARNING)
    writer = LineWriter(FileSink(Path("/dev/full")), name="full log")
    writer.start()
    for _ in range(7):
        writer.write("lost")
    writer.close()
    assert writer.lost == 7
    told = [message for message in caplog.messages if message.startswith("full log")]
    assert told == ["full log lost lines=7 cause=No space left on device"]


def test_four_workers_write_one_file_while_it_is_rotated(tmp_path):
    path = tmp_path / "access.log"
    path.touch()
    workers = [
        subprocess.Popen(
            [sys.executable, "-c", WRITER, path, str(name), "20000"],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            text=True,
        )
        for name in range(4)
    ]
    rotations = 0
    while any(worker.poll() is None for worker in workers):
        if path.exists() and path.stat().st_size:
            rotations += 1
            path.rename(tmp_path / f"access.log.{rotations}")
        with suppress(subprocess.TimeoutExpired):
            workers[0].wait(0.02)
    assert [worker.communicate()[0] for worker in workers] == ["0\n"] * 4
    lines = [line for file in tmp_path.iterdir() for line in file.read_text().splitlines()]
    wanted = [
        f"{name} {number} {'x' * (number % 300)}" for name in range(4) for number in range(20000)
    ]
    assert rotations
    assert sorted(lines) == sorted(wanted)


async def test_the_access_log_writes_records_in_the_configured_format(tmp_path):
    path = tmp_path / "log"
    log = AccessLog(LogTarget(file=str(path)), compile_format("{status} {host}"))
    log.start()
    log.write(AccessRecord(0.0, HeadRecord(host="a.org"), status=200))
    await log.aclose()
    assert path.read_text() == "200 a.org\n"
    assert (log.enabled, log.lost) == (True, 0)


async def test_without_an_access_log_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    log = AccessLog(None, compile_format("hipache"))
    log.start()
    log.write(AccessRecord(0.0))
    log.reopen()
    await log.aclose()
    assert (log.enabled, log.lost, list(tmp_path.iterdir())) == (False, 0, [])


async def test_a_signal_begins_the_file_anew(tmp_path):
    path = tmp_path / "log"
    async with access_log(LogTarget(file=str(path)), compile_format("hipache")):
        await asyncio.to_thread(exists, path)
        path.rename(tmp_path / "log.1")
        os.kill(os.getpid(), signal.SIGUSR1)
        await asyncio.to_thread(exists, path)


def exists(path: Path) -> None:
    """Returns once it does; pytest-timeout ends what never comes."""
    while not path.exists():
        os.sched_yield()


async def test_after_the_end_a_signal_is_harmless(tmp_path):
    async with access_log(None, compile_format("hipache")):
        pass
    os.kill(os.getpid(), signal.SIGUSR1)
