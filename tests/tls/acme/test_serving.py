"""New names get a certificate when their first client comes."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import ssl
import sys
from datetime import timedelta
from pathlib import Path
from time import monotonic
from typing import Any

import psutil
import pytest

from tests.backends import ScriptedBackend
from tests.processes import PATIENCE, ROOT, command, program, runs, status
from tests.redis_servers import RedisServer, until
from tests.tls.acme.ca import AcmeCA
from tests.tls.acme.load import asking_for_ever, put
from tests.tls.acme.serving import kill_all, names_in, proxy, write_acme_config
from tests.tls.authority import DEFAULT, write

NAME, OTHER = "www.example.test", "other.example.test"
STARTED = re.compile(r"certificates' process started\W+pid=(\d+)")
REFUSED = (ConnectionError, ssl.SSLError)


def acme_of(ca: Any, **more: Any) -> dict[str, Any]:
    return {"directory": ca.directory, "ca": ca.ca} | more


async def route(valkey: RedisServer, backend: ScriptedBackend, *names: str) -> None:
    async with valkey.client as client:
        for name in names:
            await client.rpush(f"frontend:{name}", "id", backend.url)


async def holds_the_lease(client: Any, pid: str) -> None:
    """Until this process orders the certificates: from then on a client waits for the CA alone."""
    async with asyncio.timeout(PATIENCE):
        while f":{pid}:" not in str(await client.get("acme:lease")):  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def option(valkey: RedisServer, name: str, value: str) -> None:
    async with valkey.client as client:
        await client.hset(f"options:{name}", "acme", value)


async def test_the_lease_is_given_back_whatever_ends_the_proxy(
    tmp_path: Path, valkey: RedisServer, served_ca: AcmeCA
) -> None:
    """Beside a killed supervisor nobody is left to end what orders certificates."""
    async with (
        proxy(tmp_path / "one", valkey.url, acme_of(served_ca), workers=1) as one,
        valkey.client as client,
    ):
        await holds_the_lease(client, next(filter(None, map(STARTED.search, one.service.log)))[1])
        family = psutil.Process(one.service.pid).children()
        one.service.signal(signal.SIGKILL)
        await until(lambda: not any(map(runs, family)))
        assert await client.get("acme:lease") is None


async def test_the_first_client_of_a_new_name_waits_for_its_certificate_and_gets_it(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    ca.bad_nonces = 3
    await route(valkey, backend, NAME)
    acme = acme_of(ca)
    async with (
        proxy(tmp_path / "one", valkey.url, acme, http=ca.http_port) as one,
        proxy(tmp_path / "two", valkey.url, acme) as two,
    ):
        began = monotonic()
        assert names_in(await one.certificate(NAME)) == [NAME]
        assert monotonic() - began < 5
        assert names_in(await two.certificate(NAME)) == [NAME]
        assert ca.issued(NAME) == 1
        one.service.signal(signal.SIGTERM)
        two.service.signal(signal.SIGTERM)
        assert (await one.service.ended(), await two.service.ended()) == (0, 0)
        async with valkey.client as client:
            assert await client.keys("acme:challenge:*") == []
            assert await client.exists("acme:lease", "acme:wanted") == 0
            stands = await client.hgetall(f"tls:{NAME}")
            account = json.loads(await client.get(*await client.keys("acme:account:*")) or "")
        assert stands["acme"] == ca.directory
        log = "".join(one.service.log + two.service.log)
        secrets = [stands["key"].splitlines()[1], json.loads(account["key"])["d"]]
        assert not any(secret in log for secret in secrets)


async def test_fifty_clients_of_a_new_name_at_two_proxies_cause_one_order(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, NAME)
    acme = acme_of(ca)
    async with (
        proxy(tmp_path / "one", valkey.url, acme, http=ca.http_port) as one,
        proxy(tmp_path / "two", valkey.url, acme) as two,
    ):
        asked = [each.certificate(NAME) for each in (one, two) for _ in range(25)]
        shown = await asyncio.gather(*asked)
        assert len({each.serial_number for each in shown}) == 1
        assert ca.ordered(NAME) == 1


async def test_which_names_a_certificate_is_ordered_for(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, "*.wild.test", "*.plain.test", "off.test", "localhost", "*")
    await option(valkey, "*.wild.test", "on")
    await option(valkey, "off.test", "off")
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        for name in ("a.plain.test", "off.test", "localhost", "unknown.test", "_x.wild.test"):
            with pytest.raises(REFUSED):
                await one.certificate(name, within=5)
        assert names_in(await one.certificate("a.wild.test")) == ["a.wild.test"]
        assert [order.name for order in ca.orders] == ["a.wild.test"]


async def test_names_below_a_wildcard_fill_no_store_and_take_no_order_from_a_name_of_its_own(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    await route(valkey, backend, "*.wild.test", NAME, OTHER)
    await option(valkey, "*.wild.test", "on")
    acme, port = acme_of(served_ca, ordersPerHour=5), served_ca.http_port
    async with (
        proxy(tmp_path / "one", valkey.url, acme, http=port, workers=1) as one,
        valkey.client as client,
    ):
        invented = [f"{letter}.wild.test" for letter in "abc"]
        shown = await asyncio.gather(*map(one.certificate, invented))
        assert list(map(names_in, shown)) == [[name] for name in invented]
        for n in range(10):
            with pytest.raises(REFUSED):
                await one.certificate(f"{n}.wild.test")
        assert await client.keys("acme:state:*") == ["acme:state:0.wild.test"]
        assert not await client.exists("acme:wanted")
        assert names_in(await one.certificate(NAME)) == [NAME]
        with pytest.raises(REFUSED):  # what is left is for renewals
            await one.certificate(OTHER)


async def test_without_a_certificate_in_time_a_client_gets_the_default_one(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    """And nobody else waits: neither the known name's clients, nor the next one of this name,
    nor those of the default certificate's own."""
    ca, folder = served_ca, tmp_path / "one"
    folder.mkdir()
    write(folder, "default", DEFAULT)
    await route(valkey, backend, NAME, OTHER, "default.test")
    more = {"cert": "default.crt", "key": "default.key"}
    acme = acme_of(ca, wait=1.5)
    async with proxy(folder, valkey.url, acme, http=ca.http_port, workers=1, **more) as one:
        while names_in(await one.certificate(OTHER)) != [OTHER]:
            pass
        began = monotonic()
        assert names_in(await one.certificate("default.test")) == ["default.test"]
        assert monotonic() - began < 1
        ca.silent.set()
        waiting = asyncio.create_task(one.certificate(NAME))
        await until(lambda: len(ca.asked) and ca.asked[-1] == "/directory", seconds=10)
        began = monotonic()
        for _ in range(5):
            assert names_in(await one.certificate(OTHER)) == [OTHER]
        assert monotonic() - began < 1.5
        assert not waiting.done()
        assert names_in(await waiting) == ["default.test"]
        began = monotonic()
        assert names_in(await one.certificate(NAME)) == ["default.test"]
        assert monotonic() - began < 1
        ca.silent.clear()
        ca.released.set()
    assert ca.issued("default.test") == 0


