"""Each field that we add or believe, as a stranger sends it: in each spelling, named by
`Connection`, twice; in requests and handshakes, below ASGI and through it; to the backend and to
the service that says who may enter."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from tests.backends import Received, ScriptedBackend, answer, answering
from tests.fields.spellings import ALL, spellings
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

COPIED = b"x-auth-user"
"""What the service says, for the backend."""
EVERY = sorted(
    {
        spelling
        for name in (*ALL, COPIED, b"x-debug")
        for spelling in spellings(name)
        if len(name.split(b"-")) < 5
    }
)
LINES = b"".join(b"%b: SPOOFED\r\n" % name for name in EVERY)
NAMING = b"Connection: close, " + b", ".join(EVERY) + b"\r\n"
SWITCH = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)
FORMS = {
    "once": LINES,
    "twice": LINES + LINES,
    "named by Connection": NAMING + LINES,
    "named behind them": LINES + NAMING,
    "in a handshake": LINES + SWITCH,
    "named in a handshake": NAMING.replace(b"close", b"upgrade") + SWITCH + LINES,
}
OURS = {
    b"x-forwarded-for": b"127.0.0.1",
    b"x-forwarded-host": b"A.test.:80",
    b"x-forwarded-proto": b"http",
    b"x-real-ip": b"127.0.0.1",
    COPIED: b"alice",
    b"forwarded": b'for=127.0.0.1;host="A.test.:80";proto=http',
}
ASKED = {
    **{name: value for name, value in OURS.items() if name != COPIED},
    b"x-forwarded-host": b"a.test",  # rules of the service compare it
    b"x-forwarded-method": b"GET",
    b"x-forwarded-uri": b"/admin",
}


@asynccontextmanager
async def guarded(
    valkey: RedisServer, **how: object
) -> AsyncIterator[tuple[Proxy, ScriptedBackend, ScriptedBackend]]:
    """A proxy, a backend, and the service that is asked about a.test."""
    server = {"maxHeaders": 10_000, "maxHeaderSize": 2**20, "forwarded": True, **how}
    yes = answer(b"", COPIED + b": alice", b"x_auth_user: root", status=b"204 Yes")
    async with (
        answering(answer(b"hello")) as backend,
        answering(yes) as service,
        proxying(valkey, **server) as proxy,  # type: ignore[arg-type]
    ):
        options = {"forwardAuth": service.url, "forwardAuthCopy": COPIED.decode()}
        async with valkey.client as client:
            await client.hset("options:a.test", mapping=options)
        await proxy.route("a.test", backend)
        yield proxy, backend, service


async def sent(proxy: Proxy, fields: bytes) -> bytes:
    client = await proxy.connect()  # who half-closes has left a WebSocket
    client.send(b"GET /admin HTTP/1.1\r\nHost: A.test.:80\r\n" + fields + b"\r\n")
    return (await client.response())[2]


def ours_alone(request: Received, expected: dict[bytes, bytes]) -> None:
    got = [(name.lower(), value) for name, value in request.headers]
    if COPIED not in expected:  # a question: `Authorization` may be both asked with and copied
        got = [item for item in got if item[0] not in spellings(COPIED)]
    assert [name for name, value in got if value == b"SPOOFED"] == []
    assert sorted(item for item in got if item[0] in expected) == sorted(expected.items())


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("asgi", [False, True], ids=["below ASGI", "through ASGI"])
async def test_what_a_stranger_says_of_itself_reaches_nobody(
    valkey: RedisServer, asgi: bool, form: str
) -> None:
    async with guarded(valkey, asgi=asgi, webSocketRelay=asgi) as (proxy, backend, service):
        assert await sent(proxy, FORMS[form]) == b"hello"
    [request], [question] = backend.requests, service.requests
    ours_alone(request, OURS)
    ours_alone(question, ASKED)


async def test_a_proxy_of_ours_is_believed_in_the_lists_spelling_alone(
    valkey: RedisServer,
) -> None:
    fields = (
        b"X-Forwarded-For: 192.0.2.7\r\nX_Forwarded_For: SPOOFED\r\nX-Forwarded-Ssl: on\r\n"
        b"X_Forwarded_Ssl: SPOOFED\r\nX-Forwarded-Method: SPOOFED\r\nProxy: SPOOFED\r\n"
        b"X.Forwarded.Uri: SPOOFED\r\nX-Forwarded-Host: B.test:81\r\nForwarded: for=_front\r\n"
    )
    async with guarded(valkey, trustedProxies=["127.0.0.1"]) as (proxy, backend, service):
        assert await sent(proxy, fields) == b"hello"
    told = {
        b"x-forwarded-for": b"192.0.2.7, 127.0.0.1",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-ssl": b"on",
        b"x-real-ip": b"192.0.2.7",
        b"forwarded": b'for=_front, for=127.0.0.1;host="B.test:81";proto=https',
    }
    [question] = service.requests
    ours_alone(question, {**ASKED, **told, b"x-forwarded-host": b"b.test"})
    [request] = backend.requests
    heads = {name.lower(): value for name, value in request.headers}
    assert heads.items() >= {**told, b"x-forwarded-host": b"B.test:81"}.items()
    assert not {b"proxy", b"x_forwarded_ssl", b"x.forwarded.uri"} & heads.keys()
