"""`hipache cert`: what a person sees of certificates, and has ordered."""

from __future__ import annotations

import asyncio
import json
import re
from datetime import timedelta
from pathlib import Path

import msgspec
import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.commands.demo_config import read_config, written_config
from app.commands.demo_https import local_authority
from app.stores.issuance import IssuanceState
from tests.backends import ScriptedBackend
from tests.redis_servers import RedisServer
from tests.tls.acme.ca import AcmeCA
from tests.tls.acme.conftest import backend, served_ca  # noqa: F401 - fixtures
from tests.tls.acme.serving import proxy, write_acme_config
from tests.tls.acme.test_renewal import put
from tests.tls.acme.test_serving import NAME, acme_of, route

LOOPBACK = {"directory": "https://127.0.0.1:1/directory"}


async def cert(folder: Path, *words: str) -> Result:
    arguments = ["cert", *words, "--config", str(folder / "config.json")]
    return await asyncio.to_thread(CliRunner().invoke, main, arguments)


async def test_a_person_orders_renews_and_removes_one(
    tmp_path: Path,
    valkey: RedisServer,
    backend: ScriptedBackend,  # noqa: F811
    served_ca: AcmeCA,  # noqa: F811
) -> None:
    ca, folder = served_ca, tmp_path / "one"
    await route(valkey, backend, NAME)
    async with proxy(folder, valkey.url, acme_of(ca), http=ca.http_port, workers=1):
        ordered = await cert(folder, "order", NAME)
        assert ordered.exit_code == 0, ordered.output
        assert re.match(rf"{NAME}  ends .* \(in 90 days\), from {ca.directory}", ordered.output)
        assert "hipache cert renew" in (await cert(folder, "order", NAME)).output
        assert ca.ordered(NAME) == 1
        first = (await cert(folder, "show", NAME)).output
        assert (await cert(folder, "renew", NAME)).exit_code == 0
        assert ca.ordered(NAME) == 2
        assert (await cert(folder, "show", NAME)).output != first
        removed = await cert(folder, "remove", NAME)
        assert "removed; the next client orders another" in removed.output
        assert (await cert(folder, "remove", NAME)).exit_code == 1
        ca.http_port = 1  # the name leads elsewhere
        failed = await cert(folder, "order", NAME)
        assert failed.exit_code == 1
        assert "unauthorized" in failed.output


async def test_why_none_is_ordered_is_said_at_once(tmp_path: Path, valkey: RedisServer) -> None:
    write_acme_config(tmp_path, valkey.url, LOOPBACK)
    for name, reason in (
        ("unknown.test", "has no frontend"),
        ("*.wild.test", "write it to tls:*.wild.test"),
        ("192.0.2.1", "no host name with a domain"),
    ):
        result = await cert(tmp_path, "order", name)
        assert (result.exit_code, reason in result.output) == (1, True), result.output
    async with valkey.client as client:
        await client.rpush(f"frontend:{NAME}", "id", "http://127.0.0.1:1")
        failures = tuple(float(1e11 + n) for n in range(5))
        state = IssuanceState(error="x", failures=failures, not_before=2e11)
        await client.set(f"acme:state:{NAME}", msgspec.json.encode(state))
    assert "failed too often" in (await cert(tmp_path, "order", NAME)).output
    async with valkey.client as client:
        await client.delete(f"acme:state:{NAME}")
    waited = await cert(tmp_path, "order", NAME, "--wait", "0.1")
    assert waited.output.endswith("does a service run?\n")
    assert f"{NAME}  no certificate, wanted: order" in (await cert(tmp_path, "list")).output
    async with valkey.client as client:
        state = IssuanceState(error="the CA is away", not_before=2e11)
        await client.set("acme:state:other.test", msgspec.json.encode(state))
    waited = await cert(tmp_path, "order", NAME, "--wait", "0.1")
    assert "does a service run? other.test failed: the CA is away" in waited.output
    write_acme_config(tmp_path, valkey.url, LOOPBACK | {"agree": False}, bind=[])
    assert "agree is not true" in (await cert(tmp_path, "order", NAME)).output