@pytest.mark.long
@pytest.mark.parametrize("default", [False, True])
async def test_a_silent_ca_holds_up_no_handshake_for_ten_seconds(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, default: bool
) -> None:
    """Not even its TLS begins. Known names go on, and later the reason is there."""
    await route(valkey, backend, NAME, OTHER)
    await put(valkey, OTHER, timedelta(days=1), None)
    folder = tmp_path / "one"
    more: dict[str, Any] = {}
    folder.mkdir()
    if default:
        write(folder, "default", DEFAULT)
        more = {"cert": "default.crt", "key": "default.key"}
    with socket.create_server(("127.0.0.1", 0), backlog=100) as silent:
        acme = {"directory": f"https://127.0.0.1:{silent.getsockname()[1]}/directory"}
        async with (
            proxy(folder, valkey.url, acme, **more) as one,
            asking_for_ever([one], [OTHER], set()) as others,
        ):
            began = monotonic()
            clients = [asyncio.create_task(one.certificate(NAME)) for _ in range(25)]
            shown = await asyncio.gather(*clients, return_exceptions=True)
            assert 8 <= monotonic() - began < 10
            if default:
                given = [each for each in shown if not isinstance(each, BaseException)]
                assert [names_in(each) for each in given] == [["default.test"]] * 25
            else:
                assert all(isinstance(each, REFUSED) for each in shown)
            assert max(others) < 1
            line = await one.service.saw("certificate not ordered")
            assert "the CA does not answer" in line.string


