"""The proxy under any ASGI server: what scopes may lack, and who starts it without a lifespan."""

from __future__ import annotations

import asyncio
import os
import signal
import ssl
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
import trustme
from starlette.applications import Starlette
from starlette.routing import Mount
from starlette.testclient import TestClient
from starlette.websockets import WebSocketDisconnect

from app.application import Application
from app.config.structs import Config, parse
from app.main import create_app
from tests.backends import ScriptedBackend, answer, answering
from tests.ports import free_port
from tests.processes import ROOT, Service, program, write_config

HTTP = {
    "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": "GET",
    "scheme": "http", "path": "/a b", "raw_path": b"/a%20b", "query_string": b"c=%20",
    "root_path": "", "headers": [(b"host", b"testserver")], "client": ("192.0.2.7", 5),
    "server": ("127.0.0.1", 80),
}  # fmt: skip
WEB_SOCKET = HTTP | {"type": "websocket", "scheme": "ws", "subprotocols": []}
SCOPES: dict[str, dict[str, Any]] = {
    "client None": {"client": None},
    "server None": {"server": None},
    "server is a unix socket": {"server": ("/run/x.sock", None)},
    "ports as text": {"client": ("192.0.2.7", "5"), "server": ("127.0.0.1", "80")},
    "raw_path None": {"raw_path": None},
    "HTTP/2": {"http_version": "2"},
    "HTTP/3": {"http_version": "3"},
    "fields in lists": {"headers": ([b"Host", b"testserver"],)},
}
OPTIONAL = ("raw_path", "scheme", "client", "server", "root_path", "extensions")


def config_in(folder: Path, *backends: str) -> Config:
    urls = ", ".join(f'"{url}"' for url in backends)
    (folder / "routes.toml").write_text(f'["testserver"]\nbackends = [{urls}]\n')
    write_config(folder, "file:routes.toml")
    text = (folder / "config.json").read_text()
    return parse(text.replace("file:routes.toml", f"file:{folder}/routes.toml"))


@asynccontextmanager
async def behind(folder: Path) -> AsyncIterator[tuple[Application, ScriptedBackend]]:
    async with answering(answer(b"hi")) as backend:
        app = create_app(config_in(folder, backend.url))
        assert isinstance(app, Application)
        yield app, backend


async def ask(app: Callable[..., Awaitable[None]], scope: dict[str, Any]) -> dict[str, Any]:
    """The first message that `app` sends."""
    told: list[dict[str, Any]] = []
    asked: list[dict[str, Any]] = [
        {"type": "http.request" if scope["type"] == "http" else "websocket.connect"}
    ]

    async def receive() -> dict[str, Any]:
        if asked:
            return asked.pop()
        await asyncio.get_running_loop().create_future()
        raise AssertionError

    async def send(message: dict[str, Any]) -> None:
        told.append(message)

    await app(scope, receive, send)
    return told[0]


async def test_a_scope_may_lack_what_is_optional(tmp_path: Path) -> None:
    """And a field list may be any iterable (ASGI's HTTP & WebSocket format, 2.5)."""
    async with behind(tmp_path) as (app, backend), app.router.lifespan_context(app):
        for base in (HTTP, WEB_SOCKET):
            scopes = {name: base | change for name, change in SCOPES.items()}
            scopes["fields from an iterator"] = base | {"headers": iter(HTTP["headers"])}  # type: ignore[call-overload]
            lacking = (*OPTIONAL, "http_version") if base is WEB_SOCKET else OPTIONAL
            for name in lacking:
                scopes[f"no {name}"] = {k: v for k, v in base.items() if k != name}
            for name, scope in scopes.items():
                told = await ask(app, scope)
                expected = 200 if base is HTTP else 1000  # the backend knows no WebSockets
                assert told.get("status", told.get("code")) == expected, name
                request = backend.requests[-1]
                assert request.line[1] == b"/a%20b?c=%20", name
                client = (scope.get("client") or ("",))[0].encode() or None
                assert request.get(b"x-forwarded-for") == client, name


async def test_the_first_request_starts_the_proxy(tmp_path: Path) -> None:
    """Once, also where many come at the same time; and it ends with the event loop."""
    async with behind(tmp_path) as (app, backend):
        transport = httpx.ASGITransport(app)
        async with httpx.AsyncClient(transport=transport, base_url="http://testserver") as client:
            replies = await asyncio.gather(*(client.get("/") for _ in range(20)))
            assert {reply.text for reply in replies} == {"hi"}
            lives = [
                each for each in asyncio.all_tasks() if each.get_name().startswith("parts without")
            ]
            assert len(lives) == 1
            lives[0].cancel()  # as asyncio.run does at its end
            await asyncio.wait(lives)
            assert not lives[0].cancelled()
            await backend.until(lambda backend: not backend.open)
            assert (await client.get("/")).text == "hi"


async def test_a_cancelled_first_request_leaves_the_start_to_the_others(tmp_path: Path) -> None:
    async with behind(tmp_path) as (app, _):
        first, second = (asyncio.create_task(ask(app, dict(HTTP))) for _ in range(2))
        await asyncio.sleep(0)
        first.cancel()
        assert (await second)["status"] == 200


