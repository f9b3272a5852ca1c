"""A secret planted in every place that takes one, and a look at everything that is said."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from base64 import b64encode
from hashlib import sha256
from pathlib import Path

import pytest
import redis.asyncio
from click.testing import CliRunner
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    PrivateFormat,
    load_pem_private_key,
)

from app.cli import main
from app.frontends.passwords import make_hash
from tests.admin_client import AdminClient
from tests.backends import answer, answering
from tests.processes import ROOT, command
from tests.redis_servers import RedisServer
from tests.tls.authority import DEFAULT, EXACT, chain, private

DIRECTORY = "https://127.0.0.1:1/directory"
HASH = make_hash(b"planted-password", b"0123456789abcdef", ln=2)
SECRETS = {
    "driver": "planted-driver",
    "passphrase": "planted-passphrase",
    "balance.secret": "planted-sticky",
    "server.debugSecret": "planted-debug",
    "admin.token": "planted-token",
    "https.acme.eab.key": "planted-customer",
    "the hash of a password": HASH.rpartition("$")[2],
    "a password": "planted-password",
    "what a client sends for one": b64encode(b"alice:planted-password").decode(),
    "a token of forwardAuth": "planted-query",
    "a wrong hash": "planted-plainly",
    "a password in a URL": "planted-backend",
    "a cookie": "planted-cookie",
    "a key": private(DEFAULT).decode().splitlines()[1],
    "a key in the store": private(EXACT).decode().splitlines()[1],
    "the key of an account": "planted-account",
}


def leaks(said: str) -> list[str]:
    return [name for name, secret in SECRETS.items() if secret in said]


def test_the_audit_would_notice() -> None:
    assert leaks(" ".join(SECRETS.values())) == list(SECRETS)


def encrypted_key() -> bytes:
    key = load_pem_private_key(private(DEFAULT), None)
    how = BestAvailableEncryption(SECRETS["passphrase"].encode())
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, how)


def write(folder: Path, driver: str, **more: object) -> None:
    (folder / "a.crt").write_bytes(chain(DEFAULT))
    (folder / "a.key").write_bytes(encrypted_key())
    bind = {"address": "127.0.0.1", "port": 0}
    values = {
        "server": {
            "workers": 1, "debug": True, "snapshot": "routes.json", "accessLog": "access.log",
            "accessLogFormat": "json", "debugSecret": SECRETS["server.debugSecret"],
            "debugFrom": ["127.0.0.1"],
        },
        "http": {"bind": [bind]},
        "https": {
            "bind": [bind], "cert": "a.crt", "key": "a.key",
            "passphrase": SECRETS["passphrase"],
            "acme": {
                "agree": True, "directory": DIRECTORY,
                "eab": {"kid": "me", "key": SECRETS["https.acme.eab.key"]},
            },
        },
        "balance": {"secret": SECRETS["balance.secret"], "sticky": "on"},
        "admin": {"bind": "127.0.0.1:0", "token": SECRETS["admin.token"]},
        "driver": driver,
        "user": None,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps(values | more))


async def plant(client: redis.asyncio.Redis, backend: str, sso: str) -> None:
    bad = f"http://u:{SECRETS['a password in a URL']}@10.0.0.1"
    for host in ("a.test", "shut.test", "sso.test"):
        await client.rpush(f"frontend:{host}", "site", backend, bad, bad.replace("@", ":x@"))
    await client.hset("options:a.test", "basicAuth", f"alice:{HASH}")
    await client.hset("options:shut.test", "basicAuth", f"alice:{SECRETS['a wrong hash']}")
    url = f"{sso}/?token={SECRETS['a token of forwardAuth']}"
    await client.hset("options:sso.test", "forwardAuth", url)
    pair = {"certificate": chain(EXACT), "key": private(EXACT), "acme": DIRECTORY}
    await client.hset("tls:keyed.test", mapping=pair)  # type: ignore[arg-type]
    key = json.dumps({"kty": "EC", "crv": "P-256", "d": SECRETS["the key of an account"]})
    account = f"acme:account:{sha256(DIRECTORY.encode()).hexdigest()[:16]}"
    await client.set(account, json.dumps({"key": key, "uri": ""}))


async def ask(port: int, host: str, fields: str = "") -> str:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    more = f"Cookie: a={SECRETS['a cookie']}\r\nX-Debug: 1\r\nConnection: close\r\n{fields}"
    writer.write(f"GET / HTTP/1.1\r\nHost: {host}\r\n{more}\r\n".encode())
    reply = await reader.read()
    writer.close()
    return reply.decode()


async def test_nothing_that_is_said_tells_a_secret(tmp_path: Path) -> None:
    (tmp_path / "redis").mkdir()
    server = await RedisServer(tmp_path / "redis").start()
    try:
        async with server.client as client, answering(answer(b"hi")) as backend:
            await client.acl_setuser(
                "hipache", enabled=True, passwords=[f"+{SECRETS['driver']}"],
                commands=["+@all"], keys=["*"], channels=["*"],
            )  # fmt: skip
            await plant(client, backend.url, "http://127.0.0.1:1")
            driver = f"redis://hipache:{SECRETS['driver']}@127.0.0.1:{server.port}"
            write(tmp_path, driver)
            async with command("app.cli", "serve", cwd=tmp_path) as service:
                address = (await service.saw(r'"admin listening" address=(\S+)'))[1]
                port = int((await service.saw(r"listening address=127\.0\.0\.1:(\d+)"))[1])
                await service.saw("worker ready")
                login = f"Authorization: Basic {SECRETS['what a client sends for one']}\r\n"
                said = [await ask(port, "a.test", login), await ask(port, "a.test")]
                assert [reply[9:12] for reply in said] == ["200", "401"]
                said += [await ask(port, host) for host in ("shut.test", "sso.test", "no.test")]
                assert [reply[9:12] for reply in said[2:]] == ["500", "503", "400"]
                admin = AdminClient(address, SECRETS["admin.token"])
                async with admin.http:
                    for path in ("/metrics", "/api/frontends", "/api/backends", "/api/workers"):
                        said.append((await admin.http.get(path)).text)
                said += await asyncio.to_thread(commands, tmp_path)
                assert "the account in the store cannot be read" in said[-5]
                await client.acl_setuser("hipache", enabled=True, reset_passwords=True)
                await client.client_kill_filter(user="hipache")
                await service.saw("store away")
                write(tmp_path, driver, balance={"secret": [SECRETS["balance.secret"]]})
                service.signal(signal.SIGHUP)
                await service.saw("secret")
                service.signal(signal.SIGTERM)
                assert await service.ended() == 0
            said += service.log
            said.append((tmp_path / "access.log").read_text())
    finally:
        server.kill()
    assert not [(line, leaks(line)) for line in said if leaks(line)]


def commands(folder: Path) -> list[str]:
    """What an operator's commands print, in a folder of their own configuration."""
    file = ["--config", str(folder / "config.json")]
    said = []
    for words in (
        ["check"], ["explain", "http://a.test/"], ["explain", "http://sso.test/"],
        ["explain", "http://shut.test/", "--client", "::1", "--json"], ["doctor"],
        ["doctor", "--json"], ["route", "show", "a.test"], ["route", "list"], ["dead", "list"],
        ["cert", "order", "a.test"], ["cert", "list"], ["cert", "list", "--json"],
        ["cert", "show", "keyed.test"], ["cert", "renew", "keyed.test"],
    ):  # fmt: skip
        done = CliRunner().invoke(main, [*words, *file])
        assert done.exception is None or isinstance(done.exception, SystemExit), words
        output = done.output
        if words[0] == "route":  # these show a list as it is, or no URL could be taken from it
            output = output.replace(SECRETS["a password in a URL"], "")
        said.append(output)
    return said


