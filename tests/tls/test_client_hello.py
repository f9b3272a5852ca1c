"""The name in a ClientHello, read without taking it from the connection."""

from __future__ import annotations

import asyncio
import socket
import ssl
from functools import lru_cache

import pytest
from hypothesis import given
from hypothesis import strategies as st

from app.tls.client_hello import asked_name, likely_name, record_size, server_name


def hello(name: str | None) -> bytes:
    context = ssl.create_default_context()
    context.check_hostname = False
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    client = context.wrap_bio(incoming, outgoing, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


def hello_like(name: str) -> bytes:
    """To make one takes a tenth of a second, so names of the same length share theirs."""
    placeholder = "n".rjust(len(name) - 7, "n") + ".a.test"
    return _hello(placeholder).replace(placeholder.encode(), name.encode())


_hello = lru_cache(hello)


HELLO = hello("www.example.test")


@pytest.mark.parametrize("name", ["www.example.test", "A.Example.TEST", None])
def test_the_name_that_a_client_asks_for(name: str | None) -> None:
    data = hello(name)
    assert record_size(data) == len(data)
    assert server_name(data) == (name and name.lower())
    assert likely_name(data).decode() == (name or "")


@given(st.binary(max_size=300), st.integers(0, len(HELLO)))
def test_no_bytes_do_harm(noise: bytes, at: int) -> None:
    for data in (noise, HELLO[:at] + noise, HELLO[:at] + noise + HELLO[at + len(noise) :]):
        record_size(data)
        found = server_name(data)
        assert found is None or found.isascii()
        assert likely_name(data).isascii()


@pytest.fixture
def ends() -> tuple[socket.socket, socket.socket]:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname())
        server, _ = listener.accept()
    server.setblocking(False)
    return client, server


@pytest.mark.parametrize("cuts", [(0,), (3,), (5, 100), tuple(range(0, len(HELLO), 50))])
async def test_it_may_come_in_pieces_and_stays_to_be_read(
    ends: tuple[socket.socket, socket.socket], cuts: tuple[int, ...]
) -> None:
    client, server = ends
    with client, server:
        asking = asyncio.create_task(asked_name(server))
        at = 0
        for cut in (*cuts, len(HELLO)):
            client.sendall(HELLO[at:cut])
            at = cut
            await asyncio.sleep(0)
        assert await asyncio.wait_for(asking, 5) == "www.example.test"
        assert server.recv(65536) == HELLO


@pytest.mark.parametrize(
    "sent",
    [b"", HELLO[:40], b"GET / HTTP/1.1\r\n\r\n", bytes(400)],
    ids=["nothing", "a part", "HTTP", "zeros"],
)
async def test_a_client_that_ends_or_speaks_something_else_has_none(
    ends: tuple[socket.socket, socket.socket], sent: bytes
) -> None:
    client, server = ends
    with server:
        with client:
            client.sendall(sent)
        assert await asyncio.wait_for(asked_name(server), 5) is None
