"""A backend that answers before it has the whole request, and closes: its answer arrives."""

from __future__ import annotations

import asyncio
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest
import trustme

from app.config.structs import BackendTLS, Config
from app.errors import UpstreamReset
from app.upstream.client import UpstreamClient
from tests.backends import Conversation, answer, answering, scripted
from tests.upstream.asking import asked, opened, read
from tests.upstream.test_dialling import server_side

PIECE = b"x" * 65536
LENGTH = b"Content-Length: 10000000"
REFUSAL = b"401 Unauthorized"
RESET_AT_ONCE = struct.pack("ii", 1, 0)


@contextmanager
def resetting_after(
    data: bytes, tls: ssl.SSLContext | None = None, begun: Event | None = None
) -> Iterator[tuple[str, Event]]:
    """Reads a head, sends `data` and resets the connection; then the event is set.

    It waits for `begun` first.
    """
    done = Event()
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            peer, _ = server.accept()
            peer.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if tls is not None:
                peer = tls.wrap_socket(peer, server_side=True)
            peer.recv(300)
            assert begun is None or begun.wait(10)
            peer.sendall(data)
            peer.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_ONCE)
            peer.close()
            done.set()

        thread = Thread(target=serve)
        thread.start()
        yield f"{'https' if tls else 'http'}://127.0.0.1:{server.getsockname()[1]}", done
        thread.join()


async def until(done: Event, begun: Event | None = None) -> AsyncIterator[bytes]:
    """A body whose next pieces come at the moment of the reset: the event loop cannot read."""
    yield PIECE
    if begun is not None:
        begun.set()
    assert done.wait(10)
    for _ in range(100):
        yield PIECE


@pytest.mark.parametrize(
    ("data", "body"),
    [
        pytest.param(answer(b"no", status=REFUSAL), b"no", id="small"),
        pytest.param(answer(b"no", b"Connection: close", status=REFUSAL), b"no", id="closing"),
        pytest.param(answer(PIECE, status=REFUSAL), PIECE, id="large"),
        pytest.param(
            b"HTTP/1.1 413 x\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nno\r\n0\r\n\r\n",
            b"no",
            id="in chunks",
        ),
        pytest.param(b"HTTP/1.1 100 C\r\n\r\n" + answer(b"no", status=REFUSAL), b"no", id="late"),
    ],
)
@pytest.mark.parametrize("framing", [LENGTH, b"Transfer-Encoding: chunked"])
async def test_an_answer_before_a_reset_is_delivered(client, framing, data, body):
    with resetting_after(data) as (url, done):
        got = await asked(client, url, framing, method=b"POST", body=until(done))
    assert (got.status, got.body) == (413 if b"413" in data else 401, body)


async def test_a_reset_without_an_answer_is_one(client):
    with resetting_after(b"") as (url, done), pytest.raises(UpstreamReset):
        await opened(client, url, LENGTH, method=b"POST", body=until(done))


@pytest.mark.parametrize(
    ("status", "arrives"),
    [pytest.param(REFUSAL, 1, id="refused"), pytest.param(b"200 OK", 3, id="an echo reads on")],
)
async def test_a_closing_refusal_ends_the_upload(client, status, arrives):
    answered, offered = asyncio.Event(), asyncio.Event()
    got = b""

    async def body() -> AsyncIterator[bytes]:
        yield PIECE
        await answered.wait()
        yield PIECE
        yield PIECE
        offered.set()

    async def script(conversation: Conversation) -> None:
        nonlocal got
        await conversation.head()
        await conversation.send(answer(b"no", b"Connection: close", status=status)[:-1])
        await offered.wait()
        got = await conversation.reader.readexactly(arrives * len(PIECE))
        await conversation.send(b"o")
        got += await conversation.reader.read()

    async with scripted(script) as backend:
        length = b"Content-Length: %d" % (3 * len(PIECE))
        running = await opened(client, backend.url, length, method=b"POST", body=body())
        answered.set()
        assert (await read(running)).body == b"no"
        await backend.until(lambda backend: backend.open == 0)
    assert len(got) == arrives * len(PIECE)


async def test_an_early_answer_over_tls_is_read_before_the_next_write(tmp_path):
    authority = trustme.CA()
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    config = Config(backend_tls=BackendTLS(ca=str(tmp_path / "ca.pem")))
    refusal = answer(b"no", status=REFUSAL)
    tls = server_side(authority, "127.0.0.1")
    begun = Event()  # a reset while a piece is being encrypted is beyond us
    async with UpstreamClient(config) as client:
        with resetting_after(refusal, tls, begun) as (url, done):
            got = await asked(client, url, LENGTH, method=b"POST", body=until(done, begun))
    assert (got.status, got.body) == (401, b"no")


@pytest.mark.parametrize(
    ("status", "pieces", "connections"),
    [
        pytest.param(REFUSAL, 2, 2, id="refused"),
        pytest.param(REFUSAL, 1, 1, id="refused, but small"),
        pytest.param(b"200 OK", 2, 1, id="taken"),
    ],
)
@pytest.mark.parametrize("streamed", [True, False])
async def test_no_request_follows_a_large_upload_that_was_refused(
    client, status, pieces, connections, streamed
):
    """gunicorn says keep-alive, and closes when more than 64 KiB of the body are left unread."""
    size = pieces * 40_000

    async def body() -> AsyncIterator[bytes]:
        for _ in range(pieces):
            yield PIECE[:40_000]

    async with answering(answer(b"no", status=status)) as backend:
        for _ in range(2):
            sent = body() if streamed else bytes(size)
            length = b"Content-Length: %d" % size
            await asked(client, backend.url, length, method=b"POST", body=sent)
    assert backend.accepted == connections
