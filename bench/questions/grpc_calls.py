"""What gRPC costs through the proxy, beside nginx's `grpc_pass`: CPU, latency and memory.

`python -m bench.questions.grpc_calls [WHAT…]`, where WHAT is `unary`, `stream`, `latency` or
`held`; all of them if none is named. grpcio is client and server. Printed are CPU microseconds of
the proxy for a unary call of 64 bytes, and for a message of 64 bytes there and back on ten streams;
the latency of calls at half of the rate that the whole way can do, beside that of direct ones at
the same rate, with client and service on one core and the proxy on the other (an open loop: a call
is due when it is due, and waits from then on); and the memory of a stream that is held open.
`instructions`, which must be named, counts with callgrind what a unary call and a message cost in
user space: a busy machine does not disturb that.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory
from typing import Any

import grpc
import grpc.aio
import psutil

from bench.processes import CHECKOUT, ending_in_order, serving
from bench.procfs import cores, cpu_seconds
from bench.questions.instructions import RUNNER, count_of, ordered
from tests.grpc.calls import calling
from tests.ports import free_port

PROXY, LOAD = cores()
"""The cores of the proxy, and of the service."""
HOST = "a.test"
MESSAGE = bytes(64)
AT_ONCE = 10
NGINX = """
worker_processes 1; daemon off; pid nginx.pid; error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log access.log;
  {temporary}
  upstream there {{ server 127.0.0.1:{backend}; keepalive 100; keepalive_requests 100000000; }}
  server {{
    listen 127.0.0.1:{port} http2; http2_max_concurrent_streams 1000;
    keepalive_requests 100000000; grpc_read_timeout 1h; grpc_send_timeout 1h;
    location / {{ grpc_pass grpc://there; }}
  }}
}}
"""
TEMPORARY = "".join(
    f"{kind}_temp_path {kind};" for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
)


@contextmanager
def service() -> Iterator[int]:
    """The port of a service of grpcio, in a process of its own on the load's core."""
    argv = ["taskset", "-c", str(LOAD), sys.executable, "-m", "tests.grpc.backend_process"]
    with subprocess.Popen(argv, cwd=CHECKOUT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            yield int(process.stdout.readline().rpartition(":")[2])
        finally:
            process.kill()


@contextmanager
def nginx(backend: int) -> Iterator[tuple[int, int]]:
    """Its process and its port."""
    port = free_port()
    with TemporaryDirectory() as folder:
        config = Path(folder) / "nginx.conf"
        config.write_text(NGINX.format(port=port, backend=backend, temporary=TEMPORARY))
        argv = ["nginx", "-p", folder, "-c", str(config)]
        with serving(argv, port, core=PROXY, log=Path(folder) / "log") as process:
            yield process.pid, port


@contextmanager
def hipache(backend: int, folder: Path | None = None) -> Iterator[tuple[int, int]]:
    """Its process and its port; one worker with an access log.

    With `folder` it runs below callgrind, under a bare uvicorn, and its counts come there.
    """
    port = free_port()
    with TemporaryDirectory() as temporary:
        home = folder or Path(temporary)
        routes = {HOST: {"backends": [f"h2c://127.0.0.1:{backend}"]}}
        (home / "routes.json").write_text(json.dumps(routes))
        limits = {"maxSockets": 2000, "http2": {"maxStreams": 1000}}
        values: dict[str, Any] = {
            "server": {"workers": 1, "accessLog": "access.log", "tcpTimeout": 3600, **limits},
            "http": {"port": port, "bind": ["127.0.0.1"], "http2": True},
            "driver": "file:routes.json", "admin": {"bind": None},
            "user": None,
        }  # fmt: skip
        argv = [sys.executable, "-m", "app.cli", "serve"]
        if folder is not None:
            values["server"]["maxLoopLag"] = 0  # below valgrind the loop is late by nature
            serving_app = ["app:create_app", "--factory", "--port", str(port), "--no-access-log"]
            argv = [*RUNNER, sys.executable, "-m", "uvicorn", *serving_app]
        (home / "config.json").write_text(json.dumps(values))
        env = {"PYTHONPATH": str(CHECKOUT), "HIPACHE_CONFIG": str(home / "config.json")}
        with serving(argv, port, core=PROXY, log=home / "log", env=env) as process:
            yield process.pid, port


async def unary(channel: grpc.aio.Channel, calls: int) -> None:
    """`calls` calls, AT_ONCE at a time."""
    call = channel.unary_unary("/t.Service/Unary")

    async def one_after_another() -> None:
        for _ in range(calls // AT_ONCE):
            await call(MESSAGE)

    await asyncio.gather(*(one_after_another() for _ in range(AT_ONCE)))


async def stream(channel: grpc.aio.Channel, messages: int) -> None:
    """`messages` messages there and back, on AT_ONCE streams."""
    begin = channel.stream_stream("/t.Service/Echoing")

    async def ping_pong() -> None:
        call = begin()
        for _ in range(messages // AT_ONCE):
            await call.write(MESSAGE)
            if await call.read() != MESSAGE:
                raise SystemExit("a message came back as another one")
        await call.done_writing()
        if await call.code() is not grpc.StatusCode.OK:
            raise SystemExit(f"a stream ended with {await call.code()}")

    await asyncio.gather(*(ping_pong() for _ in range(AT_ONCE)))


Load = Callable[[grpc.aio.Channel, int], Awaitable[None]]
LOADS: dict[str, Load] = {"unary": unary, "stream": stream}


async def cost(process: int, port: int, load: Load, count: int) -> float:
    """CPU microseconds of the proxy for one of `count`."""
    async with calling(port, HOST) as channel:
        await load(channel, count // 10)
        before = cpu_seconds([process])
        await load(channel, count)
        return (cpu_seconds([process]) - before) / count * 1e6


async def latency(port: int, rate: int, calls: int) -> list[float]:
    """Sorted milliseconds of `calls`, of which `rate` a second are begun, come what may."""
    took: list[float] = []
    loop = asyncio.get_running_loop()
    async with calling(port, HOST) as channel:
        call = channel.unary_unary("/t.Service/Unary")
        await unary(channel, 100)

        async def one(due: float) -> None:
            await call(MESSAGE)
            took.append((loop.time() - due) * 1000)

        async with asyncio.TaskGroup() as tasks:
            begin = loop.time()
            for number in range(calls):
                due = begin + number / rate
                await asyncio.sleep(max(0.0, due - loop.time()))
                tasks.create_task(one(due))
    return sorted(took)


def resident(process: int) -> int:
    """Bytes of the processes below `process`."""
    each = [psutil.Process(process), *psutil.Process(process).children(recursive=True)]
    return sum(one.memory_info().rss for one in each)


async def held(process: int, port: int, number: int) -> float:
    """KiB of the proxy for each of `number` streams that are open at once and say nothing."""
    async with calling(port, HOST) as channel:
        begin = channel.unary_stream("/t.Service/Waiting")

        async def hold(count: int) -> list[object]:
            calls = [begin(b"") for _ in range(count)]
            for call in calls:
                if await call.read() != b"begun":
                    raise SystemExit("a stream did not begin")
            return list(calls)

        kept = await hold(10)
        before = resident(process)
        kept += await hold(number - len(kept))
        return (resident(process) - before) / (number - 10) / 1024


def compare_costs(backend: int, names: Sequence[str], rounds: int, count: int) -> None:
    """A line for each load: both proxies, and the ratio of their medians."""
    with nginx(backend) as theirs, hipache(backend) as ours:
        for name in names:
            spent: dict[str, list[float]] = {"nginx": [], "hipache": []}
            for _ in range(rounds):
                for proxy, (process, port) in (("nginx", theirs), ("hipache", ours)):
                    spent[proxy].append(asyncio.run(cost(process, port, LOADS[name], count)))
            middle = {proxy: median(each) for proxy, each in spent.items()}
            print(
                f"{name:<8} nginx {middle['nginx']:4.0f} µs, hipache {middle['hipache']:4.0f} µs:"
                f" {middle['hipache'] / middle['nginx']:.2f}",
                flush=True,
            )


async def counted(process: int, port: int, load: Load, count: int) -> None:
    """Have callgrind count `count` of them, once as many have warmed the proxy up."""
    async with calling(port, HOST) as channel:
        await load(channel, count)
        ordered(process, "--instr=on")
        await load(channel, count)
        ordered(process, "--instr=off", "--dump")


def count_instructions(backend: int, names: Sequence[str], count: int) -> None:
    """A line for each load: instructions of ours for one call or message."""
    for name in names:
        with TemporaryDirectory() as folder, hipache(backend, Path(folder)) as (process, port):
            asyncio.run(counted(process, port, LOADS[name], count))
            total, _ = count_of(Path(folder))
            print(f"{name:<8} {total / count:10,.0f} instructions", flush=True)


async def capacity(port: int, calls: int) -> float:
    """Calls a second of clients that each wait for their answer."""
    loop = asyncio.get_running_loop()
    async with calling(port, HOST) as channel:
        await unary(channel, calls)
        begin = loop.time()
        await unary(channel, calls)
        return calls / (loop.time() - begin)


@contextmanager
def beside_the_service() -> Iterator[None]:
    """Keep this process, with grpcio's threads, on the service's core.

    Else direct calls had two cores, and those through the proxy what it leaves of its own.
    """
    before = os.sched_getaffinity(0)
    _pin({LOAD})
    try:
        yield
    finally:
        _pin(before)


def _pin(where: set[int]) -> None:
    for thread in Path("/proc/self/task").iterdir():
        with suppress(ProcessLookupError):  # it has ended meanwhile
            os.sched_setaffinity(int(thread.name), where)


def compare_latencies(backend: int, rounds: int, rate: int, calls: int) -> None:
    """Direct calls and those through the proxy, in turns; `rate` 0: half of what can be done."""
    with hipache(backend) as (_, port), beside_the_service():
        if not rate:
            most = asyncio.run(capacity(port, calls))
            rate = int(most / 2)
            print(f"latency  the whole way does {most:.0f} calls/s", flush=True)
        tails: dict[str, list[float]] = {"direct": [], "hipache": []}
        for _ in range(rounds):
            for name, where in (("direct", backend), ("hipache", port)):
                took = asyncio.run(latency(where, rate, calls))
                middle, tail = (took[int(len(took) * part)] for part in (0.5, 0.99))
                tails[name].append(tail)
                print(
                    f"latency  {name:<8} {rate} calls/s: p50 {middle:.2f} ms, p99 {tail:.2f} ms",
                    flush=True,
                )
        more = median(tails["hipache"]) - median(tails["direct"])
        print(f"latency  p99 through the proxy: {more:+.2f} ms (medians of {rounds})", flush=True)


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each figure."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.grpc_calls")
    parts = [*LOADS, "latency", "held"]
    options.add_argument("what", nargs="*", choices=[*parts, "instructions", []])
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--count", type=int, default=10_000, help="calls or messages of a round")
    options.add_argument("--rate", type=int, default=0, help="calls a second; 0: half of the most")
    options.add_argument("--streams", type=int, default=1000, help="held open at once")
    chosen = options.parse_args(argv)
    what = chosen.what or parts
    with ending_in_order(), service() as backend:
        if "instructions" in what:
            count_instructions(backend, list(LOADS), 1000)
        if loads := [name for name in LOADS if name in what]:
            compare_costs(backend, loads, chosen.rounds, chosen.count)
        if "latency" in what:
            compare_latencies(backend, chosen.rounds, chosen.rate, chosen.count)
        if "held" in what:
            with hipache(backend) as (process, port):
                size = asyncio.run(held(process, port, chosen.streams))
            print(f"held     {chosen.streams} streams at once: {size:.1f} KiB each", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
