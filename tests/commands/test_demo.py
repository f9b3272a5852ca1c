"""`hipache demo`: what the first minutes with Hipache are like."""

import json
import os
import re
import shlex
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPResponse
from pathlib import Path

import psutil
import pytest
from websockets.sync.client import connect

from tests.ports import free_port
from tests.processes import runs

ROOT = Path(__file__).parents[2]


COMMAND = [sys.executable, "-P", "-m", "app.cli", "demo"]
ENVIRON = {"PATH": os.environ["PATH"], "PYTHONPATH": str(ROOT)}


def run_demo(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        COMMAND, cwd=folder, env=ENVIRON, capture_output=True, text=True, check=False, timeout=30
    )


def uses(process: psutil.Process, folder: Path) -> bool:
    try:
        return runs(process) and process.cwd().startswith(str(folder))
    except psutil.Error:
        return False


class Demo:
    """A running demo and what it told its user to type."""

    def __init__(self, folder: Path, port: int | None) -> None:
        """`port` is the configured one; None: there is no configuration."""
        self.port = port or 0
        if port is not None:
            config = json.loads((ROOT / "config.json").read_text())
            config["http"]["port"] = port
            (folder / "config.json").write_text(json.dumps(config))
        self.folder = folder
        self.process = subprocess.Popen(
            COMMAND,
            cwd=folder,
            env=ENVIRON,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def told(self) -> str:
        """All that it prints until the last thing to type."""
        assert self.process.stdout is not None
        lines = []
        for line in self.process.stdout:
            lines.append(line)
            if "-H 'Host: new.localhost'" in line:
                return "".join(lines)
        raise AssertionError(self.process.communicate()[1])

    @contextmanager
    def asked(self, path: str, **headers: str) -> Iterator[HTTPResponse]:
        connection = HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            connection.request("GET", path, headers={"Host": "demo.localhost", **headers})
            with connection.getresponse() as answer:
                yield answer
        finally:
            connection.close()

    def ask(self, path: str = "/", **headers: str) -> str:
        with self.asked(path, **headers) as answer:
            return answer.read().decode()

    def typed(self, *words: str) -> str:
        """What `hipache` prints for these words in the folder of the demo."""
        ran = [*COMMAND[:-1], *words]
        return subprocess.run(
            ran, cwd=self.folder, env=ENVIRON, check=False, stdout=subprocess.PIPE, text=True
        ).stdout

    def stop(self, number: int) -> tuple[int, str]:
        """Its exit status and its log."""
        self.process.send_signal(number)
        log = self.process.communicate(timeout=20)[1]
        return self.process.returncode, log


@pytest.fixture
def demo(tmp_path: Path) -> Iterator[Demo]:
    demo = Demo(tmp_path, free_port())
    yield demo
    demo.process.kill()
    demo.process.communicate()


def test_the_three_things_to_type_work(demo: Demo) -> None:
    told = demo.told()
    answers = [demo.ask() for _ in range(4)]
    assert {answer[:9] for answer in answers[:2]} == {"backend A", "backend B"}
    assert answers[:2] == answers[2:]
    [add] = [line for line in told.splitlines() if "route set" in line]
    subprocess.run(shlex.split(add), cwd=demo.folder, env=ENVIRON, check=True, capture_output=True)
    assert demo.ask(Host="new.localhost") == "backend A: GET / for new.localhost\n"
    assert f"curl -H 'Host: demo.localhost' http://127.0.0.1:{demo.port}/" in told


def test_the_same_is_served_with_tls_by_a_ca_that_can_be_trusted(demo: Demo) -> None:
    told = demo.told()
    port = int(re.findall(r"https://demo\.localhost:(\d+)/", told)[0])
    [trust] = [line for line in told.splitlines() if "cert trust" in line]
    ran = subprocess.run(
        shlex.split(trust), cwd=demo.folder, env=ENVIRON, check=True, capture_output=True, text=True
    )
    root = demo.folder / ".hipache/local-ca/root.pem"
    assert str(root) in ran.stdout
    assert (root.with_suffix(".key").stat().st_mode & 0o777) == 0o600
    context = ssl.create_default_context(cafile=str(root))
    context.verify_flags |= ssl.VERIFY_X509_STRICT
    with (
        socket.create_connection(("127.0.0.1", port)) as sock,
        context.wrap_socket(sock, server_hostname="demo.localhost") as secured,
    ):
        secured.sendall(b"GET / HTTP/1.1\r\nHost: demo.localhost\r\nConnection: close\r\n\r\n")
        assert b"backend " in secured.makefile("rb").read()
    assert ".key" not in ran.stdout


def test_a_browser_gets_a_page_a_stream_and_a_websocket(demo: Demo) -> None:
    demo.told()
    assert "<title>Hipache works</title>" in demo.ask(Accept="text/html")
    with demo.asked("/clock") as stream:
        assert stream.readline().startswith(b"data: ")
    url = f"ws://demo.localhost:{demo.port}/echo"
    sock = socket.create_connection(("127.0.0.1", demo.port))
    with connect(url, sock=sock, proxy=None) as websocket:
        websocket.send("hello")
        assert "hello, says backend" in websocket.recv(timeout=10)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_the_end_leaves_nothing_behind_even_with_an_open_stream(demo: Demo, number: int) -> None:
    demo.told()
    with demo.asked("/clock") as stream:
        assert stream.readline().startswith(b"data: ")
        status, log = demo.stop(number)
    assert status == 0
    assert "Traceback" not in log
    with pytest.raises(ConnectionRefusedError):
        demo.ask()
    left = [process for process in psutil.process_iter() if uses(process, demo.folder)]
    assert psutil.wait_procs(left, timeout=10)[1] == []  # the store saves and goes by itself


def test_where_its_port_is_taken_the_demo_takes_another(demo: Demo, tmp_path: Path) -> None:
    demo.told()
    other = tmp_path / "other"
    other.mkdir()
    second = Demo(other, demo.port)
    try:
        told = second.told()
        second.port = int(re.findall(r"http://demo\.localhost:(\d+)/", told)[0])
        assert f"127.0.0.1:{demo.port} is taken" in told
        assert second.ask().startswith("backend ")
        assert second.stop(signal.SIGINT)[0] == 0
    finally:
        second.process.kill()
        second.process.communicate()


def test_without_a_configuration_it_brings_one(tmp_path: Path) -> None:
    demo = Demo(tmp_path, None)
    try:
        told = demo.told()
        demo.port = int(re.findall(r"http://demo\.localhost:(\d+)/", told)[0])
        assert told.lstrip().splitlines()[-1].startswith("    curl")
        [add] = [line for line in told.splitlines() if "route set" in line]
        subprocess.run(
            shlex.split(add), cwd=demo.folder, env=ENVIRON, check=True, capture_output=True
        )
        assert demo.ask(Host="new.localhost") == "backend A: GET / for new.localhost\n"
        [trust] = [line for line in told.splitlines() if "cert trust" in line]
        listed = [*shlex.split(trust.partition(" trust")[0]), "list"]
        shown = subprocess.run(listed, cwd=tmp_path, env=ENVIRON, check=True, capture_output=True)
        assert shown.stdout.startswith(b"demo.localhost  ends ")
        assert "new.localhost" in demo.typed("route", "list")
        assert "embedded:" in demo.typed("doctor")
        assert not (tmp_path / ".hipache/.hipache").exists()
        assert demo.stop(signal.SIGINT)[0] == 0
    finally:
        demo.process.kill()
        demo.process.communicate()


@pytest.mark.parametrize(
    ("config", "complaint"),
    [
        ({"driver": "redis:"}, 'driver: the demo needs "embedded:"'),
        ({"driver": "embedded:", "http": {"bind": "unix:/x"}}, "http.bind: the demo needs"),
        ({"drive": "embedded:"}, "config.json: drive: unknown key"),
    ],
)
def test_a_configuration_that_is_no_demo_is_refused(
    tmp_path: Path, config: object, complaint: str
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(config))
    done = run_demo(tmp_path)
    assert done.returncode == 78
    assert done.stderr.startswith(f"hipache: {complaint}")
    assert done.stderr.count("\n") == 1
