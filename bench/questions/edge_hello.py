"""CPU per request of our HTTP protocol against uvicorn's, answering "hello" themselves.

    python -m bench.questions.edge_hello [rounds]

Each server runs in its own process; rounds are interleaved, and the figure is the
process's own CPU time, so that a busy machine weighs on both alike. Needs wrk.
"""

from __future__ import annotations

import asyncio
import os
import re
import statistics
import subprocess
import sys
import time
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from app.server.edge import Edge
from app.server.running import uvicorn_config

START = {
    "type": "http.response.start",
    "status": 200,
    "headers": [
        (b"server", b"nginx"),
        (b"date", b"Mon, 23 Nov 2026 12:00:00 GMT"),
        (b"content-type", b"text/plain"),
        (b"content-length", b"5"),
        (b"etag", b'"5f3-1"'),
    ],
}
BODY = {"type": "http.response.body", "body": b"hello"}
BROWSER = {
    "user-agent": "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0",
    "accept": "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8",
    "accept-language": "en-GB,en;q=0.5",
    "accept-encoding": "gzip, deflate, br",
    "referer": "http://example.org/some/page",
    "cookie": "session=0123456789abcdef0123456789abcdef",
    "upgrade-insecure-requests": "1",
    "sec-fetch-dest": "document",
    "cache-control": "no-cache",
}


async def hello(scope: Any, receive: Any, send: Any) -> None:
    await send(START)
    await send(BODY)


def serve(kind: str, channel: Connection) -> None:
    """Answer until told to stop; report the CPU seconds each time something is received."""
    os.sched_setaffinity(0, {0})
    options: dict[str, Any] = {"port": 0, "log_level": "warning", "lifespan": "off", "ws": "none"}
    if kind == "ours":
        config = uvicorn_config(hello, Edge(), **options)
    else:
        config = uvicorn.Config(
            hello,
            http="httptools",
            access_log=False,
            proxy_headers=False,
            server_header=False,
            date_header=False,
            **options,
        )

    async def main() -> None:
        server = uvicorn.Server(config)
        task = asyncio.create_task(server.serve())
        while not server.started:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        channel.send(server.servers[0].sockets[0].getsockname()[1])
        stop = asyncio.Event()

        def told() -> None:
            if channel.recv():
                channel.send(time.process_time())
            else:
                stop.set()

        asyncio.get_running_loop().add_reader(channel.fileno(), told)
        await stop.wait()
        server.should_exit = True
        await task

    with asyncio.Runner(loop_factory=config.get_loop_factory()) as runner:
        runner.run(main())


def load(port: int, fields: dict[str, str], seconds: float) -> tuple[int, float]:
    """Requests served and requests per second."""
    headers = [part for item in fields.items() for part in ("-H", f"{item[0]}: {item[1]}")]
    command = ["taskset", "-c", "1", "wrk", "-t1", "-c64", f"-d{seconds}s", *headers]
    text = subprocess.run(
        [*command, f"http://127.0.0.1:{port}/"], capture_output=True, text=True, check=True
    ).stdout
    total = re.search(r"(\d+) requests in", text)
    rate = re.search(r"Requests/sec: +([\d.]+)", text)
    assert total
    assert rate
    assert "Non-2xx" not in text, text
    return int(total[1]), float(rate[1])


def measure(fields: dict[str, str], rounds: int) -> dict[str, list[float]]:
    """CPU microseconds per request of each server, one figure a round."""
    spawn = get_context("spawn")
    servers = {}
    for kind in ("stock", "ours"):
        near, far = spawn.Pipe()
        process = spawn.Process(target=serve, args=(kind, far), daemon=True)
        process.start()
        servers[kind] = (near, near.recv(), process)
    costs: dict[str, list[float]] = {kind: [] for kind in servers}
    for _ in range(rounds):
        for kind, (channel, port, _) in servers.items():
            channel.send(True)
            before = channel.recv()
            total, _ = load(port, fields, 2)
            channel.send(True)
            costs[kind].append((channel.recv() - before) / total * 1e6)
    for channel, _, process in servers.values():
        channel.send(False)
        process.join()
    return costs


def main() -> None:
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    for name, fields in (("wrk's request", {}), ("a browser's request", BROWSER)):
        costs = measure(fields, rounds)
        middle = {kind: statistics.median(values) for kind, values in costs.items()}
        print(f"{name}: CPU us/request " + "  ".join(f"{k} {v:.1f}" for k, v in middle.items()))
        print(f"  ours/stock {middle['ours'] / middle['stock']:.2f}")


if __name__ == "__main__":
    main()