@pytest.mark.parametrize(
    "wrong",
    [
        {"driver": ["redis://:planted-driver@h:x"]},
        {"driver": {"password": "planted-driver"}},
        {"balance": {"secret": {"a": "planted-sticky"}}},
        {"balance": {"secrets": "planted-sticky"}},
        {"admin": {"token": ["planted-token"]}},
        {"server": {"debugSecret": 1, "debugSecretX": "planted-debug"}},
        {"https": {"passphrase": ["planted-passphrase"]}},
    ],
)
def test_a_configuration_that_is_refused_is_refused_without_its_secret(
    tmp_path: Path, wrong: dict[str, object]
) -> None:
    (tmp_path / "config.json").write_text(json.dumps(wrong))
    done = CliRunner().invoke(main, ["check", "--config", str(tmp_path / "config.json")])
    assert done.exit_code == 78
    assert leaks(done.output) == []


async def test_a_passphrase_that_is_wrong_is_not_repeated(tmp_path: Path) -> None:
    write(tmp_path, "file:routes.toml")
    text = (tmp_path / "config.json").read_text()
    (tmp_path / "config.json").write_text(
        text.replace(SECRETS["passphrase"], SECRETS["passphrase"] + "-not")
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "app.cli", "serve", cwd=tmp_path, env={"PYTHONPATH": str(ROOT)},
        stderr=asyncio.subprocess.STDOUT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    said = (await process.communicate())[0].decode()
    assert process.returncode == 78
    assert leaks(said) == []


# The command that makes a hash.


def test_the_password_command_prints_what_the_option_takes() -> None:
    from app.frontends.protection import parse_protection

    done = CliRunner().invoke(main, ["password", "alice"], input="open sesame\n")
    assert done.exit_code == 0
    found, problems = parse_protection({"basicAuth": done.output.strip()})
    assert problems == ()
    assert found is not None
    assert found.users["alice"].matches(b"open sesame")
    assert "open sesame" not in done.output


@pytest.mark.parametrize(("user", "text"), [("a:b", "x\n"), ("a b", "x\n"), ("a", ""), ("", "x\n")])
def test_the_password_command_refuses_what_could_never_be_sent(user: str, text: str) -> None:
    assert CliRunner().invoke(main, ["password", user], input=text).exit_code != 0
