"""The opening handshake: what goes up, what comes down, and who is answered when it fails."""

from __future__ import annotations

import asyncio

import pytest
from websockets.exceptions import InvalidStatus
from websockets.frames import Opcode

from tests.backends import Conversation, scripted
from tests.ports import free_port
from tests.websocket.peers import (
    KEY,
    Wire,
    accept_key,
    after_handshake,
    answers,
    backend,
    echo_backend,
    field,
    silence,
    switching,
)
from tests.websocket.serving import HOST, proxying

open_socket = after_handshake(silence)


async def test_path_query_and_fields_reach_the_backend_as_they_came(mode: str) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        await proxy.open(
            b"Origin: https://page.example",
            b"Cookie: a=1",
            b"Cookie: b=2",
            b"Authorization: Basic eA==",
            b"User-Agent: test/1",
            b"X-Latin: caf\xe9",
            target=b"/a%2Fb//x/../y;p?q=%20&z=",
        )
        head = (await there.arrived.get()).head
    assert head.startswith(b"GET /a%2Fb//x/../y;p?q=%20&z= HTTP/1.1\r\n")
    lines = head.lower().split(b"\r\n")
    for line in (
        b"host: ws.test",
        b"origin: https://page.example",
        b"cookie: a=1",
        b"cookie: b=2",
        b"authorization: basic ea==",
        b"user-agent: test/1",
        b"x-latin: caf\xe9",
        b"x-forwarded-for: 127.0.0.1",
        b"x-forwarded-proto: http",
        b"upgrade: websocket",
        b"connection: upgrade",
    ):
        assert lines.count(line) == 1, line


async def test_a_client_that_may_debug_is_told_and_the_backend_is_not(mode: str) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open(b"X-Debug: 1")
        head = (await there.arrived.get()).head
    assert b"x-debug-backend-url: %b/\r\n" % there.url.encode() in wire.head.lower()
    assert b"x-debug" not in head.lower()


async def test_an_empty_query_keeps_its_question_mark(mode: str) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        await proxy.open(target=b"/a?")
        assert (await there.arrived.get()).head.startswith(b"GET /a? HTTP/1.1\r\n")


async def test_the_key_of_the_client_reaches_the_backend_in_a_tunnel_only(mode: str) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        await proxy.open()
        key = field((await there.arrived.get()).head, b"sec-websocket-key")
    assert (key == KEY) == (mode == "tunnel")


async def test_the_fields_of_the_101_reach_the_client(mode: str) -> None:
    fields = (b"Set-Cookie: a=1; Path=/", b"Set-Cookie: b=2", b"X-Latin: caf\xe9", b"Keep-Alive: 5")
    async with (
        backend(after_handshake(silence, *fields)) as there,
        proxying(there.url, mode=mode) as proxy,
    ):
        head = (await proxy.open()).head
    assert field(head, b"sec-websocket-accept") == accept_key(b"\r\nSec-WebSocket-Key: " + KEY)
    lines = [line.lower() for line in head.split(b"\r\n")]
    assert [line for line in lines if line.startswith(b"set-cookie")] == [
        b"set-cookie: a=1; path=/",
        b"set-cookie: b=2",
    ]
    assert lines.count(b"x-latin: caf\xe9") == 1
    assert not any(line.startswith(b"keep-alive") for line in lines)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        pytest.param(b"chat, superchat", b"superchat", id="one of two"),
        pytest.param(b"chat", None, id="none of those offered"),
        pytest.param(None, None, id="none offered"),
    ],
)
async def test_the_backend_chooses_the_subprotocol(
    mode: str, offered: bytes | None, chosen: bytes | None
) -> None:
    fields = [b"Sec-WebSocket-Protocol: " + chosen] if chosen else []
    offer = [b"Sec-WebSocket-Protocol: " + offered] if offered else []
    async with (
        backend(after_handshake(silence, *fields)) as there,
        proxying(there.url, mode=mode) as proxy,
    ):
        head = (await proxy.open(*offer)).head
        asked = (await there.arrived.get()).head
    assert field(asked, b"sec-websocket-protocol") == offered
    assert field(head, b"sec-websocket-protocol") == chosen


@pytest.mark.parametrize("how_much", [0.5, 1])
async def test_a_client_that_resets_leaves_nothing_behind(mode: str, how_much: float) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.raw()
        request = b"GET / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\n" % HOST
        wire.write(request[: int(len(request) * how_much)])
        await wire.writer.drain()
        wire.reset()
        await proxy.open()
        assert (len(there.wires), len(proxy.server.server_state.tasks)) == (1, 1)


async def test_an_interim_answer_is_not_the_answer(mode: str) -> None:
    async def script(wire: Wire) -> None:
        head = await wire.read_head()
        wire.write(b"HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n" + switching(head))
        await silence(wire)

    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        assert b"Link" not in (await proxy.open()).head


async def test_another_backend_is_tried_when_one_refuses_the_connection(mode: str) -> None:
    dead = f"http://127.0.0.1:{free_port()}"
    async with echo_backend() as there, proxying(dead, there.url, mode=mode) as proxy:
        while not proxy.routes.marked:  # until chance has taken the dead one first
            async with proxy.connect() as client:
                await client.send("hello")
                assert await client.recv() == "hello"
    assert [url for url, _ in proxy.routes.marked] == [dead]


async def test_no_route_is_a_400_with_a_page(mode: str) -> None:
    async with proxying("http://127.0.0.1:1", mode=mode) as proxy:
        wire = await proxy.ask(b"Accept: text/html", host=b"unknown.test")
        assert (await wire.read_head()).startswith(b"HTTP/1.1 400 ")
        assert b"frontend not found" in await wire.reader.read()


