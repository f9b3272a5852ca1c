"""What stands before a frontend's backends, as a client of the whole proxy meets it."""

from __future__ import annotations

import asyncio
import logging
from base64 import b64encode
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from itertools import count

import pytest

from app.errors import AccessUnknown
from app.frontends.passwords import make_hash, parse_hash
from app.frontends.rates import Rate
from app.proxy.guards.basic_auth import MAX_REMEMBERED, THREADS, BasicAuth
from app.proxy.guards.password_line import MAX_WAITING
from app.proxy.guards.rate_limits import MAX_CLIENTS, RateLimits
from tests.backends import Conversation, ScriptedBackend, answer, answering, scripted
from tests.redis_servers import RedisServer
from tests.serving import Proxy, proxying

HASH = make_hash(b"open sesame", b"0123456789abcdef", ln=4)
SWITCH = (
    b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
    b"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
)


def basic(user: str, password: str) -> bytes:
    return b"Authorization: Basic " + b64encode(f"{user}:{password}".encode()) + b"\r\n"


ONE = "192.0.2.1"


def guess(number: int) -> bytes:
    """A wrong password of a user who exists."""
    return basic("alice", str(number)).partition(b": ")[2].strip()


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1])


@asynccontextmanager
async def guarded(
    valkey: RedisServer, options: dict[str, str], **server: object
) -> AsyncIterator[tuple[Proxy, ScriptedBackend]]:
    """A proxy with one backend for a.test, whose options are these."""
    async with answering(answer(b"hello")) as backend, proxying(valkey, **server) as proxy:
        async with valkey.client as client:
            await client.hset("options:a.test", mapping=options)
        await proxy.route("a.test", backend)
        yield proxy, backend


async def get(
    proxy: Proxy, fields: bytes = b"", method: bytes = b"GET", host: str = "a.test"
) -> bytes:
    request = b"%b / HTTP/1.1\r\nHost: %b\r\n%b\r\n" % (method, host.encode(), fields)
    if SWITCH not in fields:
        return await proxy.talk(request)
    client = await proxy.connect()  # who half-closes has left a WebSocket
    client.send(request)
    return (await client.response())[1]


NETWORKS = [
    ({"allow": "127.0.0.0/8"}, 200),
    ({"allow": "192.0.2.0/24"}, 403),
    ({"deny": "127.0.0.1"}, 403),
    ({"deny": "192.0.2.0/24"}, 200),
    ({"allow": "127.0.0.0/8", "deny": "127.0.0.0/8"}, 403),
    ({"allow": "everybody"}, 500),
    ({"policy": "fastest"}, 200),
]


async def test_networks(valkey: RedisServer) -> None:
    async with guarded(valkey, {"policy": "random"}) as (proxy, backend):
        for number, (options, expected) in enumerate(NETWORKS):
            host = f"{number}.test"
            async with valkey.client as client:
                await client.hset(f"options:{host}", mapping=options)
            await proxy.route(host, backend)
            assert status(await get(proxy, host=host)) == expected
            assert status(await get(proxy, SWITCH, host=host)) == expected
    assert len(backend.requests) == 2 * [expected for _, expected in NETWORKS].count(200)


async def test_a_trusted_proxy_tells_who_the_client_is(valkey: RedisServer) -> None:
    options = {"allow": "192.0.2.0/24"}
    async with guarded(valkey, options, trustedProxies=["127.0.0.1"]) as (proxy, _):
        assert status(await get(proxy, b"X-Forwarded-For: 192.0.2.7\r\n")) == 200
        assert status(await get(proxy, b"X-Forwarded-For: 192.0.2.7, 198.51.100.1\r\n")) == 403
    async with guarded(valkey, options) as (proxy, _):
        assert status(await get(proxy, b"X-Forwarded-For: 192.0.2.7\r\n")) == 403


async def test_what_is_unreadable_says_so_to_the_client_and_once_to_the_log(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING)
    async with guarded(valkey, {"basicAuth": "alice:opensesame"}) as (proxy, backend):
        for _ in range(3):
            reply = await get(proxy, b"Accept: text/plain\r\n")
            assert status(reply) == 500
            assert b"access is denied" in reply
    assert backend.requests == []
    lines = [r.getMessage() for r in caplog.records if "unusable" in r.getMessage()]
    assert len(lines) == 1
    assert "nobody may enter" in lines[0]
    assert "opensesame" not in caplog.text


