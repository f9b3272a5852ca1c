"""What a client may do, and what it gets when it does more: each key over real sockets."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import pytest

from app.config.structs import ServerConfig
from app.fields.networks import Peers
from app.server.edge import ClientLimits, Edge, connections_from_files
from tests.server.serving import Recorder, answer, read_body, serving

GET = b"GET / HTTP/1.1\r\nHost: a\r\n\r\n"
POST = b"POST / HTTP/1.1\r\nHost: a\r\n"


def limits(**keys: Any) -> ClientLimits:
    """The limits as a configuration file gives them."""
    return ClientLimits.of(ServerConfig(**keys))


def fields(count: int) -> bytes:
    return b"".join(b"x-%d: 1\r\n" % n for n in range(count))


@pytest.mark.parametrize(
    ("keys", "request_bytes", "status"),
    [
        pytest.param(
            {"max_request_line": 512},
            b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 512),
            414,
            id="a long request line",
        ),
        pytest.param(
            {"max_request_line": 512}, b"GET /" + b"a" * 600, 414, id="one that does not end"
        ),
        pytest.param(
            {"max_header_size": 1024}, GET[:-2] + fields(150), 431, id="a head that does not end"
        ),
        pytest.param(
            {"max_header_size": 1024}, GET[:-2] + fields(150) + b"\r\n", 431, id="a large head"
        ),
        pytest.param({"max_headers": 10}, GET[:-2] + fields(10) + b"\r\n", 431, id="many fields"),
        pytest.param(
            {"max_body": 5}, POST + b"Content-Length: 6\r\n\r\n", 413, id="a long body, announced"
        ),
        pytest.param(
            {"max_body": 5},
            POST + b"Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n3\r\ndef\r\n",
            413,
            id="a long body, chunked",
        ),
    ],
)
async def test_more_than_allowed_is_refused(
    keys: dict[str, Any], request_bytes: bytes, status: int
) -> None:
    app = Recorder()
    told: list[int] = []
    async with serving(app, limits(**keys)) as served:
        served.edge.on_refusal = lambda peer, head, refusal: told.append(refusal.status)
        got = await served.talk(request_bytes)
    assert got.startswith(b"HTTP/1.1 %d " % status), got
    assert b"\r\nconnection: close\r\n" in got
    assert b"\r\ncache-control: no-store\r\n" in got
    assert app.bodies == []
    assert told == [status]


@pytest.mark.parametrize(
    ("keys", "request_bytes"),
    [
        pytest.param(
            {"max_request_line": 512},
            b"GET /%b HTTP/1.1\r\nHost: a\r\n\r\n" % (b"a" * 498),
            id="request line",
        ),
        pytest.param({"max_headers": 10}, GET[:-2] + fields(9) + b"\r\n", id="fields"),
        pytest.param({"max_body": 5}, POST + b"Content-Length: 5\r\n\r\nabcde", id="body"),
    ],
)
async def test_exactly_as_much_as_allowed_passes(
    keys: dict[str, Any], request_bytes: bytes
) -> None:
    async with serving(Recorder(), limits(**keys)) as served:
        client = await served.connect()
        client.send(request_bytes)
        assert (await client.response())[0] == 200


@pytest.mark.parametrize(
    ("sent", "answered"),
    [
        pytest.param(b"", b"", id="a silent connection is closed"),
        pytest.param(b"GET / HT", b"HTTP/1.1 408 ", id="half a head is answered"),
        pytest.param(
            POST + b"Content-Length: 9\r\n\r\nabc", b"HTTP/1.1 408 ", id="so is half a body"
        ),
        pytest.param(
            POST + b"Transfer-Encoding: chunked\r\n\r\n5\r\nab",
            b"HTTP/1.1 408 ",
            id="and half a chunk",
        ),
    ],
)
async def test_what_does_not_arrive_in_time_is_given_up(sent: bytes, answered: bytes) -> None:
    app = Recorder()
    quick = limits(header_timeout=0.01, tcp_timeout=0.01)
    async with serving(app, quick, sweep=0.005) as served:
        got = await served.talk(sent)
    assert got[: len(b"HTTP/1.1 408 ")] == answered
    assert app.bodies == []


async def test_an_idle_connection_is_closed() -> None:
    async with serving(Recorder(), limits(keep_alive_timeout=0.01), sweep=0.005) as served:
        client = await served.connect()
        client.send(GET)
        await client.response()
        assert await client.rest() == b""


async def test_a_stray_line_end_does_not_begin_a_request() -> None:
    quick = limits(keep_alive_timeout=0.01, header_timeout=60)
    async with serving(Recorder(), quick, sweep=0.005) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 1\r\n\r\na\r\n")
        await client.response()
        assert await client.rest() == b""


async def test_the_second_head_has_its_own_time() -> None:
    quick = limits(header_timeout=0.01, keep_alive_timeout=60)
    async with serving(Recorder(), quick, sweep=0.005) as served:
        client = await served.connect()
        client.send(GET + b"GET /")
        await client.response()
        assert (await client.rest()).startswith(b"HTTP/1.1 408 ")


async def test_a_reader_who_takes_nothing_is_cut() -> None:
    ended = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 200, "headers": []})
        try:
            while True:
                message = {"type": "http.response.body", "body": bytes(1 << 20), "more_body": True}
                await send(message)
        except OSError:
            ended.set()

    async with serving(app, limits(tcp_timeout=0.02), sweep=0.005) as served:
        client = await served.connect()
        client.writer.transport.pause_reading()
        client.send(GET)
        await ended.wait()


async def test_an_application_that_does_not_read_is_not_the_clients_fault() -> None:
    read_on = asyncio.Event()

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await read_on.wait()
        await answer(send, b"%d" % len(await read_body(receive)))

    quick = limits(tcp_timeout=0.01, header_timeout=0.05)
    async with serving(app, quick, sweep=0.005) as served:
        client = await served.connect()
        client.send(POST + b"Content-Length: 8000000\r\n\r\n" + bytes(8_000_000))
        assert await served.talk(b"") == b""  # closed after a longer timeout than ours
        read_on.set()
        assert (await client.response())[2] == b"8000000"


async def test_a_connection_may_have_its_requests_counted() -> None:
    async with serving(Recorder(), limits(max_requests_per_connection=2)) as served:
        got = await served.talk(GET * 3)
    assert got.count(b"HTTP/1.1 200") == 2
    assert got.count(b"connection: close") == 1


@pytest.mark.parametrize("key", ["max_connections", "max_connections_per_address"])
async def test_one_connection_too_many_is_answered(
    key: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "app.server.edge")
    async with serving(Recorder(), limits(**{key: 1})) as served:
        first = await served.connect()
        first.send(GET)
        await first.response()
        for _ in range(3):
            refused = await served.talk(GET)
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in refused
        first.send(GET)
        assert (await first.response())[0] == 200
    assert len([r for r in caplog.records if r.name == "app.server.edge"]) == 1


class Idle:
    """A connection that waits for nothing."""

    deadline = float("inf")

    def expire(self) -> None: ...


@pytest.mark.parametrize(
    ("addresses", "refused"),
    [
        pytest.param(["192.0.2.1", "192.0.2.1"], True, id="one address"),
        pytest.param(["192.0.2.1", "192.0.2.2"], False, id="two addresses"),
        pytest.param(["2001:db8::1", "2001:db8::2"], True, id="one IPv6 network"),
        pytest.param(["2001:db8::1", "2001:db8:0:1::1"], False, id="two IPv6 networks"),
        pytest.param(["192.0.2.1", "::ffff:192.0.2.1"], True, id="IPv4 in disguise"),
        pytest.param(["10.0.0.1", "10.0.0.1"], False, id="a balancer of ours"),
        pytest.param(["unix:", "unix:"], False, id="a unix socket"),
        pytest.param(["", ""], False, id="gone already"),
    ],
)
async def test_what_counts_as_one_client(addresses: list[str], refused: bool) -> None:
    own = Peers.parse(["10.0.0.0/8"])
    edge = Edge(ClientLimits(connections_per_address=1, forwarders=own))
    loop = asyncio.get_running_loop()
    there = [(Idle(), address) for address in addresses]
    told = [edge.admit(each, address, loop) for each, address in there]
    assert [text is not None for text in told] == [False, refused]
    for each, address in there:
        edge.release(each, address)
    assert edge.by_address == {}


async def test_a_flood_is_dropped_without_an_answer() -> None:
    async with serving(Recorder(), limits(max_connections=1)) as served:
        clients = [await served.connect() for _ in range(40)]
        answers = [await client.rest() for client in clients[1:]]
    assert answers[0].startswith(b"HTTP/1.1 503")
    assert b"" in answers


async def test_connections_are_counted_out() -> None:
    async with serving(Recorder()) as served:
        await served.talk(b"GET / HTTP/1.0\r\n\r\n")
        client = await served.connect()
        client.send(GET)
        await client.response()
        assert served.edge.by_address == {"127.0.0.1": 1}
        assert served.edge.total_requests == 2
    assert served.edge.connections == set()
    assert served.edge.by_address == {}


def test_the_file_limit_sets_the_number_of_connections() -> None:
    assert Edge().max_connections == connections_from_files() > 0
