"""What it costs the store that clients wait: `python -m bench.questions.acme_waiting`.

So many workers (all in this process) have a client wait for each of the same new names, and
nobody orders a certificate. Prints the commands a second that Redis serves meanwhile: where it
reports changes, while one name fails after another, and where it reports none. Needs redis-server.
"""

from __future__ import annotations

import argparse
import asyncio
import socket
import tempfile
from pathlib import Path
from typing import Any

from app.routing import NO_MARKS, Backend, Frontend, Marks, Route, parse_frontend
from app.stores import driver_for
from app.stores.issuance import IssuanceState, IssuanceStore
from app.stores.routes import Routes
from app.tls.acme.new_names import NewNames
from tests.redis_servers import RedisServer
from tests.tls.test_client_hello import hello_like

MOST = 200.0
"""Commands a second and worker."""


class AllNames(Routes):
    """Each name is a frontend, and its backends are nobody's concern."""

    ready = True

    def known(self, host: str, target: bytes = b"/") -> Route | None:
        return None

    async def find(self, host: str, target: bytes = b"/") -> Route:
        return Route(parse_frontend(host, ["id", "http://127.0.0.1:1"]))

    def mark_dead(self, *args: object, **options: object) -> None:
        pass

    def clear_mark(self, frontend: Frontend, backend: Backend) -> None:
        pass

    def announce(self, frontend: Frontend, backend: Backend) -> None:
        pass

    def marks_of(self, frontend: Frontend) -> Marks:
        return NO_MARKS

    async def start(self) -> None:
        pass

    async def aclose(self) -> None:
        pass


def never(name: str) -> bool:
    """There is no certificate."""
    return False


async def one_waits(names: NewNames, name: str, sockets: list[socket.socket]) -> None:
    """One client's handshake, as far as the acceptor waits for it."""
    client, server = socket.socketpair()
    sockets += [client, server]
    server.setblocking(False)
    client.sendall(hello_like(name))
    waiting = names.before_handshake(never, server)
    assert waiting is not None
    await waiting


async def rate(client: Any, seconds: float) -> float:
    """Commands a second."""
    began = (await client.info("stats"))["total_commands_processed"]
    await asyncio.sleep(seconds)
    ended = (await client.info("stats"))["total_commands_processed"]
    return float(ended - began) / seconds


async def failing(store: IssuanceStore, labels: list[str], seconds: float) -> None:
    """One name after another fails, which rings for every worker."""
    await store.hold("bench", 600)
    for label in labels:
        await store.fail("bench", label, IssuanceState(error="so it is"))
        await asyncio.sleep(seconds / len(labels))


async def measure(workers: int, count: int, seconds: float) -> float:
    """Prints; the most commands a second for each worker."""
    labels, sockets = (
        [f"n{number}.a.test" for number in range(100, 100 + count)],
        list[socket.socket](),
    )
    with tempfile.TemporaryDirectory() as folder:
        server = await RedisServer(Path(folder)).start()
        stores = [driver_for((server.url,)).issuance("", timeout=5) for _ in range(workers + 1)]
        names = [NewNames(each, AllNames(), 600.0, lambda _: None) for each in stores[1:]]
        tasks = [asyncio.create_task(one_waits(n, la, sockets)) for n in names for la in labels]
        try:
            async with server.client as client:
                while not all(each._arrivals._tracked for each in names):  # noqa: ASYNC110
                    await asyncio.sleep(0.1)
                await asyncio.sleep(2)
                quiet = await rate(client, seconds)
                for each in names:
                    each._arrivals.lost("as if it were so")
                untracked = await rate(client, seconds)
                for each in names:
                    each._arrivals.tracking()
                work = asyncio.create_task(failing(stores[0], labels, seconds))
                busy = await rate(client, seconds)
                await work
            for each in names:
                await each.aclose()
            await asyncio.gather(*tasks)
            await stores[0].aclose()
        finally:
            server.kill()
            for sock in sockets:
                sock.close()
    print(
        f"{workers} workers wait for {count} names: {quiet:.0f} commands a second without news, "
        f"{busy:.0f} with {count / seconds:.0f} failures a second, {untracked:.0f} without reports"
    )
    return max(quiet, busy, untracked) / workers


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--workers", type=int, default=16)
    parser.add_argument("--names", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=5.0)
    options = parser.parse_args()
    each = asyncio.run(measure(options.workers, options.names, options.seconds))
    raise SystemExit(each > MOST)


if __name__ == "__main__":
    main()
