"""`hipache route import` of large tables: in pieces, with a word about the way, and once more."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from app.commands.import_changes import IN_A_BLOCK, FrontendChange, ImportChanges
from app.stores.redis.table import ROWS_AT_ONCE
from app.stores.table import Entry
from tests.processes import ROOT, command
from tests.redis_servers import RedisServer

HOSTS = 3000
ONE = Entry("a", ("http://10.0.0.1",))


def write_table(folder: Path, driver: str, hosts: int = HOSTS) -> dict[str, Any]:
    table = {f"h{number}.test": {"id": "h", "backends": ["http://a:1"]} for number in range(hosts)}
    (folder / "new.json").write_text(json.dumps(table))
    (folder / "config.json").write_text(json.dumps({"driver": driver}))
    return table


def hipache(folder: Path, *words: str, stderr: int = subprocess.PIPE, **environ: str) -> str:
    """What it prints; on standard error only where that is a pipe."""
    done = subprocess.run(
        [sys.executable, "-m", "app.cli", *words], cwd=folder, text=True, check=True,
        env=os.environ | {"PYTHONPATH": str(ROOT)} | environ, stdout=subprocess.PIPE, stderr=stderr,
    )  # fmt: skip
    return done.stdout + (done.stderr or "")


@pytest.mark.parametrize(
    ("rows", "pieces"),
    [(None, [4]), (100, [4]), (4, [2, 2]), (5, [2, 2]), (1, [1, 1, 1, 1])],
)  # fmt: skip
def test_a_piece_has_as_many_frontends_as_the_store_takes(rows: int, pieces: list[int]) -> None:
    with ImportChanges() as changes:
        changes.add(FrontendChange("a", ONE, Entry("b", ONE.backends)))
        changes.add(FrontendChange("b", ONE, Entry("a")))
        changes.add(FrontendChange("gone", ONE, None))
        changes.add(FrontendChange("new", None, ONE))
        found = list(changes.pieces(rows))
    assert [len(piece) for piece in found] == pieces
    assert [change.key for piece in found for change in piece] == ["a", "b", "new", "gone"]


def test_changes_are_kept_in_their_order() -> None:
    """Hosts before their prefixes, and prefixes that go before their hosts; of any number."""
    rich = Entry("r", ("http://a", "http://b"), {"x": "1"}, {"path": "/"}, 9, below=2)
    with ImportChanges() as changes:
        for number in range(2 * IN_A_BLOCK + 1):
            changes.add(FrontendChange(f"{number:06}", rich, ONE))
            changes.add(FrontendChange(f"{number:06}/gone", rich, None))
        found = list(changes)
        assert (changes.changed, changes.removed, len(changes)) == (1001, 1001, 2002)
    keys = [change.key for change in found]
    assert keys[:1001] == sorted(keys[:1001])
    assert keys[1001:] == sorted(keys[1001:], reverse=True)
    assert all(change.before == rich for change in found)
    assert [change.after for change in found] == [ONE] * 1001 + [None] * 1001


async def test_a_large_table_is_written_in_pieces(valkey: RedisServer, tmp_path: Path) -> None:
    table = write_table(tmp_path, valkey.url)
    async with valkey.client as redis:
        before = (await redis.info("commandstats")).get("cmdstat_exec", {"calls": 0})["calls"]
        said = hipache(tmp_path, "route", "import", "new.json", "-y")
        writes = (await redis.info("commandstats"))["cmdstat_exec"]["calls"] - before
    assert writes >= HOSTS * 2 / ROWS_AT_ONCE
    assert "\nand 2,000 frontends more\n" in said
    assert re.search(r"^3,000 frontends added, 0 changed, 0 removed in [0-9.]+ s$", said, re.M)
    lines = re.findall(r"^([0-9,]+) of 3,000 frontends after", said, re.M)
    assert len(lines) == 10
    assert lines[-1] == "3,000"
    assert json.loads(hipache(tmp_path, "route", "export")) == table
    (tmp_path / "new.json").write_text("{}")
    said = hipache(tmp_path, "route", "import", "new.json", "--replace", "-y")
    assert "0 frontends added, 0 changed, 3,000 removed in" in said
    assert hipache(tmp_path, "route", "list") == ""


async def test_an_interrupted_import_goes_on(valkey: RedisServer, tmp_path: Path) -> None:
    """By one signal, and going on, by the other one."""
    table = write_table(tmp_path, valkey.url, 20_000)
    written = 0
    for number in (signal.SIGTERM, signal.SIGINT):
        total = f"{20_000 - written:,}"
        async with command("app.cli", "route", "import", "new.json", "-y", cwd=tmp_path) as run:
            await run.saw(rf"of {total} frontends after")
            run.signal(number)
            found = await run.saw(rf"interrupted: ([0-9,]+) of {total} frontends are written")
            assert await run.ended() == 1
        more = int(found[1].replace(",", ""))
        assert 0 < more < 20_000 - written
        written += more
    again = hipache(tmp_path, "route", "import", "new.json", "-y")
    added = re.search(r"^([0-9,]+) frontends added, 0 changed", again, re.M)
    assert added is not None
    assert written + int(added[1].replace(",", "")) == 20_000
    assert json.loads(hipache(tmp_path, "route", "export")) == table


def read_screen(screen: int) -> str:
    """All that is drawn until the terminal is closed: a kernel keeps 4 KiB of it, no more."""
    drawn = b""
    with open(screen, "rb", buffering=0) as reading, suppress(OSError):  # EIO: it is closed
        while data := reading.read(1 << 16):
            drawn += data
    return drawn.decode()


@pytest.mark.parametrize("colours", [True, False], ids=["with colours", "NO_COLOR"])
def test_a_terminal_gets_a_bar(valkey: RedisServer, tmp_path: Path, colours: bool) -> None:
    write_table(tmp_path, valkey.url)
    screen, terminal = os.openpty()
    environ = {"TERM": "xterm-256color"} | ({} if colours else {"NO_COLOR": "1"})
    with ThreadPoolExecutor(1) as looking:
        seen = looking.submit(read_screen, screen)
        try:
            hipache(tmp_path, "route", "import", "new.json", "-y", stderr=terminal, **environ)
        finally:
            os.close(terminal)
        drawn = seen.result()
    assert "3000/3000" in drawn
    assert (re.search(r"\x1b\[[0-9;]*3[0-9]", drawn) is not None) is colours
    assert "frontends after" not in drawn


def test_the_reader_of_what_is_printed_may_go(tmp_path: Path) -> None:
    """As in `hipache route import FILE | head`."""
    write_table(tmp_path, f"file:{tmp_path / 'routes.toml'}")
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = subprocess.run(
            [sys.executable, "-m", "app.cli", "route", "import", "new.json", "-y"],
            cwd=tmp_path, check=False,
            env=os.environ | {"PYTHONPATH": str(ROOT)}, stdout=writing, stderr=subprocess.PIPE,
        )  # fmt: skip
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (1, b"")
