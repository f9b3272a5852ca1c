"""Real servers as backends: what is odd in their answers hurts neither clients nor them."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import count
from pathlib import Path

import pytest

from tests.processes import Service
from tests.proxy.odd_applications import PYTHON_SERVER, SERVERS
from tests.proxy.real_servers import RealServer, started
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

LONG = pytest.mark.long
BODY = b"x" * 1_000_000
OK = rb"200 .*\r\n\r\nok"
DENIED = rb"401 .*\r\n\r\nno"
LATE = b"hello"


@dataclass(frozen=True)
class Case:
    """A request and the answer that its client must get, as a regular expression."""

    line: bytes
    answer: bytes
    fields: bytes = b""
    body: bytes = b""
    waits: bool = False
    """The body leaves once the client has got `100 Continue`."""
    but: tuple[tuple[str, bytes], ...] = ()
    """Servers that answer in another way, and how. Empty: it knows nothing of this."""

    def answer_of(self, server: str) -> bytes:
        return dict(self.but).get(server, self.answer)


NOT_KNOWN = tuple((name, b"") for name in ("gunicorn", "Rack"))
CASES = {
    "an answer before it has read the body": Case(
        b"PUT /early", DENIED, b"Content-Length: %d\r\n" % len(BODY), BODY
    ),
    "an answer before it has read the chunks": Case(
        b"POST /early",
        DENIED,
        b"Transfer-Encoding: chunked\r\n",
        b"%x\r\n%b\r\n0\r\n\r\n" % (len(BODY), BODY),
    ),
    "a body behind the answer to HEAD": Case(
        b"HEAD /body-to-head", rb"200 .*content-length: 5\r\n.*\r\n\r\n"
    ),
    "a body behind 204": Case(b"GET /no-content", rb"204 .*\r\n\r\n"),
    "a body behind 304": Case(b"GET /not-modified", rb"304 .*etag: .x.\r\n.*\r\n\r\n"),
    "more than it declared": Case(b"GET /longer", rb"200 .*\r\n\r\nhello"),
    "WebDAV's method": Case(
        b"PROPFIND /", OK, but=(("http.server", rb"501 .*does not support this.*"),)
    ),
    "a method nobody knows": Case(
        b"FROBNICATE /", OK, but=(("http.server", rb"501 .*"), ("node", rb"400 .*\r\n\r\n"))
    ),
    "early hints": Case(
        b"GET /hints",
        rb"103 .*link: </s.css>; rel=preload\r\n\r\nHTTP/1.1 " + OK,
        but=(("gunicorn", OK),),
    ),
    "trailers of the answer": Case(
        b"GET /trailers", rb"200 .*\r\n2\r\nok\r\n0\r\nx-sum: 7\r\n\r\n", b"TE: trailers\r\n",
        but=NOT_KNOWN,
    ),
    "trailers of the request": Case(
        b"PUT /sent-trailers",
        rb"200 .*\b7\b.*",
        b"Transfer-Encoding: chunked\r\nTrailer: X-Sum\r\n",
        b"2\r\nab\r\n0\r\nX-Sum: 7\r\n\r\n",
        but=(*NOT_KNOWN, ("http.server", b"")),
    ),
    "a body that waits for 100": Case(
        b"PUT /upload",
        rb"100 Continue\r\n\r\nHTTP/1.1 200 .*\r\n\r\nhello",
        b"Expect: 100-continue\r\nContent-Length: 5\r\n",
        LATE,
        waits=True,
    ),
    "a refusal in place of 100": Case(
        b"PUT /refuse",
        DENIED,
        b"Expect: 100-continue\r\nContent-Length: 5\r\n",
        LATE,
        waits=True,
        but=tuple((name, rb"100 Continue\r\n\r\nHTTP/1.1 " + DENIED) for name, _ in NOT_KNOWN),
    ),
}  # fmt: skip


class Site:
    """Two processes of one server behind the proxy, and clients with addresses of their own."""

    def __init__(self, proxy: Proxy, name: str, services: list[Service]) -> None:
        self.name = name
        self.services = services
        self._proxy = proxy
        self._numbers: Iterator[int] = count(2)

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """As another client than before."""
        source = (f"127.0.0.{next(self._numbers) % 250 + 2}", 0)
        return await asyncio.open_connection("127.0.0.1", self._proxy.port, local_addr=source)

    async def ask(self, case: Case) -> bytes:
        """All that the client of one request gets."""
        reader, writer = await self.connect()
        writer.write(
            case.line + b" HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n%b\r\n" % case.fields
        )
        reply = b""
        if case.waits:
            reply = await reader.readuntil(b"\r\n\r\n")
        if not case.waits or reply.startswith(b"HTTP/1.1 100 "):
            writer.write(case.body)
        try:
            return reply + await reader.read()
        finally:
            writer.transport.abort()

    async def get(self) -> bytes:
        return await self.ask(Case(b"GET /", OK))

    async def hurts_nobody(self) -> None:
        """Nobody has marked a backend, and both serve."""
        for _ in range(10):
            assert re.fullmatch(b"HTTP/1.1 " + OK, await self.get(), re.DOTALL)
        async with self._proxy.valkey.client as client:
            assert await client.keys("dead*") == []


@asynccontextmanager
async def site(
    name: str, server: RealServer, folder: Path, valkey: RedisServer, **options: object
) -> AsyncIterator[Site]:
    async with (
        started(server, folder) as one,
        started(server, folder) as other,
        proxying(valkey, **options) as proxy,
    ):
        await proxy.route("a.test", *(f"http://127.0.0.1:{s.port}" for s in (one, other)))
        there = Site(proxy, name, [one, other])
        yield there
        await there.hurts_nobody()


def right(case: Case, server: str, reply: bytes) -> bool:
    wanted = b"HTTP/1.1 " + case.answer_of(server)
    return re.fullmatch(wanted, reply, re.DOTALL | re.IGNORECASE) is not None


async def test_what_is_odd_in_an_answer_hurts_nobody(tmp_path: Path, valkey: RedisServer) -> None:
    async with site("http.server", PYTHON_SERVER, tmp_path, valkey) as here:
        for name, case in CASES.items():
            if case.answer_of(here.name):
                reply = await here.ask(case)
                assert right(case, here.name, reply), (name, reply)


@LONG
@pytest.mark.parametrize("server", SERVERS)
async def test_what_is_odd_in_many_answers_hurts_nobody(
    server: str, tmp_path: Path, valkey: RedisServer
) -> None:
    async with site(server, SERVERS[server], tmp_path, valkey) as here:
        for name, case in CASES.items():
            if case.answer_of(server):
                replies = [await here.ask(case) for _ in range(50)]
                wrong = [reply for reply in replies if not right(case, server, reply)]
                assert not wrong, (name, len(wrong), wrong[0])


@LONG
@pytest.mark.parametrize("server", [name for name in SERVERS if name != "Rack"])
async def test_it_sees_what_has_come_of_an_upload(
    server: str, tmp_path: Path, valkey: RedisServer
) -> None:
    """Puma, which runs Rack, calls its application with whole bodies only."""
    async with site(server, SERVERS[server], tmp_path, valkey) as here:
        reader, writer = await here.connect()
        head = b"POST /upload HTTP/1.1\r\nHost: a.test\r\nContent-Length: 3000\r\n\r\n"
        writer.write(head + bytes(2000))
        seeing = [asyncio.ensure_future(each.saw(r"^saw \d+")) for each in here.services]
        [saw], others = await asyncio.wait(seeing, return_when=asyncio.FIRST_COMPLETED)
        await saw
        writer.write(bytes(1000))
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200 ")
        assert await reader.readexactly(3000) == bytes(3000)
        writer.transport.abort()
        for other in others:
            other.cancel()
        await asyncio.gather(*others, return_exceptions=True)


@LONG
@pytest.mark.parametrize("server", SERVERS)
async def test_quiet_streams_of_events_are_no_evidence(
    server: str, tmp_path: Path, valkey: RedisServer
) -> None:
    async with site(server, SERVERS[server], tmp_path, valkey, tcpTimeout=1) as here:
        events = Case(b"GET /events", b"")
        for reply in await asyncio.gather(*(here.ask(events) for _ in range(8))):
            assert reply.startswith(b"HTTP/1.1 200 "), reply
            assert b": hi\n\n" in reply, reply
            assert not reply.endswith(b"0\r\n\r\n"), "a stream that was cut looks whole"


@LONG
async def test_a_server_that_closes_without_a_word_costs_no_request(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """node closes each connection behind its answer, and says keep-alive in it."""
    async with site("node", SERVERS["node"], tmp_path, valkey) as here:
        closes = Case(b"GET /closes", OK)
        for _ in range(20):
            for reply in await asyncio.gather(*(here.ask(closes) for _ in range(20))):
                assert right(closes, "node", reply), reply
