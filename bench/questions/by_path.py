"""What a request by path costs beside one by host.

`python -m bench.questions.by_path` counts instructions per small GET, as
`bench.questions.instructions` does: of a host without prefixes, and of the same request where
the host's prefix `/small` serves it; at last with 5,000 prefixes beside it.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass

import redis

from bench.compare import needs
from bench.compare.rig import rig
from bench.compare.scenarios import BY_NAME
from bench.compare.sites import HOSTS, Site
from bench.questions.asgi_overhead import UnderUvicorn
from bench.questions.instructions import RUNNER, instructions

AT_MOST = 1.05
"""Times what a request by host costs."""
PROGRAMS = {"nginx", "redis-server", "valgrind"}


@dataclass
class ByPath(UnderUvicorn):
    """Hipache, whose one host has prefixes and no list of its own."""

    others: int = 0
    """Prefixes beside the one that serves."""

    def _write_routes(self, database: int, site: Site) -> None:
        super()._write_routes(database, site)
        host, backend = HOSTS[0], f"http://127.0.0.1:{site.backend}"
        with redis.Redis(port=database) as store, store.pipeline() as pipeline:
            pipeline.delete(f"frontend:{host}")
            for prefix in ("/small", *(f"/user/{number}" for number in range(self.others))):
                pipeline.rpush(f"frontend:{host}{prefix}", "bench", backend)
                pipeline.sadd(f"paths:{host}", prefix)
            pipeline.execute()


def main(argv: Sequence[str] | None = None) -> int:
    """Prints a line for each kind, and whether the bound is kept."""
    options = argparse.ArgumentParser(prog="python -m bench.questions.by_path", description=__doc__)
    options.add_argument("--requests", type=int, default=3000)
    requests = options.parse_args(argv).requests
    needs.install(PROGRAMS)
    if gone := needs.missing(PROGRAMS):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    by_host, by_path = UnderUvicorn("by-host"), ByPath("by-path")
    with rig((by_host, by_path, ByPath("of-5000", others=5000)), runner=RUNNER) as running:
        running.check(BY_NAME["small_get"])
        found = {proxy.name: instructions(proxy, requests) for proxy in running.running}
    least = found[by_host.name]
    for name, count in found.items():
        print(f"{name:<16} {count:10,.0f} instructions per request, {count / least:.3f}")
    return 0 if max(found.values()) <= AT_MOST * least else 1


if __name__ == "__main__":
    sys.exit(main())