async def test_no_live_backend_is_a_502(mode: str) -> None:
    async with proxying(f"http://127.0.0.1:{free_port()}", mode=mode) as proxy:
        with pytest.raises(InvalidStatus) as refused:
            await proxy.connect().__aenter__()
    assert refused.value.response.status_code == 502


async def test_a_client_that_leaves_takes_the_attempt_with_it(mode: str) -> None:
    async with backend(silence) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        asked = await there.arrived.get()
        wire.reset()
        async with asyncio.timeout(5):
            await asked.done.wait()
        assert (await proxy.records.get()).status == 499


async def test_bytes_sent_too_early_are_not_lost(mode: str) -> None:
    """RFC 6455 §4.1 forbids them, but a direct connection would keep them."""
    async with echo_backend() as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.ask()
        wire.frame(Opcode.TEXT, b"early")
        await wire.read_head()
        assert (await wire.read_frame()).data == b"early"


async def test_a_101_that_comes_byte_by_byte_is_a_101(mode: str) -> None:
    async def script(conversation: Conversation) -> None:
        answer = switching((await conversation.head()).head) + b"\x81\x05first"
        await conversation.send_apart(bytes((byte,)) for byte in answer)
        await conversation.gone()

    async with scripted(script) as there, proxying(there.url, mode=mode) as proxy:
        assert (await (await proxy.open()).read_frame()).data == b"first"


async def test_a_101_has_no_length_and_no_body(mode: str) -> None:
    """RFC 9110 §8.6 forbids the field; a client that believed it would lose bytes of frames."""
    script = after_handshake(silence, b"Content-Length: 5", b"Transfer-Encoding: chunked")

    async def too(wire: Wire) -> None:
        wire.write(switching(await wire.read_head(), b"Content-Length: 5") + b"\x81\x05first")
        await silence(wire)

    async with backend(too) as there, proxying(there.url, mode=mode) as proxy:
        wire = await proxy.open()
        assert field(wire.head, b"content-length") is None
        assert (await wire.read_frame()).data == b"first"
    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        assert (await (await proxy.ask()).read_head()).startswith(b"HTTP/1.1 502 ")


async def test_bytes_behind_the_101_are_not_lost(mode: str) -> None:
    async def script(wire: Wire) -> None:
        head = await wire.read_head()
        wire.write(switching(head) + b"\x81\x05first")
        await silence(wire)

    async with backend(script) as there, proxying(there.url, mode=mode) as proxy:
        assert (await (await proxy.open()).read_frame()).data == b"first"


@pytest.mark.parametrize(
    ("request_head", "status"),
    [
        pytest.param(b"Sec-WebSocket-Version: 13", 400, id="no key"),
        pytest.param(b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: short", 400, id="a bad key"),
        pytest.param(b"Sec-WebSocket-Key: " + KEY, 400, id="no version"),
        pytest.param(
            b"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: " + KEY, 426, id="another version"
        ),
        pytest.param(
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\nX: %b" % (KEY, b"x" * 70000),
            431,
            id="a huge field",
        ),
        pytest.param(
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: " + KEY + b"\r\nX: y" * 300,
            431,
            id="many fields",
        ),
    ],
)
async def test_a_handshake_that_is_none_is_answered(request_head: bytes, status: int) -> None:
    async with proxying("http://127.0.0.1:1") as proxy:
        wire = await proxy.raw()
        wire.write(
            b"GET / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n%b\r\n\r\n"
            % (HOST, request_head)
        )
        assert (await wire.read_head()).startswith(b"HTTP/1.1 %d " % status)
        await wire.rest()


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        pytest.param(b"POST", b"Content-Length: 0\r\n", id="a POST"),
        pytest.param(b"HEAD", b"", id="a HEAD"),
        pytest.param(b"GET", b"Content-Length: 4\r\n", id="a GET with a body"),
    ],
)
async def test_a_websocket_begins_with_a_get_without_a_body(method: bytes, fields: bytes) -> None:
    async with backend(open_socket) as there, proxying(there.url) as proxy:
        wire = await proxy.raw()
        wire.write(
            b"%b / HTTP/1.1\r\nHost: %b\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: %b\r\n%b\r\nbody"
            % (method, HOST, KEY, fields)
        )
        assert (await wire.read_head()).startswith(b"HTTP/1.1 400 ")
        await wire.rest()
    assert not there.wires


async def test_an_upgrade_to_something_else_is_a_plain_request() -> None:
    answer = b"HTTP/1.1 204 Fine\r\nConnection: close\r\n\r\n"
    async with backend(answers(answer)) as there, proxying(there.url) as proxy:
        wire = await proxy.raw()
        wire.write(
            b"GET /x HTTP/1.1\r\nHost: %b\r\nUpgrade: h2c\r\n"
            b"Connection: Upgrade, close\r\n\r\n" % HOST
        )
        assert (await wire.read_head()).startswith(b"HTTP/1.1 204 ")
        assert field((await there.arrived.get()).head, b"upgrade") is None


async def test_fields_over_8_kib_are_no_obstacle(mode: str) -> None:
    async with backend(open_socket) as there, proxying(there.url, mode=mode) as proxy:
        await proxy.open(b"Cookie: " + b"x" * 20000, *[b"X: y"] * 150)
        assert (await there.arrived.get()).head.lower().count(b"x: y") == 150
