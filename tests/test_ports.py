"""A port that a test was given is nobody else's, and its own server can have it."""

import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.ports import candidates, free_port

ROOT = Path(__file__).parents[1]


def test_a_server_may_listen_on_it_again_and_again():
    port = free_port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)) as server:
            socket.create_connection(server.getsockname()).close()


def test_nobody_answers_there_before():
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", free_port()))


def test_another_process_cannot_be_given_it():
    port = free_port()
    other = (
        "import itertools, tests.ports as ports\n"
        f"ports._ports = iter([{port}, {port}, 0])\n"
        "print(ports.free_port())"
    )
    ran = subprocess.run(
        [sys.executable, "-c", other], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout == "0\n"


@pytest.mark.parametrize(
    ("outgoing", "ports"),
    [
        pytest.param((32_768, 60_999), range(12_000, 32_768), id="of Linux"),
        pytest.param((1_024, 60_999), range(61_000, 65_536), id="from the lowest on"),
        pytest.param((49_152, 65_535), range(12_000, 49_152), id="of IANA"),
    ],
)
def test_the_system_gives_none_of_them(outgoing: tuple[int, int], ports: range):
    assert candidates(*outgoing) == ports
