"""What a JupyterHub's proxy costs beside npm's: `python -m bench.questions.hub_proxy [PROGRAM]`.

PROGRAM is npm's configurable-http-proxy. Printed for both, in CPU microseconds of the proxy: a
route that is added over the API, as a hub does, ten at a time; and a small GET by path with all
of them in the table. The client and the target are one process beside it.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from bench.processes import CHECKOUT, ending_in_order, serving
from bench.procfs import cores, cpu_seconds
from tests.ports import free_port

ROUTES, GETS, AT_ONCE = 5000, 20_000, 10
ANSWER = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
OURS = (sys.executable, "-m", "app.cli", "chp")


class Target(asyncio.Protocol):
    """Answers each request, which comes in one piece."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._transport.write(ANSWER * data.count(b"\r\n\r\n"))


@contextmanager
def running(command: Sequence[str]) -> Iterator[tuple[int, int, int]]:
    """The id of its process, its port and that of its API."""
    port, api = free_port(), free_port()
    where = ["--ip", "127.0.0.1", "--port", str(port)]
    where += ["--api-ip", "127.0.0.1", "--api-port", str(api), "--log-level", "error"]
    env = {"CONFIGPROXY_AUTH_TOKEN": "t", "PYTHONPATH": str(CHECKOUT)}
    with TemporaryDirectory() as folder:
        log = Path(folder) / "log"
        with serving([*command, *where], port, core=cores()[0], log=log, env=env) as process:
            yield process.pid, port, api


async def ask(port: int, requests: Iterator[bytes], status: bytes) -> None:
    """Send all of them, AT_ONCE at a time."""

    async def client() -> None:
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        for request in requests:
            writer.write(request)
            head = (await reader.readuntil(b"\r\n\r\n")).lower()
            if not head.startswith(b"http/1.1 " + status):
                raise SystemExit(f"unexpected answer: {head!r}")
            if b"chunked" in head:
                await reader.readuntil(b"0\r\n\r\n")
            elif length := re.search(rb"content-length: *([0-9]+)", head):
                await reader.readexactly(int(length[1]))
        writer.close()

    async with asyncio.TaskGroup() as tasks:
        for _ in range(AT_ONCE):
            tasks.create_task(client())


def added(target: int) -> Iterator[bytes]:
    """A hub's requests."""
    body = b'{"user": "zoe", "jupyterhub": true, "target": "http://127.0.0.1:%d"}' % target
    for number in range(ROUTES):
        yield b"".join((
            b"POST /api/routes/user/%d HTTP/1.1\r\nHost: hub\r\n" % number,
            b"Authorization: token t\r\nContent-Length: %d\r\n\r\n" % len(body), body,
        ))  # fmt: skip


async def measured(command: Sequence[str]) -> tuple[float, float]:
    """CPU microseconds of a route, and of a GET."""
    loop = asyncio.get_running_loop()
    target = await loop.create_server(Target, "127.0.0.1", 0)
    async with target:
        with running(command) as (pid, port, api):
            get = b"GET /_chp_healthz HTTP/1.1\r\nHost: x\r\n\r\n"
            await ask(port, iter([get] * AT_ONCE), b"200")
            spent = [cpu_seconds([pid])]
            await ask(api, added(target.sockets[0].getsockname()[1]), b"201")
            spent.append(cpu_seconds([pid]))
            get = b"GET /user/7/x HTTP/1.1\r\nHost: x\r\n\r\n"
            await ask(port, iter([get] * GETS), b"200")
            spent.append(cpu_seconds([pid]))
    return (spent[1] - spent[0]) / ROUTES * 1e6, (spent[2] - spent[1]) / GETS * 1e6


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each program."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.hub_proxy")
    options.add_argument("program", nargs="?", help="npm's configurable-http-proxy")
    program = options.parse_args(argv).program
    commands = {"hipache chp": OURS} | ({"npm": (program,)} if program else {})
    with ending_in_order():
        for name, command in commands.items():
            route, get = asyncio.run(measured(command))
            print(f"{name:<12} {route:6.0f} µs for a route, {get:6.0f} µs for a GET", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
