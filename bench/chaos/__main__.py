"""The chaos run: `python -m bench.chaos` (make chaos), SECONDS=600, SEED=… for the same order.

Two proxies of two workers on one Redis serve three tenants: GETs, uploads and WebSockets of
two that are well, and a hostile one. One fault after the other happens, each drawn by the
seed. The two lose no request but those on a killed worker, which are asked again and
counted apart. In the end everything is as it was: nothing in flight, nobody marked who is
well, every tenant served, and after the end no process and no socket file.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

from bench.chaos import faults
from bench.chaos.clients import Seen, visitors
from bench.chaos.site import GAUGES, HOSTILE, WELL, Proxy, Site
from bench.processes import ending_in_order
from bench.soak.load import Wire, request

SETTLES_WITHIN = 40.0
"""Seconds: a hanging backend holds a request for tcpTimeout, a WebSocket ends in order."""
BREATH = (0.2, 1.0)
"""Seconds between two faults."""


class Chaos:
    """One run, and what was found wrong."""

    def __init__(self, site: Site, seed: int, only: list[str]) -> None:
        self.only = only
        self.site = site
        self.rng = random.Random(seed)
        self.seen, self.hostile = Seen(), Seen()
        self.happened: Counter[str] = Counter()
        self.wrong: list[str] = []

    async def run(self, seconds: float) -> None:
        """Faults under load, for so long, and a look at what is left."""
        running = visitors(self.site, self.seen, self.hostile)
        await self._warm()
        end = time.monotonic() + seconds
        chosen = faults.possible(self.site, self.only)
        for fault in faults.without_end(chosen, self.rng):
            if time.monotonic() > end:
                break
            # A seed of its own: what one fault draws does not change the next ones.
            own = random.Random(self.rng.random())
            began = time.monotonic()
            print(time.strftime("%H:%M:%S"), fault.__name__, end="", flush=True)
            await fault(self.site, own)
            self.happened[fault.__name__] += 1
            print(f" {time.monotonic() - began:.1f} s", flush=True)
            await asyncio.sleep(own.uniform(*BREATH))
            if len(self.seen.lost) >= 30:
                break
        for visitor, _ in running:
            visitor.stopping = True
        await asyncio.gather(*(task for _, task in running))
        await self._consistent()

    async def _warm(self) -> None:
        """Until everybody was served and both snapshots have the tenants."""
        snapshots = [proxy.folder / "routes.json" for proxy in self.site.proxies]
        await self._until(
            lambda: all(path.exists() and _has_all(path) for path in snapshots), "no snapshot"
        )

    async def _until(self, true: object, otherwise: str) -> None:
        end = time.monotonic() + SETTLES_WITHIN
        while not true():  # type: ignore[operator]
            if time.monotonic() > end:
                self.wrong.append(otherwise)
                return
            await asyncio.sleep(0.1)

    async def _consistent(self) -> None:
        for proxy in self.site.proxies:
            for host in (*WELL, HOSTILE):
                await self._served(proxy, host)
        for proxy in self.site.proxies:
            await self._settled(proxy)
        async with self.site.redis.client as client:
            for host in WELL:
                if marks := await client.smembers(f"dead:{host}"):
                    self.wrong.append(f"{host} is well, and {marks} are marked dead")

    async def _served(self, proxy: Proxy, host: str) -> None:
        end = time.monotonic() + SETTLES_WITHIN
        while True:
            try:
                async with asyncio.timeout(10):
                    wire = await Wire.open(proxy.port)
                    wire.writer.write(request(b"GET", b"/plain/5", host=host.encode()))
                    status, head, _ = await wire.answer()
                    wire.writer.close()
            except (OSError, EOFError) as exc:
                status, head = 0, repr(exc).encode()
            if status == 200:
                return
            if time.monotonic() > end:
                self.wrong.append(f"{host} is not served at {proxy.folder.name}: {head!r}")
                return
            await asyncio.sleep(0.2)

    async def _settled(self, proxy: Proxy) -> None:
        end = time.monotonic() + SETTLES_WITHIN
        while True:
            sums = await proxy.gauges()
            left = {name: sums[name] for name in GAUGES if sums[name]}
            if not left:
                return
            if time.monotonic() > end:
                self.wrong.append(f"{proxy.folder.name} still counts {left}")
                return
            await asyncio.sleep(0.2)

    def after_the_end(self) -> None:
        """No process of a proxy, no socket file, no traceback."""
        proxies = [p for p in self.site.everything() if "serve" in p.cmdline()]
        if proxies:
            self.wrong.append(f"still running: {[p.cmdline() for p in proxies]}")
        for proxy in self.site.proxies:
            if left := faults.left_sockets(proxy.folder):
                self.wrong.append(f"{proxy.folder.name} left {left}")
            log = proxy.log.read_text(errors="replace")
            if (at := log.find("Traceback")) >= 0:
                self.wrong.append(f"{proxy.folder.name} logged:\n{log[at - 500 : at + 3000]}")


def _has_all(path: Path) -> bool:
    text = path.read_text()
    return all(host in text for host in WELL)


async def chaos(seconds: float, seed: int, only: list[str]) -> int:
    """Exit status: 1 if anything was wrong."""
    print(f"seed {seed}", flush=True)
    with tempfile.TemporaryDirectory(prefix="hipache-chaos-") as name:
        site = Site(Path(name))
        run = Chaos(site, seed, only)
        try:
            await site.start()
            await run.run(seconds)
            await asyncio.gather(*(proxy.stop() for proxy in site.proxies))
            run.after_the_end()
        finally:
            await site.aclose()
        if run.wrong or run.seen.lost:
            print(*(proxy.log.read_text()[-3000:] for proxy in site.proxies), sep="\n")
    print(*(f"{count:>9,} {what}" for what, count in run.seen.outcomes.most_common()), sep="\n")
    print(f"{run.hostile.outcomes.total():>9,} of the hostile tenant")
    print(*run.seen.lost, *run.wrong, sep="\n")
    held = not (run.wrong or run.seen.lost)
    count = run.happened.total()
    print(f"seed {seed}: {count} faults, {'held' if held else 'did not hold'}")
    return not held


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="python -m bench.chaos", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--only", type=lambda text: text.split(","), default=[], metavar="FAULT,…")
    args = parser.parse_args()
    wanted = random.randrange(10**6) if args.seed is None else args.seed
    with ending_in_order():
        sys.exit(asyncio.run(chaos(args.seconds, wanted, args.only)))
