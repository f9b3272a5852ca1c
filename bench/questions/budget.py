"""Where the instructions of a small GET go: `python -m bench.questions.budget`.

Counts them with valgrind's callgrind, which a busy machine does not disturb, for each PART below.
Callgrind knows C functions only, so each part's Python function is called through a C function
of its own (stages.c, which needs gcc and Python's headers). What that adds is taken off again,
from each part as often as its inner parts are called. The kernel's work is missing.
"""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from starlette.types import ASGIApp

from app import create_app
from bench.compare import needs
from bench.compare.report import table
from bench.compare.rig import rig
from bench.compare.scenarios import BY_NAME
from bench.questions.asgi_overhead import BELOW_ASGI, UnderUvicorn
from bench.questions.instructions import RUNNER, counted, instructions

PROGRAMS = {"nginx", "redis-server", "valgrind", "gcc"}
SOURCE = Path(__file__).with_name("stages.c")
STAGES = "HIPACHE_BENCH_STAGES"
"""The folder of the compiled module, in the environment of the proxy."""
REQUESTS = 3000


@dataclass(frozen=True, slots=True)
class Part:
    """A function that only its outer part calls, once in each request at most."""

    row: str
    place: str
    """`module:name`, where it is looked up; in `app`."""
    inner: tuple[Part, ...] = ()


LOOP = "event loop: reads both sides, calls us"
OBJECTS = "connection, request and answer as objects"
ORDER = "order of events"
TO_BACKEND = "connection to the backend"
WRITE = "write to the backend"
PARTS = (
    Part(OBJECTS, "server.http_protocol:HttpProtocol.data_received", (
        Part("head of the request", "server.repeated_head:RepeatedHead.parse"),
        Part(OBJECTS, "server.http_protocol:Http1Stream"),
        Part(OBJECTS, "server.http_protocol:Exchange"),
        Part(ORDER, "proxy.fast_path:FastPath.begin", (
            Part(OBJECTS, "proxy.fast_path:Request"),
            Part(ORDER, "proxy.gateway:Gateway.begin", (
                Part("fields for the backend", "proxy.added_fields:AddedFields.add"),
            )),
            Part("routing", "proxy.decision:Decisions._by_host", (
                Part("fields for the backend", "proxy.decision:fields_of"),
            )),
            Part(ORDER, "proxy.attempts:Attempts.begin", (
                Part("balancing", "balancing.balancer:Balancer.begin"),
                Part(OBJECTS, "proxy.attempts:Attempt"),
            )),
            Part(ORDER, "proxy.fast_path:FastPath.send", (
                Part(OBJECTS, "proxy.fast_path:FastAnswer"),
                Part(TO_BACKEND, "upstream.transport:Transport.send_now", (
                    Part(WRITE, "upstream.backend_connection:BackendConnection.begin"),
                )),
            )),
        )),
    )),
    Part(TO_BACKEND, "upstream.backend_connection:BackendConnection.data_received", (
        Part("head of the answer", "upstream.parsing:AnswerParser.feed"),
        Part(TO_BACKEND, "upstream.backend_connection:BackendConnection._settle"),
        Part(ORDER, "proxy.fast_path:FastAnswer.on_whole", (
            Part(ORDER, "proxy.http_proxy:HttpProxy.head_down", (
                Part("fields for the client", "proxy.http_proxy:response_headers"),
                Part("judging the backend", "proxy.attempts:Attempts.answered"),
            )),
            Part("balancing", "balancing.balancer:Balancer.finished"),
            Part("write to the client", "server.http1_stream:Http1Stream.answer", (
                Part("next request", "server.http_protocol:HttpProtocol.response_done"),
            )),
            Part(ORDER, "proxy.gateway:Gateway.end", (
                Part("metrics", "proxy.observers:CountersObserver.ended"),
                Part("access log", "proxy.observers:AccessLogObserver.ended"),
            )),
        )),
    )),
)  # fmt: skip
"""In the order of a request's way."""


def numbered(parts: Sequence[Part] = PARTS, start: int = 0) -> Iterator[tuple[int, Part]]:
    """Each part with its number, outer ones first."""
    for part in parts:
        yield start, part
        start += 1
        for number, inner in numbered(part.inner, start):
            yield number, inner
            start = number + 1


