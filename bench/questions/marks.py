"""How soon every worker knows of a mark: milliseconds from the failure to each worker's memory.

    python -m bench.questions.marks [ROUNDS]

Four processes stand for the workers of two proxies: each has the store that a
worker has, on one Valkey. In turns one of them marks a backend dead; the others
note when the mark is in their memory, where the next request will see it. The
goal is 10 ms at the 99th percentile, on a machine that is not busy.
"""

from __future__ import annotations

import asyncio
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from multiprocessing import Pipe, Process
from multiprocessing.connection import Connection
from pathlib import Path

import uvloop

from app.config.store_address import StoreAddress
from app.config.structs import Config, ServerConfig
from app.routing import Mark, Marks
from app.stores import open_store
from app.stores.embedded.store import find_server

HOST, WORKERS = "www.example.com", 4


def worker(url: str, number: int, pipe: Connection) -> None:
    """One worker's store; does what it is told through the pipe."""
    uvloop.run(_work(url, number, pipe))


async def _work(url: str, number: int, pipe: Connection) -> None:
    store = open_store(Config(driver=(StoreAddress(url),), server=ServerConfig(snapshot=None)))
    await store.start()
    await store.find(HOST)
    loop, changed, set_marks = asyncio.get_running_loop(), asyncio.Event(), store._memory.set_marks

    def tell(key: str, marks: Marks) -> None:
        set_marks(key, marks)
        changed.set()

    store._memory.set_marks = tell  # type: ignore[method-assign]
    pipe.send("ready")
    while (order := await loop.run_in_executor(None, pipe.recv)) is not None:
        marker, reason = order
        if number == marker:
            frontend = (await store.find(HOST)).frontend
            now = time.time()
            store.mark_dead(frontend, frontend.backends[0], Mark(now + 60, now, reason, "bench"))
            pipe.send(now)
            continue
        while not any(mark.reason == reason for mark in (await store.find(HOST)).marks.values()):
            changed.clear()
            await changed.wait()
        pipe.send(time.time())
    await store.aclose()


def measure(url: str, rounds: int) -> list[float]:
    """Milliseconds, one figure for each mark and each other worker."""
    pipes, processes = [], []
    for number in range(WORKERS):
        ours, theirs = Pipe()
        process = Process(target=worker, args=(url, number, theirs), daemon=True)
        process.start()
        pipes.append(ours)
        processes.append(process)
    for pipe in pipes:
        pipe.recv()
    found = []
    for turn in range(rounds):
        marker, others = turn % WORKERS, [n for n in range(WORKERS) if n != turn % WORKERS]
        for number in (*others, marker):  # the others look already when it happens
            pipes[number].send((marker, f"round {turn}"))
        marked = pipes[marker].recv()
        found += [(pipes[number].recv() - marked) * 1000 for number in others]
    for pipe, process in zip(pipes, processes, strict=True):
        pipe.send(None)
        process.join()
    return found


def main() -> None:
    """Print the percentiles."""
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 500
    folder = Path(tempfile.mkdtemp())
    socket = folder / "valkey.sock"
    command = [str(find_server()), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    with subprocess.Popen(command, cwd=folder, stdout=subprocess.DEVNULL) as server:
        try:
            import redis

            client = redis.Redis(unix_socket_path=str(socket))
            while not socket.exists():
                time.sleep(0.01)
            client.rpush(f"frontend:{HOST}", "id", "http://127.0.0.1:1", "http://127.0.0.1:2")
            figures = measure(f"unix://{socket}", rounds)
        finally:
            server.terminate()
    shutil.rmtree(folder)
    cuts = statistics.quantiles(figures, n=100)
    print(f"{len(figures)} sightings of {rounds} marks by {WORKERS} workers")
    print(f"p50 {cuts[49]:.2f} ms   p90 {cuts[89]:.2f} ms   p99 {cuts[98]:.2f} ms", end="   ")
    print(f"max {max(figures):.2f} ms")


if __name__ == "__main__":
    main()