async def test_a_start_that_fails_is_told_and_tried_again(tmp_path: Path) -> None:
    async with behind(tmp_path) as (app, _):
        right = app.router.lifespan_context

        @asynccontextmanager
        async def failing(_: object) -> AsyncIterator[None]:
            raise RuntimeError("no store")
            yield

        app.router.lifespan_context = failing
        with pytest.raises(RuntimeError, match="no store"):
            await ask(app, dict(HTTP))
        app.router.lifespan_context = right
        assert (await ask(app, dict(HTTP)))["status"] == 200


@pytest.mark.parametrize("mounted", [False, True], ids=["alone", "mounted in another"])
@pytest.mark.parametrize("lifespan", [False, True], ids=["no lifespan", "lifespan"])
async def test_starlettes_test_client(tmp_path: Path, *, mounted: bool, lifespan: bool) -> None:
    """Without `with`, it runs every request on an event loop of its own."""
    async with answering(answer(b"hi")) as backend:
        config = config_in(tmp_path, backend.url)

        def ask_thrice() -> None:
            proxy = create_app(config)
            client = TestClient(Starlette(routes=[Mount("/", proxy)]) if mounted else proxy)
            if lifespan:
                client.__enter__()
            for _ in range(3):
                assert client.get("/x").text == "hi"
            with pytest.raises(WebSocketDisconnect), client.websocket_connect("/ws"):
                pass
            if lifespan:
                client.__exit__()

        await asyncio.to_thread(ask_thrice)


SERVERS = {
    "uvicorn without a lifespan": ("uvicorn", "--port", "{port}", "--lifespan", "off"),
    "hypercorn": ("hypercorn", "--bind", "127.0.0.1:{port}"),
    "granian": ("granian", "--interface", "asgi", "--port", "{port}"),
    "granian without a lifespan": ("granian", "--interface", "asginl", "--port", "{port}"),
    "daphne": ("daphne", "--bind", "127.0.0.1", "--port", "{port}"),
}
SITE = """
from app.main import create_app
app = create_app()
"""
MOUNTED = """
from fastapi import FastAPI
from app.main import create_app
app = FastAPI()
@app.get("/own")
def own():
    return "own"
app.mount("/", create_app())
"""


@asynccontextmanager
async def served_by(
    words: tuple[str, ...], folder: Path, site: str = SITE
) -> AsyncIterator[tuple[str, Service]]:
    """The address of `site` under another server, and the server."""
    (folder / "site_of_ours.py").write_text(site)
    port = free_port()
    run = [word.format(port=port) for word in words]
    environ = os.environ | {"PYTHONPATH": f"{ROOT}{os.pathsep}{folder}"}
    async with program(
        sys.executable, "-m", *run, "site_of_ours:app", cwd=folder, environ=environ
    ) as server:
        async with asyncio.timeout(20):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.05)
                else:
                    writer.close()
                    break
        yield f"http://127.0.0.1:{port}", server


async def is_proxied(url: str, backend: ScriptedBackend, **options: Any) -> None:
    """`options` are those of httpx's client."""
    for target in ("/", "/a%2Fb%20c?d=%2F"):
        async with httpx.AsyncClient(trust_env=False, **options) as client:
            reply = await client.get(f"{url}{target}", headers={"Host": "testserver"})
        assert (reply.status_code, reply.text) == (200, "hi")
        assert backend.requests[-1].line[1] == target.encode()
        assert backend.requests[-1].get(b"x-forwarded-for") == b"127.0.0.1"
        assert backend.requests[-1].get(b"host") == b"testserver"


async def ends_in_order(server: Service, backend: ScriptedBackend) -> None:
    server.signal(signal.SIGINT)
    try:
        await server.ended()
    except TimeoutError:
        raise AssertionError("".join(server.log)) from None
    log = "".join(server.log)
    assert "Task was destroyed" not in log
    assert "Traceback" not in log
    await backend.until(lambda backend: not backend.open)


@pytest.mark.long
@pytest.mark.parametrize("name", SERVERS)
async def test_another_server(name: str, tmp_path: Path) -> None:
    """Its short forms are those above, without a server of HTTP."""
    async with answering(answer(b"hi")) as backend:
        config_in(tmp_path, backend.url)
        async with served_by(SERVERS[name], tmp_path) as (url, server):
            await is_proxied(url, backend)
            await ends_in_order(server, backend)


@pytest.mark.long
async def test_hypercorn_over_http2(tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(tmp_path / "cert.pem")
    context = ssl.create_default_context()
    ca.configure_trust(context)
    files = ("--certfile", "cert.pem", "--keyfile", "cert.pem")
    async with answering(answer(b"hi")) as backend:
        config_in(tmp_path, backend.url)
        async with served_by((*SERVERS["hypercorn"], *files), tmp_path) as (url, server):
            url = url.replace("http:", "https:")
            await is_proxied(url, backend, http2=True, verify=context)
            assert backend.requests[-1].get(b"x-forwarded-proto") == b"https"
            assert b"2 " in (backend.requests[-1].get(b"via") or b"")
            await ends_in_order(server, backend)


@pytest.mark.long
async def test_mounted_in_fastapi(tmp_path: Path) -> None:
    """Its short form mounts it in Starlette."""
    async with answering(answer(b"hi")) as backend:
        config_in(tmp_path, backend.url)
        async with served_by(("uvicorn", "--port", "{port}"), tmp_path, MOUNTED) as (url, server):
            await is_proxied(url, backend)
            async with httpx.AsyncClient(trust_env=False) as client:
                assert (await client.get(f"{url}/own")).json() == "own"
            await ends_in_order(server, backend)
