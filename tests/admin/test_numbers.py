"""What the admin listener of a real service reports agrees with what clients saw."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import ssl
import time
from collections import Counter
from pathlib import Path

import trustme
from websockets.asyncio.client import connect

from tests.admin.serving import REQUESTS, load, observed, until_answered
from tests.admin_client import AdminClient
from tests.backends import Conversation, answer, answering, refusing, scripted, truncating
from tests.ports import free_port
from tests.processes import command, write_config
from tests.redis_servers import RedisServer, until
from tests.websocket.peers import echo_backend


async def test_the_numbers_are_the_clients_whatever_becomes_of_workers(
    tmp_path: Path, valkey: RedisServer
) -> None:
    statuses: Counter[str] = Counter()
    async with (
        observed(tmp_path, valkey.url) as (service, admin),
        answering(answer(b"hi")) as backend,
        valkey.client as client,
    ):
        await client.rpush("frontend:a.test", "id", backend.url)
        await load(service, 200, statuses)
        await admin.until(REQUESTS, 200)
        killed = service.workers()[0]
        os.kill(killed, signal.SIGKILL)
        await service.saw("worker ready")
        await load(service, 100, statuses)
        await admin.until(REQUESTS, 300)
        service.signal(signal.SIGHUP)  # every worker is replaced
        for _ in range(2):
            await service.saw("worker ended")
        await load(service, 100, statuses)
        now = await admin.until(REQUESTS, 400)
        assert now.by(REQUESTS, "status") == statuses
        assert now.of("hipache_request_duration_seconds_count") == 400
        assert now.of("hipache_attempts_total", frontend="a.test") == statuses["2xx"]
        assert now.of("hipache_response_bytes_total", frontend="a.test") == 2 * statuses["2xx"]
        assert now.of("hipache_workers") == 2
        assert now.by("hipache_worker_exits_total", "how") == {"died": 1, "drained": 2}
        assert now.by("hipache_backends", "state") == {"live": 1, "dead": 0}
        while now.of("hipache_requests_in_flight"):  # a worker says so once a second
            now = await admin.scrape()


async def test_under_a_bare_uvicorn_it_is_the_same_and_another_takes_over(
    tmp_path: Path, valkey: RedisServer
) -> None:
    address = f"127.0.0.1:{free_port()}"
    write_config(tmp_path, valkey.url, admin={"bind": address})
    way = ("uvicorn", "app:create_app", "--factory", "--workers", "2", "--port", "0")
    async with (
        command(*way, cwd=tmp_path) as service,
        answering(answer(b"hi")) as backend,
        valkey.client as client,
    ):
        await service.bare_ready(2)
        await client.rpush("frontend:a.test", "id", backend.url)
        admin = AdminClient(address)
        async with admin.http:
            statuses: Counter[str] = Counter()
            await load(service, 100, statuses)
            await admin.until(REQUESTS, 100)
            first = (await admin.json("/api/workers"))[0]["pid"]
            os.kill(first, signal.SIGKILL)
            await service.saw("Application startup complete")
            await load(service, 100, statuses)
            await until_answered(admin)
            now = await admin.until(REQUESTS, 200)
            assert now.by(REQUESTS, "status") == statuses


async def test_what_fails_is_told_with_its_reason(tmp_path: Path, valkey: RedisServer) -> None:
    async with (
        observed(tmp_path, valkey.url, workers=1, planbNames=True) as (service, admin),
        refusing() as dead,
        answering(answer(b"hi")) as backend,
        truncating(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\ncut") as cutting,
        valkey.client as client,
    ):
        await client.rpush("frontend:a.test", "id", dead, backend.url)
        await client.rpush("frontend:c.test", "id", cutting.url)
        await client.rpush("frontend:b.test", "id", dead)
        await client.hset("options:a.test", "policy", "round_robin")
        for _ in range(4):
            await service.ask("a.test")
        await service.ask("b.test")
        await service.ask("c.test")
        now = await admin.until(REQUESTS, 6)
        cut = "reset inside the body"
        assert now.of("hipache_evidence_total", reason=cut) == 1
        assert now.of("hipache_backend_evidence_total", backend=cutting.url) == 1
        assert now.of("hipache_backend_evidence_total", frontend="a.test", backend=dead) == 0
        refused = "connection refused"
        assert now.of("hipache_retries_total", reason=refused) >= 1
        assert now.of("hipache_backend_marks_total", reason=refused) == 1
        assert {
            now.of(f"hipache_backend_{name}", frontend="a.test", backend=url)
            for name, url in (("up", dead), ("errors_total", backend.url))
        } == {0}
        assert now.of("hipache_backend_up", backend=backend.url) == 1
        assert now.of("hipache_backend_requests_total", backend=backend.url) == 4
        assert now.of("hipache_backend_errors_total", frontend="a.test", backend=dead) >= 1
        assert now.of("planb_router_backend_markdead_total") == 1
        assert now.of("planb_reverseproxy_backends_responses_total", status_code="502") == 1
        [failure] = await admin.json("/api/failures")
        assert (failure["frontend"], failure["status"], failure["host"]) == (
            "b.test", 502, "b.test",
        )  # fmt: skip
        states = {
            each["backend"]: (each["state"], each["reason"])
            for each in await admin.json("/api/backends?frontend=a.test")
        }
        assert states[backend.url] == ("live", None)
        assert states[dead] == ("dead", "cannot connect to the backend: Connection refused")
        assert {each["frontend"] for each in await admin.json("/api/frontends")} == {
            "a.test", "b.test", "c.test",
        }  # fmt: skip


EXPIRY = "hipache_certificate_expiry_timestamp_seconds"


async def what_waits_is_told(admin: AdminClient, port: int) -> None:
    """Two requests wait for a connection to a.test; an upload that waits too is held."""
    assert (await admin.until("hipache_queue_length", 2)).of("hipache_client_connections")
    _, upload = await asyncio.open_connection("127.0.0.1", port)
    upload.write(b"PUT / HTTP/1.1\r\nHost: a.test\r\nContent-Length: 9\r\n\r\n12345678")
    await admin.until("hipache_held_bytes", 8)
    upload.close()


async def test_every_kind_of_number_is_counted_where_it_happens(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """What the tests of single parts count by hand: here it comes from clients and backends."""
    path = write_config(
        tmp_path, valkey.url, 1, admin={"bind": "127.0.0.1:0"},
        maxSockets=1, maxConnections=20, accessLog=str(tmp_path / "gone/access.log"),
    )  # fmt: skip
    certificate = trustme.CA().issue_cert("a.test").private_key_and_cert_chain_pem.bytes()
    (tmp_path / "own.pem").write_bytes(certificate)
    more = {
        "https": {"bind": "127.0.0.1", "port": 0, "cert": "own.pem", "key": "own.pem"},
        "healthCheck": {"interval": 0.1, "fall": 1},
    }
    path.write_text(json.dumps(json.loads(path.read_text()) | more))
    go_on = asyncio.Event()

    async def slow(conversation: Conversation) -> None:
        while True:
            await conversation.receive()
            await go_on.wait()
            await conversation.send(answer(b"hi"))

    async with (
        command("app.cli", "serve", cwd=tmp_path) as service,
        scripted(slow) as backend,
        echo_backend() as echo,
        refusing() as dead,
        answering(answer(b"hi")) as sound,
        valkey.client as client,
    ):
        address = (await service.saw(r'"admin listening" address=(\S+)'))[1]
        service.port, secured = [
            int((await service.saw(r"listening address=127\.0\.0\.1:(\d+)"))[1]) for _ in range(2)
        ]
        await service.saw("worker ready")
        shutil.rmtree(tmp_path / "gone")
        await client.rpush("frontend:a.test", "id", backend.url)
        await client.rpush("frontend:ws.test", "id", f"http://127.0.0.1:{echo.port}")
        await client.rpush("frontend:checked.test", "id", dead, sound.url)
        await client.hset("healthcheck:checked.test", "path", "/up")
        await client.hset("tls:stored.test", mapping={"certificate": certificate, "key": "x"})
        admin = AdminClient(address)
        async with admin.http:
            asking = [asyncio.create_task(service.ask("a.test")) for _ in range(3)]
            await what_waits_is_told(admin, service.port)
            go_on.set()
            await asyncio.gather(*asking)
            await service.ask("a.test")  # the three before may have come before the route was known
            async with connect(
                "ws://ws.test/", host="127.0.0.1", port=service.port, proxy=None
            ) as chat:
                await chat.send("hello")
                assert await chat.recv() == "hello"
                await admin.until("hipache_websocket_sessions_open", 1)
            reader, writer = await asyncio.open_connection("127.0.0.1", secured, ssl=trusting_all())
            writer.write(b"nonsense\r\n\r\n")
            await reader.read()
            writer.close()
            idle = [await asyncio.open_connection("127.0.0.1", service.port) for _ in range(21)]
            assert b" 503 " in await idle[-1][0].read()
            for _, writer in idle:
                writer.close()
            await admin.until("hipache_backend_marks_total", 1, reason="check")
            await admin.until(EXPIRY, 1, file="tls:stored.test")
            await admin.until("hipache_websocket_sessions_total", 1, closed_by="client")
            await admin.until("hipache_access_log_lines_lost_total", 1)
            now = await admin.scrape()
    assert now.by("hipache_refused_requests_total", "status") == {"400": 1}
    assert now.by("hipache_websocket_messages_total", "sender") == {"client": 1, "backend": 1}
    for name, value in {
        "hipache_tls_handshakes_total": 1,
        "hipache_refused_connections_total": 1,
        "hipache_queue_wait_seconds_count": 3,
        "hipache_connect_seconds_count": 1,
    }.items():
        assert now.of(name) == value, name
    assert now.of(EXPIRY, file=str(tmp_path / "own.pem")) > time.time()
    for name in (
        "hipache_route_cache_hits_total", "hipache_route_cache_misses_total",
        "hipache_route_cache_pushes_total", "hipache_worker_memory_bytes",
        "hipache_worker_start_time_seconds",
        "hipache_store_contact_age_seconds",
    ):  # fmt: skip
        assert now.of(name) > 0, name


def trusting_all() -> ssl.SSLContext:
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    return context


async def test_openmetrics_is_for_those_who_accept_it(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (_, admin):
        plain = await admin.http.get("/metrics")
        assert plain.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
        accept = "application/openmetrics-text;version=1.0.0,text/plain;version=0.0.4;q=0.5"
        openmetrics = await admin.http.get("/metrics", headers={"accept": accept})
        assert openmetrics.headers["content-type"].startswith("application/openmetrics-text;")
        assert openmetrics.text.endswith("\n# EOF\n")


async def test_nothing_stays_behind(tmp_path: Path, valkey: RedisServer) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (service, _):
        places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
        name = f"hipache-{os.geteuid()}-{service.pid}-*"
        assert [p for place in places for p in place.glob(name)]
        service.signal(signal.SIGTERM)
        await service.ended()
        await until(lambda: not [p for place in places for p in place.glob(name)])


async def test_what_dead_workers_left_does_not_pile_up_though_nobody_asks(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with observed(tmp_path, valkey.url, workers=1) as (service, _):
        name = f"hipache-{os.geteuid()}-{service.pid}-*/*.page"
        for _ in range(2):
            os.kill(service.workers()[0], signal.SIGKILL)
            await service.saw("worker ready")
        places = [Path("/dev/shm"), Path(os.environ.get("TMPDIR", "/tmp"))]
        assert len([p for place in places for p in place.glob(name)]) == 1