@pytest.mark.parametrize("name", ["alow", "allowed:192.0.2.0/24", "forwadAuth"])
async def test_a_misspelt_access_option_closes_and_the_page_and_the_log_say_what_was_meant(
    valkey: RedisServer, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    caplog.set_level(logging.WARNING)
    meant = "forwardAuth" if "Auth" in name else "allow"
    async with guarded(valkey, {name: "192.0.2.0/24"}) as (proxy, backend):
        reply = await get(proxy, b"Accept: text/plain\r\n")
    assert status(reply) == 500
    assert f"access rules are invalid (option {meant}); access is denied".encode() in reply
    assert b"192.0.2" not in reply, "the page quotes the store"
    assert backend.requests == []
    assert f"{name!r} is no option (did you mean {meant}?); nobody may enter" in caplog.text


async def test_a_mended_option_opens_with_the_next_request(valkey: RedisServer) -> None:
    async with guarded(valkey, {"allow": "?"}) as (proxy, _):
        assert status(await get(proxy)) == 500
        async with valkey.client as client:
            await client.hset("options:a.test", "allow", "127.0.0.1")
        while status(await get(proxy)) != 200:
            pass


async def test_a_user_and_a_password(valkey: RedisServer) -> None:
    async with guarded(valkey, {"basicAuth": f"alice:{HASH} bob:{HASH}"}) as (proxy, backend):
        refused = await get(proxy)
        assert status(refused) == 401
        assert b'\r\nwww-authenticate: Basic realm="a.test", charset="UTF-8"\r\n' in refused
        for _ in range(2):
            assert status(await get(proxy, basic("alice", "wrong"))) == 401
            assert status(await get(proxy, basic("mallory", "open sesame"))) == 401
            assert status(await get(proxy, basic("alice", "open sesame"))) == 200
        assert status(await get(proxy, basic("bob", "open sesame"))) == 200
        assert status(await get(proxy, SWITCH)) == 401
    assert len(backend.requests) == 3


async def test_of_two_authorizations_nobody_knows_which_one_a_backend_reads(
    valkey: RedisServer,
) -> None:
    right, other = basic("alice", "open sesame"), basic("root", "anything")
    async with guarded(valkey, {"basicAuth": f"alice:{HASH}"}) as (proxy, backend):
        for fields in (right + other, other + right, right + right):
            assert status(await get(proxy, fields)) == 401
            assert status(await get(proxy, fields + SWITCH)) == 401
    assert backend.requests == []


async def test_a_new_hash_makes_the_old_password_wrong(valkey: RedisServer) -> None:
    async with guarded(valkey, {"basicAuth": f"alice:{HASH}"}) as (proxy, _):
        assert status(await get(proxy, basic("alice", "open sesame"))) == 200
        async with valkey.client as client:
            new = make_hash(b"other", b"0123456789abcdef", ln=4)
            await client.hset("options:a.test", "basicAuth", f"alice:{new}")
        while status(await get(proxy, basic("alice", "open sesame"))) != 401:
            pass
        assert status(await get(proxy, basic("alice", "other"))) == 200


async def test_one_hash_for_many_requests_at_once() -> None:
    auth, users = BasicAuth(), {"alice": parse_hash(HASH)}
    field = basic("alice", "open sesame").partition(b": ")[2].strip()
    assert auth.known(users, field) is None
    verdicts = asyncio.gather(*(auth.verify("a.test", ONE, users, field) for _ in range(50)))
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert len(auth._running) == 1
    assert await verdicts == [True] * 50
    assert auth.known(users, field) is True
    assert not auth._running
    auth.close()


async def test_guessing_at_one_site_does_not_hold_up_another() -> None:
    auth, users = BasicAuth(), {"alice": parse_hash(HASH)}

    most = MAX_WAITING + THREADS
    guesses = [auth.verify("a.test", ONE, users, guess(n)) for n in range(most + 5)]
    results = asyncio.gather(*guesses, return_exceptions=True)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert await auth.verify("b.test", ONE, users, guess(-1)) is False
    verdicts = await results
    assert verdicts.count(False) == most
    assert sum(isinstance(v, AccessUnknown) for v in verdicts) == 5
    auth.close()


async def test_who_guesses_takes_the_places_of_nobody_else_at_the_same_site() -> None:
    auth, users = BasicAuth(), {"alice": parse_hash(HASH)}
    done: list[str] = []

    async def verify(client: str, field: bytes) -> bool:
        try:
            return await auth.verify("a.test", client, users, field)
        finally:
            done.append(client)

    guessing = asyncio.gather(
        *(verify(ONE, guess(n)) for n in range(MAX_WAITING + THREADS)), return_exceptions=True
    )
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    right = basic("alice", "open sesame").partition(b": ")[2].strip()
    assert await verify("192.0.2.2", right) is True
    verdicts = await guessing
    assert sum(isinstance(v, AccessUnknown) for v in verdicts) == 1  # it made place
    assert done.index("192.0.2.2") < MAX_WAITING // 2  # and it did not wait for all the others
    auth.close()


async def test_a_visitor_logs_in_while_another_address_guesses(valkey: RedisServer) -> None:
    slow = make_hash(b"open sesame", b"0123456789abcdef", ln=12)
    options = {"basicAuth": f"alice:{slow}"}
    async with guarded(valkey, options, trustedProxies=["127.0.0.1"]) as (proxy, _):

        async def guess_for_ever(number: int) -> None:
            client = await proxy.connect()
            for at in count():
                field = basic("alice", f"{number} {at}") + b"X-Forwarded-For: 192.0.2.1\r\n"
                client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n%b\r\n" % field)
                seen.append((await client.response())[0])
                if len(seen) == 40:
                    busy.set()

        seen: list[int] = []
        busy = asyncio.Event()
        guessers = [asyncio.create_task(guess_for_ever(number)) for number in range(20)]
        await busy.wait()
        for number in range(5):
            new = make_hash(b"open sesame", b"%016d" % number, ln=12)
            async with valkey.client as store:
                await store.hset("options:a.test", "basicAuth", f"alice:{new} bob{number}:{new}")
            fields = basic(f"bob{number}", "open sesame") + b"X-Forwarded-For: 192.0.2.2\r\n"
            while (got := status(await get(proxy, fields))) == 401:
                pass  # the new users are not known yet
            assert got == 200
        for guesser in guessers:
            guesser.cancel()
        await asyncio.gather(*guessers, return_exceptions=True)
    assert set(seen) <= {401, 503}


def test_what_is_remembered_of_passwords_has_an_end() -> None:
    auth = BasicAuth()
    auth._remember(b"right", True)
    for number in range(MAX_REMEMBERED + 10):
        auth._remember(b"%d" % number, False)
    assert len(auth._verdicts) == MAX_REMEMBERED
    assert auth._verdicts[b"right"]


async def test_so_many_at_once_and_no_more(valkey: RedisServer) -> None:
    answered = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        await conversation.receive()
        await answered.wait()
        await conversation.send(answer(b"late"))

    async with scripted(slow) as backend, proxying(valkey) as proxy:
        async with valkey.client as client:
            await client.hset("options:a.test", "maxInFlight", "2")
        await proxy.route("a.test", backend)
        await proxy.route("b.test", backend)
        running = [asyncio.create_task(get(proxy)) for _ in range(2)]
        await backend.until(lambda b: len(b.requests) == 2)
        refused = await get(proxy)
        assert status(refused) == 503
        assert b"\r\nretry-after: 1\r\n" in refused
        assert status(await proxy.get(host=b"__ping__")) == 200
        other = asyncio.create_task(proxy.get(host=b"b.test"))
        await backend.until(lambda b: len(b.requests) == 3)
        answered.set()
        assert {status(await reply) for reply in [*running, other]} == {200}
        assert status(await get(proxy)) == 200


async def test_a_client_that_leaves_gives_its_place_back(valkey: RedisServer) -> None:
    async def silent(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.gone()

    async with scripted(silent) as backend, proxying(valkey) as proxy:
        async with valkey.client as client:
            await client.hset("options:a.test", "maxInFlight", "1")
        await proxy.route("a.test", backend)
        for number in range(1, 4):
            client = await proxy.connect()
            client.send(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
            await backend.until(lambda b, number=number: len(b.requests) == number)
            assert status(await get(proxy)) == 503
            client.reset()
            await backend.until(lambda b: b.open == 0)


async def test_who_comes_too_often_is_told_when_to_come(valkey: RedisServer) -> None:
    async with guarded(valkey, {"rateLimit": "2/h"}) as (proxy, backend):
        assert [status(await get(proxy)) for _ in range(3)] == [200, 200, 429]
        refused = await get(proxy)
        assert b"\r\nretry-after: 1" in refused  # 1800 s, or a little less
        assert status(await get(proxy, SWITCH)) == 429
    assert len(backend.requests) == 2


def test_the_count_of_clients_has_an_end() -> None:
    now = 0.0
    limits, rate = RateLimits(lambda: now), Rate(1.0, 1)
    for number in range(2 * MAX_CLIENTS):
        limits.take("a.test", f"c{number}", rate)
    assert len(limits._due) <= MAX_CLIENTS
    now = 10.0
    for number in range(MAX_CLIENTS):
        limits.take("a.test", f"d{number}", rate)
    assert len(limits._due) <= MAX_CLIENTS


# Somebody else says who may enter.


@asynccontextmanager
async def asked(
    valkey: RedisServer, reply: bytes, **options: str
) -> AsyncIterator[tuple[Proxy, ScriptedBackend, ScriptedBackend]]:
    async with answering(reply) as sso:
        more = {"forwardAuth": f"{sso.url}/ask?site=a", **options}
        async with guarded(valkey, more) as (proxy, backend):
            yield proxy, backend, sso


async def test_forward_auth_lets_pass_and_adds_fields(valkey: RedisServer) -> None:
    reply = answer(b"", b"X-User: alice", b"X-Other: no", status=b"204 No Content")
    names = {"forwardAuthCopy": "X-User X-Groups"}
    async with asked(valkey, reply, **names) as (proxy, backend, sso):
        mine = b"X-User: root\r\nx_user: root\r\nX-Groups: wheel\r\nCookie: sid=1\r\n"
        body = b"Content-Length: 3\r\n\r\nabc"
        got = await proxy.talk(b"POST /x?y HTTP/1.1\r\nHost: a.test\r\n" + mine + body)
    assert status(got) == 200
    [question], [request] = sso.requests, backend.requests
    assert question.line == (b"GET", b"/ask?site=a")
    assert question.get(b"cookie") == b"sid=1"
    assert question.get(b"host") == b"127.0.0.1:%d" % sso.port
    assert question.get(b"x-forwarded-method") == b"POST"
    assert question.get(b"x-forwarded-uri") == b"/x?y"
    assert question.get(b"x-forwarded-host") == b"a.test"
    assert question.get(b"content-length") is None
    assert question.body == b""
    users = [value for name, value in request.headers if name.lower() in (b"x-user", b"x_user")]
    assert users == [b"alice"]
    assert request.get(b"x-groups") is None
    assert request.get(b"x-other") is None
    assert request.body == b"abc"


async def test_forward_auths_refusal_goes_to_the_client(valkey: RedisServer) -> None:
    reply = answer(b"to the door", b"Location: /login", b"Set-Cookie: a=1", status=b"302 Found")
    async with asked(valkey, reply) as (proxy, backend, _):
        got = await get(proxy)
        assert status(got) == 302
        assert b"Location: /login\r\n".lower() in got.lower()
        assert got.endswith(b"\r\n\r\nto the door")
        assert (await get(proxy, method=b"HEAD")).endswith(b"\r\n\r\n")
        assert status(await get(proxy, SWITCH)) == 302
    assert backend.requests == []


@pytest.mark.parametrize(
    "reply", [b"", b"nonsense\r\n\r\n", answer(bytes(70_000), status=b"403 No")]
)
async def test_without_a_usable_word_of_it_nobody_enters(valkey: RedisServer, reply: bytes) -> None:
    async with asked(valkey, reply) as (proxy, backend, _):
        assert status(await get(proxy)) == 503
    assert backend.requests == []


async def test_forward_auth_has_its_time(valkey: RedisServer) -> None:
    async def silent(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.gone()

    async with scripted(silent) as sso:
        options = {"forwardAuth": sso.url, "forwardAuthTimeout": "0.05"}
        async with guarded(valkey, options) as (proxy, backend):
            reply = await get(proxy)
    assert status(reply) == 503
    assert backend.requests == []


async def test_a_closed_connection_to_it_is_replaced(valkey: RedisServer) -> None:
    async def once(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(answer(b"go on"))

    async with scripted(once) as sso, guarded(valkey, {"forwardAuth": sso.url}) as (proxy, _):
        assert [status(await get(proxy)) for _ in range(4)] == [200] * 4
