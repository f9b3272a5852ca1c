"""Binding: every address once, or one clear reason why not."""

import os
import socket
from pathlib import Path

import pytest

from app.errors import ConfigError
from app.server.listeners import ListenAddress, bind_all, from_systemd


def close(sockets: list[socket.socket]) -> None:
    for sock in sockets:
        sock.close()


def test_ipv4_and_ipv6_are_bound_side_by_side_on_one_port() -> None:
    (first,) = bind_all([ListenAddress("127.0.0.1", 0)])
    port = first.getsockname()[1]
    (second,) = bind_all([ListenAddress("::1", port)])
    assert second.getsockname()[1] == port
    close([first, second])


def test_an_address_in_use_is_named_and_nothing_stays_bound() -> None:
    (taken,) = bind_all([ListenAddress("127.0.0.1", 0)])
    port = taken.getsockname()[1]
    with pytest.raises(ConfigError, match=rf"127\.0\.0\.1:{port}: the address is in use"):
        bind_all([ListenAddress("::1", port), ListenAddress("127.0.0.1", port)])
    close([taken, *bind_all([ListenAddress("::1", port)])])


def test_an_address_of_another_machine_is_named() -> None:
    with pytest.raises(ConfigError, match=r"192\.0\.2\.1:0"):
        bind_all([ListenAddress("192.0.2.1", 0)])


def test_a_socket_left_by_a_killed_predecessor_is_replaced(tmp_path: Path) -> None:
    address = ListenAddress(str(tmp_path / "proxy.sock"))
    (left,) = bind_all([address])
    left.close()
    close(bind_all([address]))


def test_a_socket_that_answers_is_not_taken_away(tmp_path: Path) -> None:
    address = ListenAddress(str(tmp_path / "proxy.sock"))
    (living,) = bind_all([address])
    with pytest.raises(ConfigError, match="in use"):
        bind_all([address])
    close([living])


def test_a_file_that_is_no_socket_is_not_removed(tmp_path: Path) -> None:
    path = tmp_path / "precious"
    path.write_text("data")
    with pytest.raises(ConfigError, match="precious"):
        bind_all([ListenAddress(str(path))])
    assert path.read_text() == "data"


def test_sockets_of_systemd_are_taken_only_if_meant_for_us() -> None:
    assert from_systemd({"LISTEN_PID": str(os.getpid() + 1), "LISTEN_FDS": "1"}) == []
    assert from_systemd({}) == []
