"""The comparison: `python -m bench.compare`, or `make bench`."""

from __future__ import annotations

import argparse
import platform
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import procfs
from bench.compare import needs, report
from bench.compare.proxies import Direct, NodeHttpProxy, Proxy, known
from bench.compare.results import Sample
from bench.compare.rig import rig
from bench.compare.scenarios import BY_NAME, HttpScenario, Scenario
from bench.processes import BenchError

SMOKE_SCENARIO = "echo_small"
SMOKE_PROXIES = (Direct("direct-a"), Direct("direct-b"))
"""The rig measures itself: two servers that are one program, and must come out alike."""


def main(argv: Sequence[str] | None = None, proxies: Sequence[Proxy] = ()) -> int:
    """Measure `proxies`, or those that the command line names.

    Exit status 1 if a run had errors, 2 if nothing could be measured.
    """
    options = parser().parse_args(argv)
    try:
        scenarios = [BY_NAME[name] for name in _pick(options.only, BY_NAME)]
        whole = not (options.smoke or proxies or options.only or options.proxies)
        if options.smoke:
            scenarios, proxies = [BY_NAME[SMOKE_SCENARIO]], SMOKE_PROXIES
        else:
            proxies = install(proxies or [known()[it] for it in _pick(options.proxies, known())])
        samples = measure(scenarios, proxies, options.rounds, options.seconds)
    except BenchError as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    facts = {
        **machine_facts(),
        "rounds": f"{options.rounds} of {options.seconds:g} s, interleaved",
        **{proxy.name: proxy.version() for proxy in proxies},
    }
    folder = options.results or (report.RESULTS if whole else report.PARTIAL)
    report.write(samples, facts, folder)
    print(report.page(samples, facts), f"Written to {folder}.", sep="\n")
    return int(any(sample.errors for sample in samples))


def parser() -> argparse.ArgumentParser:
    """The command line."""
    result = argparse.ArgumentParser(prog="python -m bench.compare", description=__doc__)
    result.add_argument("--rounds", type=int, default=5)
    result.add_argument("--seconds", type=float, default=3.0, help="of load per measurement")
    result.add_argument("--only", default="", help="scenarios, separated by commas")
    result.add_argument("--proxies", default="", help="proxies, separated by commas")
    result.add_argument(
        "--results",
        type=Path,
        help="folder to write to; default: results/ for the whole comparison, .work/ else",
    )
    result.add_argument(
        "--smoke", action="store_true", help="measure the echo server against itself: no proxy"
    )
    return result


def install(proxies: Sequence[Proxy]) -> list[Proxy]:
    """Install what `proxies` and the load need; those of them that can be measured then."""
    needs.install({"nginx", "wrk", "h2load"}.union(*(proxy.programs for proxy in proxies)))
    if any(isinstance(proxy, NodeHttpProxy) for proxy in proxies):
        needs.install_node_http_proxy()
    if gone := needs.missing({"nginx", "wrk", "h2load"}):
        raise BenchError(f"needs {', '.join(sorted(gone))} on PATH")
    here = []
    for proxy in proxies:
        if reason := proxy.absent():
            print(f"bench: without {proxy.name}: {reason}", file=sys.stderr)
        else:
            here.append(proxy)
    if not here:
        raise BenchError("no proxy to measure")
    return here


def measure(
    scenarios: Sequence[Scenario], proxies: Sequence[Proxy], rounds: int, seconds: float
) -> list[Sample]:
    """All samples; a line on standard error for each as it comes."""
    samples = []
    http = any(isinstance(scenario, HttpScenario) for scenario in scenarios)
    started = time.monotonic()
    with rig(proxies, http_backend=http) as running:
        for sample in running.rounds(scenarios, rounds, seconds):
            samples.append(sample)
            print(
                f"{time.monotonic() - started:5.0f} s  round {sample.round + 1}/{rounds}  "
                f"{sample.scenario:<15} {sample.proxy:<16} {sample.cpu_us:9.1f} µs  "
                f"{sample.requests / sample.seconds:8.0f}/s  errors {sample.errors}",
                file=sys.stderr,
                flush=True,
            )
    return samples


def machine_facts() -> dict[str, str]:
    """Where this was measured."""
    core, load_core = procfs.cores()
    return {
        "machine": f"{procfs.cpu_model()}, Linux {platform.release()}; "
        f"proxy on core {core}, load and backend on core {load_core}",
        "python": interpreter(),
    }


def interpreter() -> str:
    """Which Python this is, and how it was linked: builds differ by a tenth of a request."""
    linked = "libpython" in Path("/proc/self/maps").read_text()
    return (
        f"{platform.python_version()} of {Path(sys.executable).resolve()}, "
        f"{platform.python_compiler()}, {'libpython shared' if linked else 'one binary'}"
    )


def _pick(text: str, all_names: Iterable[str]) -> list[str]:
    """The names in `text`, or all; BenchError for one that is not known."""
    if not text:
        return list(all_names)
    names = text.split(",")
    if unknown := set(names) - set(all_names):
        raise BenchError(f"no such name: {', '.join(sorted(unknown))}; {', '.join(all_names)}")
    return names


if __name__ == "__main__":
    sys.exit(main())
