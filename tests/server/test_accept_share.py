"""When a worker looks away from its listeners, beside another one that only says what it has."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap

from tests.processes import ROOT

ENVIRON = os.environ | {"PYTHONPATH": str(ROOT)}

PRELUDE = """
import asyncio, os, signal, socket, uvicorn, uvloop
from app.server import accept_share, accepting
from app.server.accept_share import AcceptShare
from app.server.shared_loads import SharedLoads

accept_share.PATIENCE = 60
loads = SharedLoads()
begins, begin = os.pipe()
if not (pid := os.fork()):
    os.read(begins, 1)
    loads.take_row()
    signal.pause()

OURS, OTHER = 0, 1
accepted = []
listener, closed = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]

async def until(condition):
    async with asyncio.timeout(20):
        while not condition():
            await asyncio.sleep(0.005)

def accept():
    accepted.append(listener.accept())

async def scenario():
    loop = asyncio.get_running_loop()
    loop.add_reader(listener, accept)
    share = AcceptShare.of(loads, [listener, closed])
    %s
    os.write(begin, b"1")
    await until(lambda: not share.alone)
    %s
    share.close()

try:
    uvloop.run(scenario())
finally:
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
"""


def of(code: str, alone: str = "") -> tuple[str, str]:
    """What a worker prints and logs that runs `alone`, then `code` beside another one."""
    parts = [textwrap.indent(textwrap.dedent(it).strip(), "    ").strip() for it in (alone, code)]
    argv = [sys.executable, "-c", PRELUDE % tuple(parts)]
    found = subprocess.run(argv, env=ENVIRON, text=True, check=True, capture_output=True)
    return found.stdout, found.stderr


def test_one_that_begins_to_drain_gets_nothing_left() -> None:
    code = """
    third = 2
    loads.counts[third] = 100
    share._others.append(third)
    share._regular.cancel()  # it does not know yet
    share.took(5)
    print(loads.away[OURS])
    loads.counts[OTHER] = 0
    await until(lambda: not loads.away[OURS])
    share.took(6)
    print(loads.away[OURS])
    loads.counts[third], loads.away[third] = 1, 1
    share.took(200)
    print(loads.away[OURS])
    """
    assert of(code) == ("1\n0\n0\n", "")


def test_one_that_has_less_but_took_more_lately_gets_nothing_left() -> None:
    code = """
    loads.lately[OTHER] = loop.time() + 10
    share.took(1000)
    print(loads.away[OURS])
    loads.lately[OTHER] = loop.time() - 10
    share.took(1001)
    print(loads.away[OURS])
    loads.lately[OTHER] = loop.time() + 10
    await until(lambda: not loads.away[OURS])
    """
    assert of(code) == ("0\n1\n", "")


def test_it_accepts_again_where_the_system_no_longer_tells_who_is_there() -> None:
    code = """
    share.took(5)
    os.close(loads._file)
    await until(lambda: not loads.away[OURS])
    share.took(6)
    client = socket.create_connection(listener.getsockname())
    await until(lambda: accepted)
    print(loads.away[OURS], share.alone)
    """
    said, log = of(code)
    assert said == "0 False\n"
    assert log == "takes what connections come cause=Bad file descriptor\n"


def test_it_accepts_on_where_it_cannot_look_away() -> None:
    code = """
    closed.close()
    share.took(5)
    client = socket.create_connection(listener.getsockname())
    await until(lambda: accepted)
    print(loads.away[OURS], share.alone)
    """
    said, log = of(code)
    assert said == "0 False\n"
    assert log == "takes what connections come cause=Bad file descriptor\n"


def test_a_listener_that_was_short_of_files_does_not_take_what_others_should() -> None:
    code = """
    share.took(5)
    loop.remove_reader(listener)
    await asyncio.sleep(0.05)
    loop.add_reader(listener, accept)
    await asyncio.sleep(0.05)
    client = socket.create_connection(listener.getsockname())
    await asyncio.sleep(0.05)
    print(len(accepted))
    loads.counts[OTHER] = 0
    await until(lambda: accepted)
    """
    assert of(code) == ("0\n", "")


def test_who_takes_all_of_a_queue_is_told_of_company() -> None:
    alone = """
    server = uvicorn.Server(uvicorn.Config("none"))
    queue = accepting.accept_queue(server, [listener], share)
    print(share.alone, share.on_company == queue.close)
    told = []
    share.on_company = lambda: told.append(share.alone)
    """
    assert of("print(told)", alone) == ("True True\n[False]\n", "")
