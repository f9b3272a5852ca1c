"""Bodies that come with their heads go below ASGI, and all see of it what they see through ASGI."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.backends import Conversation, answer, scripted
from tests.proxy.ways import OK, Rest, alike, kept, logged_alike, sending, two_ways, unnumbered
from tests.redis_servers import RedisServer
from tests.upstream.http2.backend import Asked, speaking_http2

TEN_KB = b"0123456789abcdef" * 640
HEAD = b" /a?b HTTP/1.1\r\nHost: %b\r\nX-A: 1\r\n"
CHUNKS = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"


def whole(method: bytes, body: bytes = TEN_KB, *fields: bytes) -> bytes:
    """A request with a length; its host is to be filled in."""
    lines = b"".join(field + b"\r\n" for field in fields)
    return b"%b%bContent-Length: %d\r\n%b\r\n%b" % (method, HEAD, len(body), lines, body)


async def refused(conversation: Conversation) -> None:
    """Answer before the body was read, and close."""
    await conversation.head()
    await conversation.send(answer(b"no", b"Connection: close", status=b"401 No"))


async def crashed(conversation: Conversation) -> None:
    """Take a part of the body, then crash."""
    await conversation.head()
    await conversation.reader.readexactly(1)
    conversation.reset()


REQUESTS = {
    "POST": whole(b"POST"),
    "PUT": whole(b"PUT"),
    "what nobody knows": whole(b"FOO", b"x"),
    "GET": whole(b"GET", b"hi"),
    "more than is read at once": whole(b"POST", b"x" * 2**18),
    "to the last request": whole(b"POST", b"hi", b"Connection: close"),
    "of HTTP/1.0": whole(b"POST", b"hi").replace(b"HTTP/1.1", b"HTTP/1.0"),
    "expecting": whole(b"POST", b"hi", b"Expect: 100-continue"),
    "gRPC": whole(b"POST", b"hi", b"Content-Type: application/grpc"),
    "chunks": b"POST" + CHUNKS + b"5\r\nabcde\r\n2;x=y\r\nhi\r\n0\r\n\r\n",
    "no chunk": b"PUT" + CHUNKS + b"0\r\n\r\n",
    "trailers": b"POST" + CHUNKS + b"1\r\nx\r\n0\r\nX-Sum: 1\r\n\r\n",
}

ANSWERS: dict[str, Rest] = {
    "whole": sending(answer(b"x", b"Set-Cookie: a")),
    "after 103": sending(b"HTTP/1.1 103 Hints\r\nLink: x\r\n\r\n" + answer(b"x")),
    "in pieces": sending(OK + b"Content-Length: 2\r\n\r\n", b"xy"),
    "with trailers": sending(
        OK + b"Transfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\ngrpc-status: 0\r\n\r\n"
    ),
    "of gRPC": sending(answer(b"", b"Content-Type: application/grpc", b"grpc-status: 14")),
    "500": sending(answer(b"x", status=b"500 Oops")),
    "short": sending(answer(b"xxx")[:-1], close=True),
    "none": sending(close=True),
    "half a head": sending(OK[:-3], close=True),
    "nonsense": sending(b"what is this all?\r\n\r\n"),
}

MANY = {
    (method, name): (rest, request)
    for method, request in REQUESTS.items()
    for name, rest in ANSWERS.items()
    if name in {"whole", "of gRPC"} or method in {"POST", "PUT"}
}
FEW = {
    (name, what): (rest, REQUESTS[name])
    for name in ("POST", "PUT")
    for what, rest in (("none", ANSWERS["none"]), ("half", crashed), ("refused", refused))
}


@pytest.mark.parametrize(
    ("cases", "options", "attempts"),
    [
        pytest.param(MANY, {}, None, id="every answer"),
        pytest.param(FEW, {"retryBuffer": 10000}, [1, 1, 1] * 2, id="too large to hold"),
        pytest.param(FEW, {"retryMemory": 10000}, [1, 1, 1] * 2, id="no memory to hold it"),
        pytest.param(FEW, {"retryOnError": 0}, [1, 1, 1, 2, 2, 1], id="no retries"),
    ],
)
async def test_all_is_the_same_by_both_ways(
    valkey: RedisServer,
    tmp_path: Path,
    cases: dict[Any, tuple[Rest, bytes]],
    options: dict[str, int],
    attempts: list[int] | None,
) -> None:
    async with two_ways(valkey, tmp_path, **options) as ways:
        await alike(ways, cases)
        assert [way.gateway.held.memory.size for way in ways] == [0, 0]
        large = sum(len(request) > 65536 for _, request in cases.values())
        assert sum(ways[0].tasks) <= large
    lines = logged_alike(ways)
    assert attempts in (None, [line["attempts"] for line in lines[1::2]])


def test_a_port_is_not_taken_for_a_part_of_another_number() -> None:
    said = f"id 01a21e2239395e3d3a1b005655, {39395}, 139395, way-one0"
    assert unnumbered(said, {39395: "PROXY"}) == "id ID, PROXY, 139395, way-one0"


async def test_one_that_is_refused_unseen_is_sent_again_by_any_method(
    valkey: RedisServer, tmp_path: Path
) -> None:
    """A backend over HTTP/2 can say that it has not looked at a request."""
    bodies: list[list[bytes]] = []

    def once(asked: Asked) -> None:
        bodies[-1].append(asked.body)
        if len(bodies[-1]) == 2:
            asked.reset_by(7)
        else:
            asked.head((b"content-length", b"4"))
            asked.body_part(b"done", end=True)

    async with two_ways(valkey, tmp_path) as ways, speaking_http2() as backend:
        backend.on_end = once
        for way in ways:
            bodies.append([])
            await way.proxy.route(f"{way.name}.test", backend.url)
            client = await way.proxy.connect()
            for _ in range(3):
                client.send(whole(b"POST") % f"{way.name}.test".encode())
                assert (await client.response())[0::2] == (200, b"done")
            await way.settled()
            assert way.gateway.held.memory.size == 0
    assert bodies == [[TEN_KB] * 4] * 2
    logged_alike(ways)


async def test_the_next_request_behind_a_body_is_the_next_request(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async def rest(conversation: Conversation) -> None:
        while True:
            await conversation.send(answer((await conversation.receive()).body))

    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            async with kept(way, rest) as (client, backend, host):
                sent = [whole(b"POST", body) % host for body in (b"one", b"GET / HTTP/1.1\r\n\r\n")]
                client.send(b"".join(sent) + sent[0][:-2])
                got = [(await client.response())[2] for _ in range(2)]
                client.send(b"ne" + sent[0])
                got += [(await client.response())[2] for _ in range(2)]
                assert got == [b"one", b"GET / HTTP/1.1\r\n\r\n", b"one", b"one"]
                assert len(backend.requests) == 5
    logged_alike(ways)


async def test_a_client_that_leaves_behind_its_body_leaves_nothing(
    valkey: RedisServer, tmp_path: Path
) -> None:
    async with two_ways(valkey, tmp_path) as ways:
        for way in ways:
            for method in (b"POST", b"PUT"):
                async with kept(way, sending()) as (client, backend, host):
                    client.send(whole(method) % host)
                    await backend.until(lambda backend: len(backend.requests) == 2)
                    held = len(TEN_KB) if method == b"PUT" else 0
                    assert way.gateway.held.memory.size == held
                    client.reset()
                    await backend.until(lambda backend: backend.open == 0)
                    await way.settled()
                    assert way.left_behind(host) == []
                    assert way.gateway.held.memory.size == 0
    lines = logged_alike(ways)
    assert [line["bytes_in"] for line in lines if line["status"] == 499] == [len(TEN_KB)] * 2


async def test_one_that_has_to_wait_waits_as_ever(valkey: RedisServer, tmp_path: Path) -> None:
    """For the store, a connection, a guard; or it gets an answer of our own."""

    async def script(conversation: Conversation) -> None:
        while True:
            await conversation.send(answer(b"%d" % len((await conversation.receive()).body)))

    async with two_ways(valkey, tmp_path) as ways, scripted(script) as backend:
        for way in ways:
            site = way.name
            async with valkey.client as redis:
                await redis.hset(f"options:{site}.asked", "forwardAuth", backend.url)
                await redis.hset(f"options:{site}.moved", "redirect", "on")
            for kind in ("plain", "asked", "moved"):
                await way.proxy.route(f"{site}.{kind}", backend)
            for kind, status in {"plain": 200, "asked": 200, "moved": 308, "none": 400}.items():
                client = await way.proxy.connect()
                for _ in range(2):
                    client.send(whole(b"POST") % f"{site}.{kind}".encode())
                    got = await client.response()
                    assert got[0] == status
                    assert status != 200 or got[2] == b"10240"
            await way.settled()
            assert way.gateway.held.memory.size == 0
    logged_alike(ways)
