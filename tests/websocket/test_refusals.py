"""A backend that refuses a WebSocket, or answers a handshake wrongly or not at all."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import count

import pytest

from tests.backends import Conversation, scripted
from tests.websocket.peers import Script, Wire, answers, backend, field, silence, switching
from tests.websocket.serving import proxying


async def refuse_as_told(wire: Wire) -> None:
    """The answer's status is the target: `/404`."""
    status = int((await wire.read_head()).split()[1][1:])
    body = b"" if status in BODILESS else b"no \xff"
    length = b"" if status in BODILESS else b"Content-Length: 4\r\n"
    fields = b"Location: /in\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n"
    wire.write(b"HTTP/1.1 %d Because\r\n%b%b\r\n%b" % (status, fields, length, body))


BODILESS = {204, 304}


@pytest.mark.parametrize("hundred", [2, 3, 4, 5])
async def test_every_status_is_a_refusal_that_reaches_the_client_as_it_is(
    mode: str, hundred: int
) -> None:
    async with (
        backend(refuse_as_told) as there,
        proxying(there.url, mode=mode, deadBackendTTL=0, retryOnError=0) as proxy,
    ):
        for status in range(hundred * 100, hundred * 100 + 100):
            wire = await proxy.ask(target=b"/%d" % status)
            head = await wire.read_head()
            assert head.startswith(b"HTTP/1.1 %d Because\r\n" % status)
            assert await wire.rest() == (b"" if status in BODILESS else b"no \xff")
            assert field(head, b"location") == b"/in"
            assert head.lower().count(b"set-cookie: ") == 2


async def test_a_client_that_resets_inside_a_refusal_takes_the_backend_with_it(mode: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.read_head()
        wire.write(b"HTTP/1.1 403 No\r\nContent-Length: 100000000\r\n\r\n" + bytes(8_000_000))
        await silence(wire)

    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        await wire.read_head()
        wire.reset()
        async with asyncio.timeout(5):
            await there.wires[0].done.wait()
        record = await proxy.records.get()
    assert record.backend == there.url


@pytest.mark.parametrize(
    ("fields", "body"),
    [
        pytest.param(b"Content-Length: 5242880", b"x" * 5242880, id="by length"),
        pytest.param(
            b"Transfer-Encoding: chunked",
            b"10000\r\n%b\r\n0\r\n\r\n" % (b"x" * 65536),
            id="chunked",
        ),
        pytest.param(b"X-Nothing: 0", b"x" * 300000, id="until the end"),
    ],
)
async def test_a_refusal_has_the_whole_body(mode: str, fields: bytes, body: bytes) -> None:
    answer = b"HTTP/1.1 403 No\r\n%b\r\n\r\n%b" % (fields, body)
    async with backend(answers(answer)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        head = await wire.read_head()
        got = await wire.reader.read()
    if field(head, b"transfer-encoding") == b"chunked":
        assert got.endswith(b"0\r\n\r\n")
    assert got.count(b"x") == body.count(b"x")


async def test_a_refusal_s_length_is_passed_on_as_everybody_reads_it(mode: str) -> None:
    said = [b"05", b"0" * 18 + b"5"]
    answered = []
    for length in said:
        answer = b"HTTP/1.1 403 No\r\nContent-Length: %b\r\n\r\nhello" % length
        async with backend(answers(answer)) as there, proxying(there.url, mode=mode) as proxy:
            wire = await proxy.ask()
            head = await wire.read_head()
            answered.append((head.split()[1], field(head, b"content-length") == b"5"))
    assert answered == [(b"403", True), (b"502", False)]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nshort", id="by length"),
        pytest.param(
            b"HTTP/1.1 403 No\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nshort\r\n", id="chunked"
        ),
    ],
)
async def test_a_refusal_that_is_cut_is_cut_for_the_client(mode: str, answer: bytes) -> None:
    async with backend(answers(answer)) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        await wire.read_head()
        rest = await wire.reader.read()
    assert b"short" in rest
    assert not rest.endswith(b"0\r\n\r\n")


def without(head: bytes, name: bytes) -> bytes:
    return b"\r\n".join(line for line in head.split(b"\r\n") if not line.startswith(name))


