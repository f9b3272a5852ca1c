"""`hipache demo`: the proxy, and two small backends behind demo.localhost to try it on."""

from __future__ import annotations

import asyncio
import http.client
import os
import shlex
import signal
import socket
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import get_context
from multiprocessing.process import BaseProcess
from pathlib import Path

import uvicorn
from msgspec.structs import replace
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response, StreamingResponse
from starlette.routing import Route, WebSocketRoute
from starlette.websockets import WebSocket

from ..config.structs import Config
from ..errors import EX_CONFIG, ConfigError
from ..proxy.pages import templates_directory
from ..server.listeners import ListenAddress
from ..stores import StoreDriver, driver_of
from ..stores.embedded.keeper import die_with_parent
from ..stores.table import Entry
from ..workers.serve import serve

HOST = "demo.localhost"
NAMES = ("A", "B")


def run(config: Config, path: str | None) -> int:
    """Serve with demo backends until Ctrl-C; returns the proxy's exit status.

    `path` is the file that `config` was asked from, if one was named. Raises
    ConfigError when it names no embedded store, since nobody wants the demo's
    routes in a store of their own, or no port to ask at.
    """
    driver = driver_of(config)
    if not driver.private:
        raise ConfigError(f'driver: the demo needs "embedded:", found {driver.name!r}')
    address = tcp_address(config)
    proxy = get_context("fork").Process(target=run_proxy, args=(config,))
    proxy.start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # One way to stop; SIGINT, too, is not there yet when a script starts us behind a "&".
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), backends() as ports, driver.hold():
        asyncio.run(add_route(driver, [f"http://127.0.0.1:{port}" for port in ports]))
        if answers(proxy, address):
            print(what_to_type(address, path, ports), flush=True)
        proxy.join()
    proxy.terminate()  # the backends are gone by now, and with them what might hold it up
    proxy.join()
    return proxy.exitcode or 0


def run_proxy(config: Config) -> None:
    """`hipache serve`, in a process of its own."""
    os.setsid()  # Ctrl-C comes to the demo alone, which ends everything in order
    die_with_parent()
    # Each worker takes turns of its own: with one of them the turns can be seen. And the
    # store's folder belongs to the user who asked, root or not.
    server = replace(config.server, workers=1)
    try:
        sys.exit(serve(lambda: replace(config, server=server, user=None), os.environ))
    except ConfigError as exc:
        print(f"hipache: {exc}", file=sys.stderr)
        sys.exit(EX_CONFIG)


def answers(proxy: BaseProcess, address: ListenAddress) -> bool:
    """Waits until the proxy serves; False if it ended before."""
    while proxy.is_alive():
        connection = http.client.HTTPConnection(address.host, address.port, timeout=1)
        try:
            connection.request("GET", "/", headers={"Host": "__ping__"})
            if connection.getresponse().status == 200:
                return True
        except OSError:
            time.sleep(0.05)
        finally:
            connection.close()
    return False


@contextmanager
def backends() -> Iterator[Mapping[int, str]]:
    """Two backends that listen; yields the name behind each port."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in NAMES]
    names = {sock.getsockname()[1]: name for sock, name in zip(sockets, NAMES, strict=True)}
    settings = uvicorn.Config(
        create_backends(names),
        lifespan="off",
        log_config=None,
        log_level="critical",  # it calls it an error when the end cuts a clock off
    )
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, args=(sockets,), name="demo backends")
    thread.start()
    try:
        yield names
    finally:
        server.should_exit = server.force_exit = True
        thread.join()


def create_backends(names: Mapping[int, str]) -> Starlette:
    """Both backends in one application: the port that was asked tells which one answers."""
    page = (templates_directory() / "demo.html").read_bytes()

    def name(asked: Request | WebSocket) -> str:
        return names[asked.scope["server"][1]]

    async def answer(request: Request) -> Response:
        headers = {"cache-control": "no-store", "x-demo-backend": name(request)}
        if request.url.path == "/" and "text/html" in request.headers.get("accept", ""):
            return Response(page, headers=headers, media_type="text/html")
        host, target = request.headers.get("host"), request.url.path
        text = f"backend {name(request)}: {request.method} {target} for {host}\n"
        return PlainTextResponse(text, headers=headers)

    async def clock(request: Request) -> Response:
        async def ticks() -> AsyncIterator[str]:
            while True:
                yield f"data: {time.strftime('%H:%M:%S')} at backend {name(request)}\n\n"
                await asyncio.sleep(1)

        return StreamingResponse(ticks(), media_type="text/event-stream")

    async def echo(websocket: WebSocket) -> None:
        await websocket.accept()
        async for text in websocket.iter_text():
            await websocket.send_text(f"{text}, says backend {name(websocket)}")

    methods = ["GET", "POST", "PUT", "PATCH", "DELETE"]
    return Starlette(
        routes=[
            Route("/clock", clock),
            WebSocketRoute("/echo", echo),
            Route("/{path:path}", answer, methods=methods),
        ]
    )


async def add_route(driver: StoreDriver, urls: Sequence[str]) -> None:
    """Write demo.localhost anew: the backends have other ports at each start."""
    table = driver.table()
    try:
        await table.change([HOST], lambda before: {})  # old marks go, too
        entry = Entry("demo", tuple(urls), {"policy": "round_robin"})
        await table.change([HOST], lambda before: {HOST: entry})
    finally:
        await table.aclose()


def tcp_address(config: Config) -> ListenAddress:
    """Where to ask the proxy. Raises ConfigError."""
    for bind in config.http.binds:
        if bind.port and not bind.address.startswith("unix:"):
            return ListenAddress(bind.address, bind.port)
    raise ConfigError("http.bind: the demo needs an address with a port")


def what_to_type(address: ListenAddress, path: str | None, ports: Iterable[int]) -> str:
    """The next three things to type, made for this machine."""
    proxy, backend = f"http://{address}/", f"http://127.0.0.1:{next(iter(ports))}"
    script = Path(sys.argv[0]).name == "hipache"  # as it was typed, or as make did
    hipache = [sys.argv[0]] if script else [sys.executable, "-m", __name__.partition(".")[0]]
    config = ["--config", path] if path else []
    add = [*hipache, "route", "set", *config, "new.localhost", backend]
    return f"""
Hipache serves on {proxy} with two demo backends. Ctrl-C stops everything.

  Ask twice, and see the backends take turns:
    curl -H 'Host: {HOST}' {proxy}

  Add a host while it runs, and ask for it:
    {shlex.join(add)}
    curl -H 'Host: new.localhost' {proxy}

  See streams and WebSockets in a browser:
    http://{HOST}:{address.port}/
"""
