"""Lines reach files, pipes and syslogs whole, whatever happens to those."""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import sys
import threading
from datetime import datetime
from pathlib import Path

import pytest

from app.logs import syslog
from app.logs.log_target import LogTarget, parse_target
from app.logs.ownership import hand_over
from app.logs.sinks import DescriptorSink, FileSink, SyslogSink, open_sink

ROOT = Path(__file__).parents[2]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "logs" / "access.log"


@pytest.fixture
def sink(path):
    sink = FileSink(path)
    yield sink
    sink.close()


def test_lines_are_appended_to_what_is_there(sink, path):
    path.parent.mkdir()
    path.write_text("before\n")
    assert sink.write(["a", "b"]) == 0
    assert path.read_text() == "before\na\nb\n"
    assert sink.fault == ""


def test_after_a_rename_lines_go_to_the_new_file_by_themselves(sink, path):
    sink.write(["a"])
    path.rename(path.with_suffix(".1"))
    sink.write(["b"])
    assert (path.with_suffix(".1").read_text(), path.read_text()) == ("a\n", "b\n")


def test_after_a_rename_and_a_create_lines_go_to_the_created_file(sink, path):
    sink.write(["a"])
    path.rename(path.with_suffix(".1"))
    path.touch(0o600)
    sink.write(["b"])
    assert path.read_text() == "b\n"
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_truncated_file_is_filled_from_its_start(sink, path):
    sink.write(["a"])
    os.truncate(path, 0)
    sink.write(["b"])
    assert path.read_bytes() == b"b\n"


def test_reopening_creates_the_file_even_if_nothing_is_written(sink, path):
    sink.write(["a"])
    path.unlink()
    sink.reopen()
    assert path.read_text() == ""


def test_a_vanished_folder_costs_lines_until_it_is_back(sink, path):
    sink.write(["a"])
    path.unlink()
    path.parent.rmdir()
    assert sink.write(["b", "c"]) == 2
    assert sink.fault == "No such file or directory"
    path.parent.mkdir()
    assert sink.write(["d"]) == 0
    assert (path.read_text(), sink.fault) == ("d\n", "")


def test_a_folder_in_the_files_place_costs_lines(sink, path):
    path.mkdir(parents=True)
    assert sink.write(["a"]) == 1
    assert sink.fault == "Is a directory"


def test_a_full_device_costs_lines():
    sink = FileSink(Path("/dev/full"))
    assert sink.write(["a", "b"]) == 2
    assert sink.fault == "No space left on device"
    sink.close()


def test_a_pipe_that_nobody_reads_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "fifo")
    assert FileSink(tmp_path / "fifo").write(["a"]) == 1


def test_a_file_that_is_nearly_full_gets_whole_lines_only(path):
    """RLIMIT_FSIZE cuts a write short as a full disk does."""
    path.parent.mkdir()
    path.write_text("x" * 90 + "\n")
    script = (
        "import resource, sys; from pathlib import Path; from app.logs.sinks import FileSink\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))\n"
        "sink = FileSink(Path(sys.argv[1]))\n"
        "print(sink.write(['one', 'three', 'four']), sink.fault)\n"
        "print(sink.write(['again']), sink.fault)\n"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script, path], cwd=ROOT, capture_output=True, text=True, check=True
    )
    reason = "no space left for all of it"
    assert ran.stdout.splitlines() == [f"2 {reason}", f"1 {reason}"]
    assert path.read_text() == "x" * 90 + "\none\n"


def test_a_write_waits_for_another_workers(sink, path):
    """Only under the lock may a half line be cut off, else the cut may hit another's line."""
    sink.reopen()
    with path.open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        thread = threading.Thread(target=sink.write, args=(["second"],))
        thread.start()
        thread.join(0.05)
        other.write("first\n")
        other.flush()
        fcntl.flock(other, fcntl.LOCK_UN)
    thread.join()
    assert path.read_text() == "first\nsecond\n"


def test_a_pipe_gets_every_line_whole_from_many_writers():
    read_end, write_end = os.pipe()
    lines = [[f"{writer}:{number}:" + "x" * 900 for number in range(300)] for writer in range(3)]
    threads = [
        threading.Thread(target=DescriptorSink(write_end).write, args=(mine,)) for mine in lines
    ]
    for thread in threads:
        thread.start()
    with os.fdopen(read_end) as reader:
        got = [reader.readline().rstrip("\n") for _ in range(900)]
    for thread in threads:
        thread.join()
    os.close(write_end)
    assert sorted(got) == sorted(line for mine in lines for line in mine)