async def test_a_name_that_failed_is_not_waited_for(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, NAME)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca)) as one:  # not where the CA asks
        for _ in range(3):
            began = monotonic()
            with pytest.raises(REFUSED):
                await one.certificate(NAME)
            assert monotonic() - began < 8
        assert ca.ordered(NAME) == 1
        line = await one.service.saw("certificate not ordered")
        assert "next_in=60s" in line.string
        async with valkey.client as client:
            state = json.loads(await client.get(f"acme:state:{NAME}") or "")
        assert "unauthorized" in state["error"]


async def test_when_the_holder_is_killed_in_an_order_another_one_ends_it(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, NAME)
    acme = acme_of(ca)
    async with proxy(tmp_path / "one", valkey.url, acme) as one, valkey.client as client:
        async with asyncio.timeout(20):
            while not await client.exists("acme:lease"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        async with proxy(tmp_path / "two", valkey.url, acme, http=ca.http_port) as two:
            ca.silent.set()
            asking = asyncio.create_task(two.certificate(NAME))
            await until(lambda: ca.asked)
            kill_all(one)
            ca.silent.clear()
            assert names_in(await asking) == [NAME]
            assert ca.issued(NAME) == 1
            ca.released.set()  # nobody listens to that any more
            holder = (await two.service.saw("ordered by this process.*holder=(.*)$"))[1]
            assert await client.get("acme:lease") == holder
            assert await client.exists("acme:wanted") == 0


async def test_a_process_that_dies_is_started_again(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, NAME)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        pid = int(next(filter(None, map(STARTED.search, one.service.log)))[1])
        os.kill(pid, signal.SIGKILL)
        await one.service.saw("certificates' process died")
        assert names_in(await one.certificate(NAME)) == [NAME]
        one.service.signal(signal.SIGTERM)
        assert await one.service.ended() == 0


async def test_a_process_that_hangs_is_replaced_and_status_shows_it(
    tmp_path: Path, valkey: RedisServer, served_ca: AcmeCA
) -> None:
    write_acme_config(tmp_path, valkey.url, acme_of(served_ca), workers=1)
    code = (
        "from functools import partial\nfrom app import cli\nfrom app.workers import serve\n"
        "serve.Patience = partial(serve.Patience, hang_timeout=2)\ncli.main(['serve'])"
    )
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    async with program(sys.executable, "-c", code, cwd=tmp_path, environ=environ) as service:
        await service.ready(1)
        pid = await _issuer(tmp_path)
        os.kill(pid, signal.SIGSTOP)
        await service.saw(f"certificates' process killed. pid={pid} why=.gives no sign of life")
        assert await _issuer(tmp_path) != pid


async def _issuer(folder: Path) -> int:
    """The pid that `hipache status` shows, once that process works."""
    line = r"certificates' process pid=(\d+) serving age=\d+s memory=\d\d"
    while True:
        code, text = await status(folder)
        assert code == 0
        if found := re.search(line, text):
            return int(found[1])


async def test_a_reload_brings_another_ca_and_a_wrong_one_keeps_what_is(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca, path = served_ca, tmp_path / "one" / "config.json"
    await route(valkey, backend, NAME)
    nowhere = {"directory": "https://127.0.0.1:1/directory"}
    async with proxy(path.parent, valkey.url, nowhere, http=ca.http_port, workers=1) as one:
        values = json.loads(path.read_text())
        values["https"]["acme"]["directory"] = "http://127.0.0.1:1/plain"
        path.write_text(json.dumps(values))
        one.service.signal(signal.SIGHUP)
        await one.service.saw(r"https\.acme\.directory: expected an https URL")
        values["https"]["acme"] |= acme_of(ca)
        path.write_text(json.dumps(values))
        one.service.signal(signal.SIGHUP)
        orderer = (await one.service.saw(STARTED.pattern))[1]
        await one.service.saw("worker ended")
        async with valkey.client as client:
            await holds_the_lease(client, orderer)
        assert names_in(await one.certificate(NAME)) == [NAME]
        values["https"] |= {"acme": {"agree": False}, "bind": "127.0.0.1", "certs": "."}
        path.write_text(json.dumps(values))
        one.service.signal(signal.SIGHUP)
        await one.service.saw("worker ended")
        await until(lambda: len(one.service.workers()) == 1)
        assert names_in(await one.certificate(NAME)) == [NAME]  # from the store, as before


async def test_while_the_ca_is_away_known_names_are_served(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca = served_ca
    await route(valkey, backend, NAME, OTHER)
    async with proxy(tmp_path / "one", valkey.url, acme_of(ca), http=ca.http_port) as one:
        await one.certificate(NAME)
        ca.stop()
        began = monotonic()
        with pytest.raises(REFUSED):
            await one.certificate(OTHER)
        assert monotonic() - began < 10
        for _ in range(20):
            assert names_in(await one.certificate(NAME)) == [NAME]
        async with valkey.client as client:
            state = json.loads(await client.get(f"acme:state:{OTHER}") or "")
        assert "cannot be reached" in state["error"]
        assert state["failures"] == []  # it is not the name's fault


async def test_a_challenge_of_a_backends_own_reaches_it(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    await route(valkey, backend, NAME)
    async with valkey.client as client:
        await client.hset(f"options:{NAME}", mapping={"redirect": "on", "deny": "0.0.0.0/0"})
        await client.set("acme:challenge:abc-_1", "abc-_1.thumb", ex=60)
    async with proxy(tmp_path / "one", valkey.url, acme_of(served_ca)) as one:
        one.service.port = one.http
        path = "/.well-known/acme-challenge/"
        assert (await one.service.ask(NAME, f"{path}abc-_1")).endswith(b"\r\n\r\nabc-_1.thumb")
        assert b" 403 " in await one.service.ask(NAME, f"{path}other")
        async with valkey.client as client:
            await client.hdel(f"options:{NAME}", "deny")
        async with asyncio.timeout(20):  # the worker may be told a moment later
            while not (await one.service.ask(NAME, f"{path}other")).endswith(b"hi"):
                pass
        assert backend.requests[0].line == (b"GET", f"{path}other".encode())


async def test_under_a_bare_uvicorn_challenges_are_answered_and_nothing_is_ordered(
    tmp_path: Path, valkey: RedisServer, served_ca: AcmeCA
) -> None:
    write_acme_config(tmp_path, valkey.url, acme_of(served_ca), bind=[])
    async with valkey.client as client:
        await client.set("acme:challenge:abc", "abc.thumb", ex=60)
    way = ("uvicorn", "app:create_app", "--factory", "--port", "0")
    async with command(*way, cwd=tmp_path) as service:
        await service.saw("https.acme: certificates are ordered under 'hipache serve' only")
        service.port = int((await service.saw(r"on http://127\.0\.0\.1:(\d+)"))[1])
        path = "/.well-known/acme-challenge/abc"
        assert (await service.ask(NAME, path)).endswith(b"\r\n\r\nabc.thumb")
    assert served_ca.asked == []


async def test_nothing_is_ordered_before_somebody_agrees(
    tmp_path: Path, valkey: RedisServer, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    await route(valkey, backend, NAME)
    (tmp_path / "one").mkdir()
    acme = acme_of(served_ca, agree=False)
    async with proxy(tmp_path / "one", valkey.url, acme, workers=1, certs=".") as one:
        with pytest.raises(REFUSED):
            await one.certificate(NAME, within=5)
        assert not any("certificates' process" in line for line in one.service.log)
        async with valkey.client as client:
            assert await client.keys("acme:*") == []
    assert served_ca.asked == []


async def test_with_a_file_of_routes_the_same_happens_in_a_folder(
    tmp_path: Path, backend: ScriptedBackend, served_ca: AcmeCA
) -> None:
    ca, folder = served_ca, tmp_path / "one"
    folder.mkdir()
    (folder / "routes.toml").write_text(f'["{NAME}"]\nbackends = ["{backend.url}"]\n')
    async with proxy(folder, "file:routes.toml", acme_of(ca), http=ca.http_port) as one:
        assert names_in(await one.certificate(NAME)) == [NAME]
        assert names_in(await one.certificate(NAME)) == [NAME]
        assert ca.ordered(NAME) == 1
        written = [path for path in (folder / ".hipache/acme").rglob("*") if path.is_file()]
        assert folder / f".hipache/acme/certs/{NAME}.pem" in written
        assert {path.stat().st_mode & 0o777 for path in written} == {0o600}
