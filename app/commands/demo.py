"""`hipache demo`: runs the proxy with two small backends behind demo.localhost."""

from __future__ import annotations

import asyncio
import http.client
import os
import shlex
import shutil
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

from ..config.binds import Bind
from ..config.structs import Config
from ..errors import EX_CONFIG, ConfigError
from ..proxy.error_pages import templates_directory
from ..server.listeners import ListenAddress, bind
from ..stores import StoreDriver, driver_of
from ..stores.embedded.keeper import die_with_parent
from ..stores.table import Entry
from ..workers.serve import serve
from .demo_https import WANTED, over_https, put_certificate, with_https

DEMO_HOST = "demo.localhost"
BACKEND_NAMES = ("A", "B")


def run(config: Config, path: str | None) -> int:
    """Serve with demo backends until Ctrl-C; returns the proxy's exit status.

    `path` is the configuration file, if one was named. Raises ConfigError if the
    store is not an embedded one, because the demo's routes do not belong in a real
    store, or if no port is configured.
    """
    driver = driver_of(config)
    if not driver.private:
        raise ConfigError(f'driver: the demo needs "embedded:", found {driver.name!r}')
    wanted = tcp_address(config)
    address = free_address(wanted)
    binds = (Bind(address=address.host, port=address.port),)
    config = replace(config, http=replace(config.http, binds=binds))
    config = with_https(config, free_address(WANTED))
    proxy = get_context("fork").Process(target=run_proxy, args=(config,))
    proxy.start()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        # All three stop the demo. A script that starts it with "&" has SIGINT ignored until here.
        signal.signal(number, signal.default_int_handler)
    with suppress(KeyboardInterrupt), backends() as ports, driver.hold():
        asyncio.run(add_route(driver, [f"http://127.0.0.1:{port}" for port in ports]))
        secured = own_https(config, driver)
        if answers(proxy, address):
            if address != wanted:
                print(f"\n{wanted} is taken, so the demo takes another port.")
            print(what_to_type(address, path, ports, secured), flush=True)
        proxy.join()
    proxy.terminate()  # the backends have ended, so no open request delays its end
    proxy.join()
    return proxy.exitcode or 0


def own_https(config: Config, driver: StoreDriver) -> int | None:
    """The port where demo.localhost is served with a certificate of the demo's own CA, if any."""
    bind = config.https.binds[0] if config.https.binds else None
    if bind is None or bind.cert or bind.certs or config.https.acme.agree:
        return None
    return bind.port if asyncio.run(put_certificate(config, driver, DEMO_HOST)) else None


def run_proxy(config: Config) -> None:
    """`hipache serve`, in a process of its own."""
    os.setsid()  # Ctrl-C reaches only the demo, which stops everything in order
    die_with_parent()
    # Each worker has its own round robin, so only one worker shows the turns. No `user`: the
    # store's folder belongs to the user who started the demo, root or not.
    server = replace(config.server, workers=1)
    try:
        sys.exit(serve(lambda: replace(config, server=server, user=None), os.environ))
    except ConfigError as exc:
        print(f"hipache: {exc}", file=sys.stderr)
        sys.exit(EX_CONFIG)


def answers(proxy: BaseProcess, address: ListenAddress) -> bool:
    """Wait until the proxy serves; False if it ends before that."""
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
    """Run two backends; yields the name of the backend on each port."""
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in BACKEND_NAMES]
    names = {sock.getsockname()[1]: name for sock, name in zip(sockets, BACKEND_NAMES, strict=True)}
    settings = uvicorn.Config(
        create_backends(names),
        lifespan="off",
        log_config=None,
        log_level="critical",  # it logs an error for each open clock that the end cuts off
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
    """Both backends in one application: the port says which one answers."""
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
    """Replace the route of demo.localhost: the backends have other ports at each start."""
    table = driver.table()
    try:
        await table.change([DEMO_HOST], lambda before: {})  # removes old marks, too
        entry = Entry("demo", tuple(urls), {"policy": "round_robin"})
        await table.change([DEMO_HOST], lambda before: {DEMO_HOST: entry})
    finally:
        await table.aclose()


def tcp_address(config: Config) -> ListenAddress:
    """An address at which the proxy serves HTTP. Raises ConfigError."""
    for entry in config.http.binds:
        if entry.port and not entry.address.startswith("unix:"):
            return ListenAddress(entry.address, entry.port)
    raise ConfigError("http.bind: the demo needs an address with a port")


def free_address(wanted: ListenAddress) -> ListenAddress:
    """`wanted`, or another port of the same address where that one is taken."""
    for port in (wanted.port, 0):
        with suppress(ConfigError), bind(ListenAddress(wanted.host, port)) as sock:
            return ListenAddress(wanted.host, sock.getsockname()[1])
    return wanted  # whatever is wrong with it, the proxy says


def as_typed() -> list[str]:
    """The words that start this program again: short where a shell finds it."""
    script = Path(sys.argv[0])
    if script.name != "hipache":  # as make did
        return [sys.executable, "-m", __name__.partition(".")[0]]
    on_path = shutil.which("hipache")
    found = on_path is not None and script.exists() and script.samefile(on_path)
    return ["hipache" if found else sys.argv[0]]


def what_to_type(
    address: ListenAddress, path: str | None, ports: Iterable[int], secured: int | None
) -> str:
    """The next things to type, with this machine's addresses; `secured`: the port of TLS."""
    proxy, backend = f"http://{address}/", f"http://127.0.0.1:{next(iter(ports))}"
    hipache = as_typed()
    config = ["--config", path] if path else []
    add = [*hipache, "route", "set", *config, "new.localhost", backend]
    trust = shlex.join([*hipache, "cert", "trust", *config])
    return f"""
Hipache serves with two demo backends. Ctrl-C stops everything.

  Open this page, and see streams and WebSockets, too:
    http://{DEMO_HOST}:{address.port}/
{over_https(secured, trust)}
  Ask twice, and see the backends take turns:
    curl -H 'Host: {DEMO_HOST}' {proxy}

  Add a host while it runs, and ask for it:
    {shlex.join(add)}
    curl -H 'Host: new.localhost' {proxy}
"""