def staged() -> ASGIApp:
    """The application, each of its parts called through its stage."""
    sys.path.insert(0, os.environ[STAGES])
    stage = importlib.import_module("stages").stage
    # All are looked up before the first is replaced: some are classes with parts inside.
    for number, (holder, name, function) in [(n, found(part)) for n, part in numbered()]:
        setattr(holder, name, stage(number, function))
    return create_app()


def found(part: Part) -> tuple[object, str, Callable[..., object]]:
    """Where a part's function is looked up, by which name, and the function."""
    module, _, path = part.place.partition(":")
    holder: object = importlib.import_module(f"app.{module}")
    *outer, name = path.split(".")
    for step in outer:
        holder = getattr(holder, step)
    return holder, name, getattr(holder, name)


def build(folder: Path) -> None:
    """Compile the stages."""
    headers = sysconfig.get_paths()["include"]
    command = ["gcc", "-O2", "-fno-ipa-icf", "-shared", "-fPIC", f"-I{headers}"]
    subprocess.run([*command, SOURCE, "-o", folder / "stages.so"], check=True)


def stage_costs(callgrind: str) -> dict[int, tuple[int, int]]:
    """Calls and instructions (all within) of each stage, in callgrind's output.

    >>> stage_costs('cfn=(2) stage_7\\ncalls=3 0\\n0 100\\n1 5\\ncfn=(2)\\ncalls=1 0\\n0 9')
    {7: (4, 109)}
    """
    names: dict[str, str] = {}
    costs: dict[int, tuple[int, int]] = {}
    called = ""
    lines = iter(callgrind.splitlines())
    for line in lines:
        if match := re.match(r"(c?)fn=(\(\d+\))(?: (.*))?", line):
            names.setdefault(match[2], match[3] or "")
            if match[1]:
                called = names[match[2]]
        elif line.startswith("calls=") and (stage := re.fullmatch(r"stage_(\d+)", called)):
            calls, cost = int(line[6:].split()[0]), int(next(lines).split()[-1])
            before = costs.get(int(stage[1]), (0, 0))
            costs[int(stage[1])] = before[0] + calls, before[1] + cost
    return costs


def budget(
    costs: dict[int, tuple[int, int]], total: int, plain: float, requests: int
) -> dict[str, float]:
    """Instructions of each row per request; `plain`: those of a request without stages."""
    added = (total / requests - plain) * requests / sum(calls for calls, _ in costs.values())
    rows = dict.fromkeys([LOOP, *(part.row for _, part in numbered())], 0.0)

    def spend(row: str, within: float, inner: Sequence[tuple[int, Part]]) -> None:
        for number, _ in inner:
            calls, cost = costs.get(number, (0, 0))
            within -= cost + added * calls
        rows[row] += within / requests

    numbers = {id(part): number for number, part in numbered()}
    inner_of: list[tuple[str, tuple[Part, ...], float]] = [(LOOP, PARTS, float(total))]
    for number, part in numbered():
        inner_of.append((part.row, part.inner, float(costs.get(number, (0, 0))[1])))
    for row, inner, within in inner_of:
        spend(row, within, [(numbers[id(part)], part) for part in inner])
    return rows


def main() -> int:
    """Prints the table."""
    needs.install(PROGRAMS)
    if gone := needs.missing(PROGRAMS):
        print(f"needs {', '.join(sorted(gone))} on PATH", file=sys.stderr)
        return 2
    with tempfile.TemporaryDirectory(prefix="hipache-stages-") as name:
        build(Path(name))
        os.environ[STAGES] = name
        proxies = [BELOW_ASGI, UnderUvicorn("staged", factory="bench.questions.budget:staged")]
        with rig(proxies, runner=RUNNER) as running:
            running.check(BY_NAME["small_get"])
            plain, with_stages = running.running
            per_request = instructions(plain, REQUESTS)
            total, requests, output = counted(with_stages, REQUESTS)
            rows = budget(stage_costs(output), total, per_request, requests)
    shown = [
        [row, f"{cost:,.0f}", f"{cost / sum(rows.values()):.1%}"] for row, cost in rows.items()
    ]
    shown.append(["all", f"{sum(rows.values()):,.0f}", ""])
    print(table(["part", "instructions", "share"], shown))
    return 0


if __name__ == "__main__":
    sys.exit(main())
