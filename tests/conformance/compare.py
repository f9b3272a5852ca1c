"""Who holds what of the tables: `python -m tests.conformance.compare` (make compare-conformance).

Every proxy gets the same bytes and the same backends. Hipache runs as `hipache serve` does;
nginx and haproxy with nothing configured but the routes. Prints what did not hold, and writes the
counts into README.md beside this file, where all three are installed.
"""

from __future__ import annotations

import re
import subprocess
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from tests.conformance.answering import HOST, answering, run_answer
from tests.conformance.answers import ANSWERS, answer_cases
from tests.conformance.backend import observing
from tests.conformance.case import run
from tests.conformance.forwarding import FORWARDING
from tests.conformance.framing import FRAMING
from tests.conformance.hurting import HURTS, backends, host_of, run_hurt
from tests.conformance.proxies import Sites, commands, started
from tests.conformance.requests import REQUESTS
from tests.ports import free_port

README = Path(__file__).parent / "README.md"
Verdicts = dict[str, str]
"""Per case what did not hold, empty where all did."""
Address = tuple[str, int]
VERSIONS = {"nginx": ["nginx", "-v"], "haproxy": ["haproxy", "-v"]}

REQUEST_GROUPS = (*REQUESTS, *FRAMING, *FORWARDING)


@contextmanager
def running(name: str, sites: Sites, *, short: bool = False) -> Iterator[Address]:
    """The proxy of that name, with these routes."""
    port = free_port()
    with tempfile.TemporaryDirectory() as folder:
        command = commands(Path(folder), port, sites, short=short)[name]
        with started(command, port):
            yield "127.0.0.1", port


def requests_at(name: str) -> Verdicts:
    """What clients send."""
    with observing() as observer, running(name, {"*": [observer.port]}) as address:
        cases = [case for group in REQUEST_GROUPS for case in group()]
        return {case.name: run(case, address, observer.take) for case in cases}


def answers_at(name: str) -> Verdicts:
    """What backends answer."""
    cases = answer_cases()
    with answering(cases) as backend, running(name, {HOST: [backend.port]}) as address:
        return {case.name: run_answer(case, backend, address) for case in cases}


def hurts_at(name: str) -> Verdicts:
    """Who is hurt by what a visitor does."""
    with ExitStack() as stack:
        pairs = {hurt: stack.enter_context(backends(2)) for hurt in HURTS}
        sites = {host_of(hurt): [each.port for each in pair] for hurt, pair in pairs.items()}
        address = stack.enter_context(running(name, sites, short=True))
        return {hurt.__name__: run_hurt(hurt, address) for hurt in HURTS}


Section = tuple[Callable[[str], Verdicts], dict[str, list[str]]]
SECTIONS: dict[str, Section] = {
    "requests": (
        requests_at, {group.__name__: [case.name for case in group()] for group in REQUEST_GROUPS},
    ),
    "answers": (
        answers_at, {group.__name__: [case.name for case in group()] for group in ANSWERS},
    ),
    "hurt": (hurts_at, {hurt.__name__: [hurt.__name__] for hurt in HURTS}),
}  # fmt: skip
"""How each section is tried, and the names of its cases by group."""


def counts(tables: dict[str, Verdicts], groups: dict[str, list[str]]) -> Iterator[list[str]]:
    """A row for each group: its name, its cases, and how many each proxy holds."""
    everything = [case for cases in groups.values() for case in cases]
    for group, cases in (groups | {"all": everything}).items():
        held = [sum(not table[case] for case in cases) for table in tables.values()]
        yield [group, str(len(cases)), *map(str, held)]


def row_of(section: str, group: str) -> re.Pattern[str]:
    """Finds the row of a group in README.md; what the group asks is in it."""
    return re.compile(
        rf"(?s)(<!-- {section} -->.*?^\| {re.escape(group)} \|[^|\n]*\|)[^\n]*$", re.M
    )


def write(section: str, rows: Iterable[list[str]]) -> None:
    """Put the counts into README.md, where each group has a row."""
    text = README.read_text("utf-8")
    for group, *numbers in rows:
        text = row_of(section, group).sub(rf"\1 {' | '.join(numbers)} |", text, count=1)
    README.write_text(text, "utf-8")


def _version(name: str) -> str:
    done = subprocess.run(
        VERSIONS[name], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    found = re.search(r"\d+\.\d+", done.stdout)
    return found[0] if found else "?"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        names = list(commands(Path(folder), 0, {"*": [0]}))
    for section, (tried_at, groups) in SECTIONS.items():
        tables = {name: tried_at(name) for name in names}
        for case in tables[names[0]]:
            for name, table in tables.items():
                if table[case]:
                    print(f"{case}\n    {name}: {table[case][:120]}")
        rows = list(counts(tables, groups))
        print(f"\n{section:18}{'cases':>7}", *(f"{name:>9}" for name in names))
        for group, *numbers in rows:
            print(f"{group:18}{numbers[0]:>7}", *(f"{number:>9}" for number in numbers[1:]))
        print()
        if {*VERSIONS} <= {*names}:
            write(section, rows)
    print(*(f"{name} {_version(name)}" for name in VERSIONS if name in names))


if __name__ == "__main__":
    main()
