"""What access log, metrics, recorder and request id cost, and how long /metrics takes.

`python -m bench.questions.observability` runs the beginning and the end of requests, which is where
all of them are made, in one process: all off and all on in turns, in CPU time with the
log's writing thread included. `watched` is all but the log: what the dashboard, `hipache why` and
alerts show is noted, and nobody looks. Then it fills the pages of four workers with 500 frontends
of two backends each and asks for /metrics, while another task of the same event loop
notes how long it has to wait for its turn.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from time import perf_counter, process_time
from typing import Any

import httpx

from app.admin.paths import admin_application
from app.admin.state import Sources
from app.config.structs import Config, parse
from app.logs.record import AccessRecord
from app.main import create_app
from app.metrics.counters import Counters
from app.metrics.folder import Folder
from app.proxy.gateway import Gateway
from app.proxy.request import Request
from app.routing import Backend, Frontend, Route
from app.server.peer import Peer
from app.stores import open_store
from app.system.garbage import rare_collections

ROUNDS, REQUESTS, TURN = 11, 20_000, 200
FRONTENDS, WORKERS, SCRAPES = 500, 4, 20
PEER = Peer(("10.1.2.3", 4), ("10.0.0.9", 80), "10.1.2.3")
HEADERS = [
    (b"host", b"www.example.com"),
    (b"user-agent", b"Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
    (b"accept", b"*/*"),
    (b"referer", b"http://www.example.com/"),
]


class NoIds:
    """In place of what makes request ids."""

    def new(self) -> str:
        return "0"


def config_of(
    folder: Path, log: str | None, admin: str | None, *, recorder: bool = False
) -> Config:
    routes = folder / "routes.toml"
    routes.write_text(
        "".join(
            f'["{n}.example.com"]\nid = "site"\n'
            f'backends = ["http://10.0.0.1:{n + 1}", "http://10.0.0.2:{n + 1}"]\n'
            for n in range(FRONTENDS)
        )
    )
    server = {"accessLog": log, "snapshot": None, "flightRecorder": recorder}
    alerts = [{"url": "http://127.0.0.1:9/"}] if admin and recorder else []
    values = {
        "server": server, "driver": f"file:{routes}", "admin": {"bind": admin}, "alerts": alerts,
    }  # fmt: skip
    return parse(json.dumps(values))


@asynccontextmanager
async def gateway_of(config: Config) -> AsyncIterator[Gateway]:
    app = create_app(config)
    async with app.router.lifespan_context(app):
        endpoint: Any = app.router.default
        yield endpoint.http._gateway


async def cost(gateway: Gateway, route: Route) -> float:
    """Seconds of CPU for one request's beginning and end."""
    backend = route.frontend.backends[0]
    began = process_time()
    for _ in range(REQUESTS // TURN):
        for _ in range(TURN):
            request = Request(b"GET", b"/a?b=c", HEADERS, PEER, "1.1", None)
            gateway.begin(request)
            request.route, request.backend = route, backend
            record = request.record
            record.status, record.bytes_out, record.head_time = 200, 1234, 0.0012
            gateway.end(request)
        await asyncio.sleep(0)
    return (process_time() - began) / REQUESTS


async def compare(folder: Path) -> None:
    backend = Backend("http://10.0.0.1:80", 0, "http", "10.0.0.1", 80)
    route = Route(Frontend("www.example.com", "site", (backend,)))
    off = config_of(folder, None, None)
    on = config_of(folder, str(folder / "access.log"), "127.0.0.1:0", recorder=True)
    log = config_of(folder, str(folder / "log-only.log"), None)
    metrics = config_of(folder, None, "127.0.0.1:0")
    recorder = config_of(folder, None, None, recorder=True)
    watched = config_of(folder, None, "127.0.0.1:0", recorder=True)
    async with (
        gateway_of(off) as nothing,
        gateway_of(on) as all_on,
        gateway_of(log) as logging,
        gateway_of(metrics) as counting,
        gateway_of(recorder) as recording,
        gateway_of(watched) as watching,
    ):
        ways = {
            "off": nothing, "log": logging, "metrics": counting, "recorder": recording,
            "watched": watching,
        }  # fmt: skip
        for gateway in ways.values():
            gateway._added.ids = NoIds()  # type: ignore[assignment]
        ways["all on"] = all_on
        found: dict[str, list[float]] = {name: [] for name in ways}
        for _ in range(ROUNDS):
            for name, gateway in ways.items():
                found[name].append(await cost(gateway, route))
    least = {name: statistics.median(times) * 1e6 for name, times in found.items()}
    bare = least.pop("off")
    for name, took in least.items():
        print(f"{name:8} {took - bare:.2f} us more than the {bare:.2f} us off")


async def scrape(folder: Path) -> None:
    config = config_of(folder, None, "127.0.0.1:0")
    pages = Folder(folder / "pages")
    pages.path.mkdir()
    routes = open_store(config)
    await routes.start()
    workers = []
    for number in range(WORKERS):
        page = pages.new_page({"pid": number, "worker": number})
        workers.append(page)
        counters = Counters(page, config.admin.buckets)
        for n in range(FRONTENDS):
            route = await routes.find(f"{n}.example.com")
            for status in (200, 304, 404, 502):
                for backend in route.frontend.backends:
                    record = AccessRecord(0.0, status=status, bytes_out=100)
                    record.head_time, record.total_time = 0.001 * n, 0.002 * n
                    record.frontend, record.backend = route.frontend.key, backend.url
                    counters.ended(record, b"GET", b"www.example.com")
    sources = Sources(config, routes, workers[0], pages, lambda: None)
    transport = httpx.ASGITransport(admin_application(sources))
    async with httpx.AsyncClient(transport=transport, base_url="http://localhost") as client:
        times, waits, size = [], [], 0
        for _ in range(SCRAPES):
            waiting = asyncio.create_task(longest_wait(stop := asyncio.Event()))
            await asyncio.sleep(0)
            began = process_time()
            size = len((await client.get("/metrics")).content)
            times.append(process_time() - began)
            stop.set()
            waits.append(await waiting)
    await routes.aclose()
    print(
        f"/metrics, {FRONTENDS} frontends, {WORKERS} workers, {size / 1e6:.1f} MB: "
        f"CPU {statistics.median(times) * 1e3:.1f} ms (worst {max(times) * 1e3:.1f}), others wait "
        f"{statistics.median(waits) * 1e3:.1f} ms at most (worst {max(waits) * 1e3:.1f})"
    )


async def longest_wait(stop: asyncio.Event) -> float:
    """Between two turns of a task that has hardly anything to do."""
    longest, before = 0.0, perf_counter()
    while not stop.is_set():
        await asyncio.sleep(0)
        now = perf_counter()
        longest, before = max(longest, now - before), now
    return longest


async def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        await compare(Path(folder))
        with rare_collections():  # as in a worker
            await scrape(Path(folder))


if __name__ == "__main__":
    import uvloop

    uvloop.run(main())
