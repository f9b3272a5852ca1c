"""Do clients notice renewals? `python -m bench.questions.acme_renewal` (needs pebble, trustme).

Two proxies of two workers on one Redis, with 100 certificates in use. Clients ask at a steady rate,
some with a handshake for each request, some on connections that stay. Then all certificates come
near their end and are ordered anew at Let's Encrypt's test CA, on loopback. Prints how long
requests took before, and how long meanwhile.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import timedelta
from itertools import cycle
from pathlib import Path
from time import monotonic

from tests.backends import answer, answering
from tests.ports import free_port
from tests.redis_servers import RedisServer
from tests.tls.acme.load import ENDING, put
from tests.tls.acme.pebble import DNS, PEBBLE, Pebble, pebble
from tests.tls.acme.serving import ANYBODY, Proxy, proxy
from tests.tls.acme.test_serving import acme_of, route

AT_MOST = 2.0
"""Times what requests took before."""
ISSUER = b"Pebble Intermediate CA"


@dataclass
class Seen:
    """Seconds that requests took, and whose certificate is the new one."""

    handshakes: list[float] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    renewed: set[str] = field(default_factory=set)


async def with_handshake(to: Proxy, names: list[str], pause: float, seen: Seen) -> None:
    """One client that begins anew each time."""
    for name in cycle(names):
        began = monotonic()
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", to.https, ssl=ANYBODY, server_hostname=name
        )
        await asked(reader, writer, name)
        seen.handshakes.append(monotonic() - began)
        if ISSUER in writer.get_extra_info("ssl_object").getpeercert(binary_form=True):
            seen.renewed.add(name)
        writer.transport.abort()
        await asyncio.sleep(pause)


async def on_one_connection(to: Proxy, name: str, pause: float, seen: Seen) -> None:
    """One client whose connection stays."""
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", to.https, ssl=ANYBODY, server_hostname=name
    )
    while True:
        began = monotonic()
        await asked(reader, writer, name)
        seen.requests.append(monotonic() - began)
        await asyncio.sleep(pause)


async def asked(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, name: str) -> None:
    """One request and its answer; any other is an error."""
    writer.write(f"GET / HTTP/1.1\r\nHost: {name}\r\n\r\n".encode())
    head = await reader.readuntil(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 200 "), head
    assert await reader.readexactly(2) == b"hi"


@asynccontextmanager
async def load(
    proxies: list[Proxy], names: list[str], each: int, pause: float
) -> AsyncIterator[Seen]:
    """Clients of both kinds at both proxies. Raises what they met."""
    seen = Seen()
    tasks = [
        asyncio.create_task(work)
        for to in proxies
        for number in range(each)
        for work in (
            with_handshake(to, names[number:] + names[:number], pause, seen),
            on_one_connection(to, names[number], pause, seen),
        )
    ]
    yield seen
    for task in tasks:
        task.cancel()
    for task in tasks:
        with suppress(asyncio.CancelledError):
            await task


def told(label: str, before: list[float], meanwhile: list[float]) -> float:
    """Print both; the ratio of what one in a hundred took."""
    shown, ratios = [], []
    for name, at in (("median", 0.5), ("p99", 0.99), ("p99.9", 0.999), ("most", 1.0)):
        first, second = (sorted(each)[int(at * (len(each) - 1))] for each in (before, meanwhile))
        ratios.append(second / first)
        shown.append(f"{name} {first * 1000:.1f} -> {second * 1000:.1f} ms ({second / first:.2f})")
    print(f"{label}: {len(before)} and {len(meanwhile)}; {', '.join(shown)}", flush=True)
    return ratios[1]


async def measure(count: int, seconds: float, each: int, pause: float) -> bool:
    """Whether the goal is reached."""
    names = [f"n{number}.test" for number in range(count)]
    with tempfile.TemporaryDirectory() as name:
        folder, port = Path(name), free_port()
        store = await RedisServer(folder).start()
        try:
            async with answering(answer(b"hi")) as backend, pebble(folder, port) as ca:
                await route(store, backend, *names)
                for each_name in names:
                    await put(store, each_name, timedelta(days=1), ca.directory)
                acme = acme_of(ca, ordersPerHour=10 * count)
                async with (
                    proxy(folder / "one", store.url, acme, http=port) as one,
                    proxy(folder / "two", store.url, acme) as two,
                    load([one, two], names, each, pause) as seen,
                ):
                    return await compared(store, ca, names, seconds, seen)
        finally:
            store.kill()


async def compared(
    store: RedisServer, ca: Pebble, names: list[str], seconds: float, seen: Seen
) -> bool:
    await asyncio.sleep(5)  # until all contexts are there
    seen.handshakes, seen.requests = [], []
    await asyncio.sleep(seconds)
    before = seen.handshakes, seen.requests
    seen.handshakes, seen.requests = [], []
    began = monotonic()
    for name in names:
        await put(store, name, ENDING, ca.directory)
    while ca.issued < len(names) or len(seen.renewed) < len(names):  # noqa: ASYNC110
        await asyncio.sleep(0.1)
    took = monotonic() - began
    print(f"{len(names)} certificates renewed in {took:.1f} s, {ca.ordered} orders, none failed")
    ratios = [
        told("a handshake and a request", before[0], seen.handshakes),
        told("a request", before[1], seen.requests),
    ]
    return max(ratios) <= AT_MOST


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawTextHelpFormatter
    )
    parser.add_argument("--count", type=int, default=100, help="certificates")
    parser.add_argument("--seconds", type=float, default=20.0, help="before the renewals")
    parser.add_argument("--clients", type=int, default=4, help="of each kind at each proxy")
    parser.add_argument("--pause", type=float, default=0.05, help="seconds between two requests")
    options = parser.parse_args()
    if not (PEBBLE and DNS):
        print("needs pebble: apt-get install pebble", file=sys.stderr)
        sys.exit(2)
    reached = asyncio.run(measure(options.count, options.seconds, options.clients, options.pause))
    sys.exit(not reached)


if __name__ == "__main__":
    main()