def test_a_slow_reader_of_a_non_blocking_pipe_is_waited_for():
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    lines = ["x" * 5000 for _ in range(100)]  # more than a pipe holds, each over PIPE_BUF
    lost: list[int] = []
    sink = DescriptorSink(write_end)
    thread = threading.Thread(target=lambda: lost.append(sink.write(lines)))
    thread.start()
    with os.fdopen(read_end) as reader:
        assert [reader.readline().rstrip("\n") for _ in lines] == lines
    thread.join()
    os.close(write_end)
    assert lost == [0]


def test_a_closed_pipe_costs_lines():
    read_end, write_end = os.pipe()
    os.close(read_end)
    sink = DescriptorSink(write_end)
    assert (sink.write(["a", "b"]), sink.fault) == (2, "Broken pipe")
    os.close(write_end)


def test_a_local_syslog_gets_a_datagram_a_line_also_after_it_was_restarted(tmp_path):
    place = str(tmp_path / "log")
    sink = SyslogSink(place)
    assert (sink.write(["a"]), sink.fault) == (1, "No such file or directory")
    for _ in range(2):
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as daemon:
            daemon.bind(place)
            lost = sink.write(["one", "two"])
            got = [daemon.recv(1000) for _ in range(2 - lost)]
        os.unlink(place)
        assert got[-1].startswith(b"<134>")
        assert got[-1].endswith(b" hipache[%d]: two" % os.getpid())
    assert lost == 1  # the one that told us that the socket is another
    sink.close()


def test_a_remote_syslog_gets_the_hosts_name_too():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as server:
        server.bind(("127.0.0.1", 0))
        sink = SyslogSink(server.getsockname())
        assert sink.write(["hello"]) == 0
        assert f" {socket.gethostname()} hipache[".encode() in server.recv(1000)
        sink.close()


@pytest.mark.parametrize(
    ("target", "address"),
    [
        ("syslog", "/dev/log"),
        ("syslog:/run/log", "/run/log"),
        ("syslog://h", ("h", 514)),
        ("syslog://[::1]:99", ("::1", 99)),
        ("/var/log/syslog", None),
        ("stdout", None),
    ],
)
def test_where_a_syslog_is(target, address):
    assert syslog.parse_address(target) == address


@pytest.mark.parametrize("target", ["syslog:h", "syslog://", "syslog://h:x", "syslog://u@h/p"])
def test_a_wrong_syslog_address_is_refused(target):
    with pytest.raises(ValueError):
        syslog.parse_address(target)


def test_the_date_of_a_syslog_line_is_padded_with_a_space():
    assert syslog.prefix(datetime(2026, 2, 3, 4, 5, 6), 7, "host") == (
        "<134>Feb  3 04:05:06 host hipache[7]: "
    )


@pytest.mark.parametrize(
    ("target", "kind"),
    [("stdout", DescriptorSink), ("syslog", SyslogSink), ("stdout.log", FileSink)],
)
def test_what_a_target_opens(target, kind):
    assert type(open_sink(parse_target(target))) is kind


as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")


@as_root
def test_root_gives_the_file_and_a_folder_it_made_away(path):
    hand_over(LogTarget(file=str(path)), 65534, 65534)
    assert {path.stat().st_uid, path.parent.stat().st_uid, path.stat().st_gid} == {65534}


@as_root
def test_root_gives_away_nothing_that_a_name_only_points_to(path, tmp_path):
    path.parent.mkdir()
    secret = tmp_path / "secret"
    secret.touch()
    path.symlink_to(secret)
    with pytest.raises(OSError):
        hand_over(LogTarget(file=str(path)), 65534, 65534)
    path.unlink()
    path.hardlink_to(secret)
    hand_over(LogTarget(file=str(path)), 65534, 65534)
    assert secret.stat().st_uid == 0
    assert path.parent.stat().st_uid == 0


@pytest.mark.parametrize("target", ["stdout", "syslog"])
def test_what_is_no_file_is_not_given_away(target):
    hand_over(parse_target(target), 65534, 65534)
