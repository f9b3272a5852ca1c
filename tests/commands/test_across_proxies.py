"""`hipache why` and `hipache failures --all` ask the proxies of other machines."""

from __future__ import annotations

import json
from pathlib import Path

from tests.backends import refusing
from tests.commands.test_top import hipache
from tests.commands.test_why import failed, lines
from tests.machines import serve_elsewhere
from tests.ports import free_port
from tests.processes import serve, write_config
from tests.redis_servers import RedisServer


async def test_proxies_of_other_machines_tell_their_stories(
    tmp_path: Path, valkey: RedisServer
) -> None:
    here, there, nowhere = (tmp_path / name for name in ("here", "there", "nowhere"))
    for folder in (here, there, nowhere):
        folder.mkdir()
    store = f"{valkey.url}#blue:"
    write_config(nowhere, store)  # a machine without a proxy
    async with (
        refusing() as dead,
        valkey.client as redis,
        serve(here, store, 1) as ours,
        serve_elsewhere(there, store, 2) as theirs,
    ):
        await redis.rpush("blue:frontend:a.test", "id", dead)
        own = await failed(ours.port, "/here")
        others = [await failed(theirs.port, f"/there?n={number}") for number in range(3)]
        for folder, each in zip((here, nowhere), others, strict=False):
            first, _, attempt, *_, cause = await lines(folder, "why", each)
            assert first.startswith("GET http://a.test/there?n=…  502 after ")
            assert attempt.startswith(f"  1. {dead}  connection refused after ")
            assert cause.startswith("  why: ")
        listed = await lines(here, "failures", "--all", "-n", "2", "--host", "a.test")
        assert [line.split("  ")[1] for line in listed] == others[-2:]
        listed = await lines(nowhere, "failures", "--all", "--json")
        assert [json.loads(line)["id"] for line in listed] == [own, *others]
        # What is asked for leaves nothing behind.
        assert await redis.keys("blue:hipache:question:*") == []
        assert await redis.keys("blue:hipache:answers:*") == []
        # A worker that shows up, and never answers.
        await redis.set("blue:hipache:worker:old:1:abc", "0", ex=60)
        said, status = await hipache(here, "why", "none")
        assert (status, said) == (
            1,
            "hipache: no request 'none' is kept on this machine, nor by other proxies of its "
            "store (1 worker did not answer)\n",
        )


async def test_a_store_that_is_away_is_named(tmp_path: Path) -> None:
    write_config(tmp_path, f"redis://127.0.0.1:{free_port()}")
    said, status = await hipache(tmp_path, "why", "none")
    assert status == 1
    assert said.startswith("hipache: no request 'none' is kept on this machine; other proxies")
    assert said.count("\n") == 1


async def test_a_store_of_one_machine_carries_no_question(tmp_path: Path) -> None:
    write_config(tmp_path, "file:routes.toml")
    said, status = await hipache(tmp_path, "why", "none")
    assert (status, said) == (1, "hipache: no request 'none' is kept on this machine\n")
    said, status = await hipache(tmp_path, "failures", "--all")
    assert (status, said) == (1, "hipache: --all: this store is of one machine: leave it out\n")