async def test_what_there_is_is_listed_without_a_key(tmp_path: Path, valkey: RedisServer) -> None:
    write_acme_config(tmp_path, valkey.url, LOOPBACK)
    await put(valkey, "ours.test", timedelta(days=10), "https://127.0.0.1/directory")
    await put(valkey, "hand.test", timedelta(days=91), None)
    async with valkey.client as client:
        state = IssuanceState(error="so\x1b it is", failures=(1.0,), not_before=2e11)
        await client.set("acme:state:failing.test", msgspec.json.encode(state))
        key = (await client.hget("tls:ours.test", "key")).splitlines()[1]
    listed = await cert(tmp_path, "list")
    lines = listed.output.splitlines()
    assert [line.split()[0] for line in lines] == ["failing.test", "hand.test", "ours.test"]
    assert "no certificate, failed: so\\x1b it is, next attempt in" in lines[0]
    assert "it is over), put there by hand" in lines[1]
    assert "in 80 days), from https://127.0.0.1/directory" in lines[2]
    shown = await cert(tmp_path, "list", "--json")
    assert [each["name"] for each in json.loads(shown.output)][2] == "ours.test"
    one = await cert(tmp_path, "show", "ours.test", "--json")
    assert len(json.loads(one.output)["fingerprint"]) == 64
    assert "not ordered" in (await cert(tmp_path, "show", "ours.test")).output
    assert not any(key in each.output for each in (listed, shown, one))


async def test_certificates_in_a_folder_are_listed_as_well(tmp_path: Path) -> None:
    (tmp_path / "routes.toml").write_text('["a.test"]\nbackends = ["http://127.0.0.1:1"]\n')
    write_acme_config(tmp_path, "file:routes.toml", LOOPBACK)
    assert (await cert(tmp_path, "list")).output == ""
    assert "no certificate" in (await cert(tmp_path, "show", "a.test")).output


async def test_a_name_may_be_written_as_people_do(tmp_path: Path, valkey: RedisServer) -> None:
    write_acme_config(tmp_path, valkey.url, LOOPBACK)
    await put(valkey, "ours.test", timedelta(days=10), "https://127.0.0.1/directory")
    async with valkey.client as client:
        await client.rpush("frontend:ours.test", "id", "http://127.0.0.1:1")
    for words, said in (
        (("order", "Ours.Test."), "ours.test  has one already"),
        (("renew", "OURS.TEST", "--wait", "0.1"), "ours.test is wanted"),
        (("show", "OURS.test"), "from https://127.0.0.1/directory"),
        (("remove", "ours.TEST."), "ours.test  removed"),
    ):
        done = await cert(tmp_path, *words)
        assert said in done.output, done.output
    for name, hint in (
        ("münchen.test", "xn--mnchen-3ya.test"),
        ("https://ours.test/", "did you mean ours.test?"),
        ("ours.test:443", "without its port"),
        ("ours.test/api", "has a path"),
        ("../ours.test", "is no host"),
    ):
        done = await cert(tmp_path, "remove", name)
        assert (done.exit_code, hint in done.output) == (2, True), done.output


def test_the_demo_in_this_folder_has_the_ca_to_trust_and_the_certificates(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("HIPACHE_CONFIG", raising=False)
    assert "there is no CA yet" in CliRunner().invoke(main, ["cert", "trust"]).output
    with written_config(tmp_path) as demo:
        authority = local_authority(read_config(demo))
        authority.issue("demo.localhost")
        done = CliRunner().invoke(main, ["cert", "trust"])
        assert (done.exit_code, f"curl --cacert {authority.root}" in done.output) == (0, True)
        assert authority.root == tmp_path / ".hipache/local-ca/root.pem"
        assert CliRunner().invoke(main, ["cert", "trust", "--config", demo]).output == done.output
    assert CliRunner().invoke(main, ["cert", "trust"]).output == done.output  # the CA stays