CHUNKED = b"Transfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    "pieces",
    [
        pytest.param((b"HTTP/2.", b"0 403 No\r\nContent-Length: 0\r\n\r\n"), id="HTTP/2 in pieces"),
        pytest.param(
            (b"HTTP/1.1 403 No\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",),
            id="gzip in chunks",
        ),
        pytest.param(
            (b"HTTP/1.1 403 No\r\nContent-Length: 3\r\n" + CHUNKED + b"0\r\n\r\n",),
            id="length and coding",
        ),
        pytest.param((b"HTTP/1.1 102 x\r\n\r\n" * 17,), id="a flood of 1xx"),
        pytest.param((b"HTTP/1.1 403 No\r\nX: y\r\n" + b"X: y\r\n" * 20_000,), id="a large head"),
        pytest.param((b"HTTP/1.1 101 x\r\n" + b"X: y\r\n" * 20_000,), id="a large 101"),
        pytest.param((b"HTTP/1.1 101 \x01\r\n\r\n",), id="a 101 that is not valid"),
        pytest.param((b"HTTP/1.1 099 x\r\nContent-Length: 0\r\n\r\n",), id="status 099"),
    ],
)
async def test_a_refusal_is_held_to_the_rules_of_every_answer(
    mode: str, pieces: tuple[bytes, ...]
) -> None:
    async def script(conversation: Conversation) -> None:
        await conversation.head()
        await conversation.send_apart(pieces)
        await conversation.gone()

    async with scripted(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        assert (await wire.read_head()).startswith(b"HTTP/1.1 502 ")


def endless(head: bytes, piece: Callable[[int], bytes]) -> Script:
    """Answers with `head`, then with pieces until the proxy ends the connection."""

    async def script(wire: Wire) -> None:
        await wire.read_head()
        wire.write(head)
        for number in count():
            wire.write(piece(number))
            await wire.writer.drain()

    return script


@pytest.mark.parametrize(
    ("begun", "piece"),
    [
        pytest.param(b"0\r\n", lambda n: b"x%d: %b\r\n" % (n, b"y" * 8000), id="trailers"),
        pytest.param(b"0\r\nx: ", lambda n: b"y" * 8000, id="one trailer"),
        pytest.param(b"5;", lambda n: b"y" * 8000, id="a chunk's extension"),
        pytest.param(b"", lambda n: b"0" * 8000, id="a chunk's size"),
    ],
)
async def test_what_stands_between_the_chunks_of_a_refusal_is_limited(
    mode: str, begun: bytes, piece: Callable[[int], bytes]
) -> None:
    script = endless(b"HTTP/1.1 403 No\r\n" + CHUNKED + begun, piece)
    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        rest = await wire.rest()
        async with asyncio.timeout(10):
            await there.wires[0].done.wait()
        record = await proxy.records.get()
    assert not rest.endswith(b"0\r\n\r\n")
    assert record.error


async def test_a_refusal_without_end_is_cut_by_its_size(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("app.websocket.refusing.MAX_BODY", 500_000)
    script = endless(b"HTTP/1.1 403 No\r\n" + CHUNKED, lambda n: b"3e8\r\n%b\r\n" % bytes(1000))
    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        rest = await wire.rest()
        async with asyncio.timeout(10):
            await there.wires[0].done.wait()
        record = await proxy.records.get()
        assert (record.error, proxy.routes.marked) == ("the backend's refusal is too large", [])
    assert rest.count(0) == record.bytes_out <= 500_000
    assert not rest.endswith(b"0\r\n\r\n")


async def test_a_refusal_without_end_is_cut_by_its_time(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client reads nothing: what the backend sends waits there, and not in the proxy."""
    monkeypatch.setattr("app.websocket.refusing.MAX_TIME", 0.3)
    script = endless(b"HTTP/1.1 403 No\r\n\r\n", lambda n: bytes(65536))
    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        wire.writer.transport.pause_reading()
        record = await proxy.records.get()
        assert record.error == "the backend's refusal takes too long"
        async with asyncio.timeout(10):
            await there.wires[0].done.wait()
        assert proxy.routes.marked == []


async def test_a_refusal_that_stands_still_is_cut(mode: str) -> None:
    async def script(wire: Wire) -> None:
        await wire.read_head()
        wire.write(b"HTTP/1.1 403 No\r\nContent-Length: 9\r\n\r\nshort")
        await silence(wire)

    async with backend(script) as there, proxying(there.url, mode=mode, tcpTimeout=0.1) as proxy:
        wire = await proxy.ask()
        assert (await wire.rest()).endswith(b"short")
        async with asyncio.timeout(10):
            await there.wires[0].done.wait()
        assert (await proxy.records.get()).error


BAD_ANSWERS = {
    "a wrong accept key": lambda good: good.replace(b"Accept: ", b"Accept: A"),
    "no accept key": lambda good: without(good, b"Sec-WebSocket-Accept"),
    "two accept keys": lambda good: good.replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Accept: x\r\n\r\n"
    ),
    "no upgrade": lambda good: without(good, b"Upgrade"),
    "another upgrade": lambda good: good.replace(b"websocket", b"h2c"),
    "no connection": lambda good: without(good, b"Connection"),
    "a subprotocol that was not offered": lambda good: good.replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Protocol: other\r\n\r\n"
    ),
    "an extension that was not offered": lambda good: good.replace(
        b"\r\n\r\n", b"\r\nSec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
    ),
    "no HTTP": lambda good: b"SSH-2.0-OpenSSH_9.2\r\n",
    "a head without end": lambda good: good[:-2] + b"X: " + b"x" * 70000,
    "half a head": lambda good: good[:40],
    "nothing": lambda good: b"",
}


@pytest.mark.parametrize("bad", BAD_ANSWERS)
async def test_an_answer_that_no_client_may_take_is_a_502(mode: str, bad: str) -> None:
    async def script(wire: Wire) -> None:
        wire.write(BAD_ANSWERS[bad](switching(await wire.read_head())))

    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask(b"Sec-WebSocket-Protocol: chat")
        assert (await wire.read_head()).startswith(b"HTTP/1.1 502 ")


@pytest.mark.parametrize("sent", [None, 0, 20], ids=["connected", "asked", "half answered"])
async def test_a_backend_that_resets_is_a_502(mode: str, sent: int | None) -> None:
    async def script(wire: Wire) -> None:
        if sent is not None:
            wire.write(switching(await wire.read_head())[:sent])
            await wire.writer.drain()
        wire.reset()

    async with backend(script) as there, proxying(there.url, mode=mode, retryOnError=0) as proxy:
        wire = await proxy.ask()
        assert (await wire.read_head()).startswith(b"HTTP/1.1 502 ")
        await wire.rest()


async def test_a_backend_that_says_nothing_is_a_504(mode: str) -> None:
    async with (
        backend(silence) as there,
        proxying(there.url, mode=mode, responseTimeout=0.05) as proxy,
    ):
        wire = await proxy.ask()
        assert (await wire.read_head()).startswith(b"HTTP/1.1 504 ")
        await there.wires[0].done.wait()
