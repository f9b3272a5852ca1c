"""TLS as clients meet it: which certificate, which versions, and who they are."""

from __future__ import annotations

import asyncio
import json
import os
import resource
import signal
import socket
import ssl
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil
import pytest
import trustme
from websockets.asyncio.client import connect
from websockets.asyncio.server import serve as serve_web_socket

from app.config.structs import parse
from app.errors import ConfigError, StoreUnavailable
from app.tls.certificates import expiry
from app.tls.listener import TLSListener, expiries, subject, weak_ciphers
from app.tls.store_certificates import stored_expiries
from tests.backends import ScriptedBackend, answer, answering
from tests.processes import ROOT, Service, command, program, write_config
from tests.redis_servers import RedisServer
from tests.workers.test_draining import echo

AUTHORITY = trustme.CA()
DEFAULT, EXACT, WILD, OTHER = (
    AUTHORITY.issue_cert(name) for name in ("default.test", "a.test", "*.wild.test", "changed.test")
)


def write(folder: Path, name: str, cert: trustme.LeafCert, *, key: bool = True) -> None:
    """`name.crt` and `name.key`, each replaced as a whole."""
    for end, data in ((".crt", chain(cert)), (".key", private(cert)))[: 2 if key else 1]:
        new = folder / "new"
        new.write_bytes(data)
        new.rename(folder / f"{name}{end}")


def chain(cert: trustme.LeafCert) -> bytes:
    return b"".join(blob.bytes() for blob in cert.cert_chain_pems)


def private(cert: trustme.LeafCert) -> bytes:
    return cert.private_key_pem.bytes()


def trusting(**options: Any) -> ssl.SSLContext:
    """A client that believes AUTHORITY."""
    context = ssl.create_default_context()
    context.check_hostname = False
    AUTHORITY.configure_trust(context)
    for name, value in options.items():
        setattr(context, name, value)
    return context


def shown_name(connection: ssl.SSLObject | ssl.SSLSocket) -> str:
    """The name in the certificate that the server showed."""
    certificate = connection.getpeercert()
    assert certificate
    return str(certificate["subjectAltName"][0][1])  # type: ignore[index]


class Secured:
    """A running service that listens with TLS, too."""

    def __init__(self, service: Service, backend: ScriptedBackend) -> None:
        self.service = service
        self.backend = backend
        self.port = 0

    async def certificate(self, name: str | None, context: ssl.SSLContext | None = None) -> str:
        """The name in the certificate that a client asking for `name` is shown."""
        _, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or trusting(), server_hostname=name or ""
        )
        shown = shown_name(writer.get_extra_info("ssl_object"))
        writer.transport.abort()
        return shown

    async def get(self, target: bytes = b"/", context: ssl.SSLContext | None = None) -> bytes:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", self.port, ssl=context or trusting(), server_hostname="a.test"
        )
        writer.write(
            b"GET %b HTTP/1.1\r\nHost: a.test\r\nX-Client-Cert-Subject: CN=forged\r\n"
            b"Connection: close\r\n\r\n" % target
        )
        reply = await reader.read()
        writer.transport.abort()
        return reply


def write_tls_config(
    folder: Path, driver: str, server: dict[str, Any] | None = None, **https: Any
) -> None:
    path = write_config(folder, driver, workers=1, **(server or {}))
    write(folder, "default", DEFAULT)
    tls = {"bind": "127.0.0.1", "port": 0, "key": "default.key", "cert": "default.crt"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"https": tls | https}))


@asynccontextmanager
async def secured(folder: Path, valkey: RedisServer, **https: Any) -> AsyncIterator[Secured]:
    write_tls_config(folder, valkey.url, **https)
    async with (
        command("app.cli", "serve", cwd=folder) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        here = Secured(service, backend)
        for scheme in ("http", "https"):
            port = int((await service.saw(rf"address=127.0.0.1:(\d+) scheme={scheme}$"))[1])
            (service if scheme == "http" else here).port = port
        await service.saw("worker ready")
        yield here


async def test_one_worker_serves_http_and_https(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here:
        assert (await here.service.ask()).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        plain, encrypted = here.backend.requests
        assert plain.get(b"x-forwarded-proto") == b"http"
        assert encrypted.get(b"x-forwarded-proto") == b"https"
        assert encrypted.get(b"x-client-cert-subject") is None


async def test_a_web_socket_passes_tls(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here, serve_web_socket(echo, "127.0.0.1", 0) as echoes:
        port = next(iter(echoes.sockets)).getsockname()[1]
        async with valkey.client as client:
            await client.rpush("frontend:ws.test", "id", f"http://127.0.0.1:{port}")
        async with connect(
            "wss://ws.test/", host="127.0.0.1", port=here.port, ssl=trusting(), proxy=None
        ) as chat:
            await chat.send("hello")
            assert await chat.recv() == "hello"


@pytest.mark.parametrize("limit", ["maxConnections", "maxConnectionsPerAddress"])
async def test_who_says_nothing_instead_of_a_handshake_is_counted(
    tmp_path: Path, valkey: RedisServer, limit: str
) -> None:
    async with secured(tmp_path, valkey, server={limit: 5}) as here:
        silent = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(5)]
        with pytest.raises(ConnectionError):
            await here.get()
        # Over plain HTTP they are in the way as well, and that can be said.
        assert (await here.service.ask()).startswith(b"HTTP/1.1 503 ")
        for _, writer in silent:
            writer.transport.abort()
        async with asyncio.timeout(10):
            while not (await here.service.ask()).startswith(b"HTTP/1.1 200 "):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")
        here.service.signal(signal.SIGTERM)
        await here.service.ended()
    said = [line for line in here.service.log if "refusing connections" in line]
    assert len(said) == 1
    assert "open=6" in said[0]


async def test_a_worker_without_files_left_pauses_and_goes_on(
    tmp_path: Path, valkey: RedisServer
) -> None:
    """More connections are allowed here than there are files: the fault of who configured it."""
    async with secured(tmp_path, valkey, server={"maxConnections": 1000}) as here:
        worker = here.service.workers()[0]
        files = psutil.Process(worker).num_fds()
        resource.prlimit(worker, resource.RLIMIT_NOFILE, (files + 20, files + 20))
        silent = [await asyncio.open_connection("127.0.0.1", here.port) for _ in range(40)]
        await here.service.saw('"connections can not be accepted" cause="Too many open files"')
        for _, writer in silent:
            writer.transport.abort()
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")


async def test_nonsense_in_place_of_a_handshake_ends_the_connection(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert b"HTTP" not in await reader.read()
        writer.transport.abort()
        assert (await here.get()).startswith(b"HTTP/1.1 200 ")


async def test_a_drain_waits_for_tls_and_lets_nobody_in(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", here.port, ssl=trusting(), server_hostname="a.test"
        )
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        assert (await reader.read()).endswith(b"hi")
        writer.transport.abort()
        assert await here.service.ended() == 0
        with socket.socket() as probe:
            assert probe.connect_ex(("127.0.0.1", here.port)) != 0


ACTIVATED = """
import os, socket
for number in (20, 21):
    os.dup2(socket.create_server(("127.0.0.1", 0)).detach(), number)
for number in (3, 4):
    os.dup2(number + 17, number)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "2", "LISTEN_FDNAMES": "web:https"}
from app.cli import main
main(["serve"])
"""
"""What systemd does for a `hipache.socket`: sockets from descriptor 3 on, with names."""


async def test_sockets_of_systemd_are_served(tmp_path: Path, valkey: RedisServer) -> None:
    write_tls_config(tmp_path, valkey.url)
    environ = os.environ | {"PYTHONPATH": str(ROOT)}
    run = (sys.executable, "-c", ACTIVATED)
    async with (
        program(*run, cwd=tmp_path, environ=environ) as service,
        answering(answer(b"hi")) as backend,
    ):
        async with valkey.client as client:
            await client.rpush("frontend:a.test", "id", backend.url)
        here = Secured(service, backend)
        service.port = int((await service.saw(r"address=127.0.0.1:(\d+) scheme=http$"))[1])
        here.port = int((await service.saw(r"address=127.0.0.1:(\d+) scheme=https$"))[1])
        await service.saw("worker ready")
        assert (await service.ask()).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        service.signal(signal.SIGTERM)
        assert await service.ended() == 0
    assert sum("listening address" in line for line in service.log) == 2


async def test_a_drain_waits_for_a_handshake_that_has_begun(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here:
        reader, writer = await asyncio.open_connection("127.0.0.1", here.port)
        down, up = ssl.MemoryBIO(), ssl.MemoryBIO()
        end = trusting().wrap_bio(down, up, server_hostname="a.test")
        with suppress(ssl.SSLWantReadError):
            end.do_handshake()
        writer.write(up.read())
        down.write(await reader.read(65536))
        here.service.signal(signal.SIGTERM)
        await here.service.saw("worker draining")
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(here.service.process.wait(), 0.5)
        while True:
            try:
                end.do_handshake()
                break
            except ssl.SSLWantReadError:
                down.write(await reader.read(65536))
        end.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        writer.write(up.read())
        down.write(await reader.read())
        assert end.read(65536).endswith(b"hi")
        writer.transport.abort()
        assert await here.service.ended() == 0


@pytest.mark.parametrize(
    ("asked", "shown"),
    [
        ("a.test", "a.test"),
        ("A.Test", "a.test"),
        ("b.wild.test", "*.wild.test"),
        ("exact.wild.test", "a.test"),
        ("b.c.wild.test", "default.test"),
        ("unknown.test", "default.test"),
        (None, "default.test"),
    ],
)
def test_the_folder_has_a_certificate_for_a_name(
    asked: str | None, shown: str, tmp_path: Path
) -> None:
    write(tmp_path, "a.test", EXACT)
    write(tmp_path, "_.wild.test", WILD)
    (tmp_path / "exact.wild.test.pem").write_bytes(chain(EXACT) + private(EXACT))
    assert shown_to(listener(tmp_path), asked) == shown


def listener(folder: Path, **settings: Any) -> TLSListener:
    write(folder, "default", DEFAULT)
    https = {"bind": "::", "certs": str(folder), "cert": f"{folder}/default.crt"}
    https["key"] = f"{folder}/default.key"
    return TLSListener(parse(json.dumps({"https": https | settings})).https.binds[0])


def shown_to(server: TLSListener, name: str | None, client: ssl.SSLContext | None = None) -> str:
    """A handshake in memory."""
    return shown_name(shake(server, name, client)[0])


def shake(
    server: TLSListener, name: str | None, client: ssl.SSLContext | None = None
) -> tuple[ssl.SSLObject, ssl.SSLObject]:
    up, down = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = (
        (client or trusting()).wrap_bio(down, up, server_hostname=name),
        server.context.wrap_bio(up, down, server_side=True),
    )
    waiting = list(ends)
    while waiting:
        end = waiting.pop(0)
        try:
            end.do_handshake()
        except ssl.SSLWantReadError:
            waiting.append(end)
    return ends


def test_a_name_that_is_no_host_name_reaches_no_file(tmp_path: Path) -> None:
    folder = tmp_path / "certs"
    folder.mkdir()
    write(tmp_path, "secret", EXACT)
    server = listener(folder)
    assert server.context_for("../secret") is server.context_for(None)


def test_a_changed_file_serves_the_next_handshake(tmp_path: Path) -> None:
    server = listener(tmp_path)
    write(tmp_path, "a.test", EXACT)
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER)
    write(tmp_path, "default", OTHER)
    assert shown_to(server, "a.test") == "changed.test"
    assert shown_to(server, None) == "changed.test"


def test_without_a_default_an_unknown_name_is_refused(tmp_path: Path) -> None:
    write(tmp_path, "a.test", EXACT)
    https = {"bind": "::", "certs": str(tmp_path)}
    server = TLSListener(parse(json.dumps({"https": https})).https.binds[0])
    assert shown_to(server, "a.test") == "a.test"
    for name in ("b.test", None):
        with pytest.raises(ssl.SSLError):
            shake(server, name)


def test_a_client_without_a_certificate_is_refused_where_one_is_required(tmp_path: Path) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    server = listener(tmp_path, ca=f"{tmp_path}/ca.pem", clientAuth="required")
    with pytest.raises(ssl.SSLError, match="did not return a certificate"):
        shake(server, "default.test")
    known = trusting()
    AUTHORITY.issue_cert("me@a.test").configure_cert(known)
    assert shown_to(server, "default.test", known) == "default.test"


def test_a_file_of_another_kind_takes_over_and_a_name_without_any_has_the_default(
    tmp_path: Path,
) -> None:
    server = listener(tmp_path)
    pem = tmp_path / "a.test.pem"
    pem.write_bytes(chain(EXACT) + private(EXACT))
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER)
    assert shown_to(server, "a.test") == "changed.test"
    (tmp_path / "a.test.crt").unlink()
    pem.unlink()
    assert shown_to(server, "a.test") == "default.test"


def test_a_broken_file_is_named_once_and_the_old_one_stays(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    server = listener(tmp_path)
    write(tmp_path, "a.test", EXACT)
    assert shown_to(server, "a.test") == "a.test"
    write(tmp_path, "a.test", OTHER, key=False)
    for _ in range(2):
        assert shown_to(server, "a.test") == "a.test"
    assert caplog.text.count("a.test.crt with") == 1
    assert "the key does not fit the certificate" in caplog.text


def test_a_thousand_certificates_are_not_read_before_they_are_asked_for(tmp_path: Path) -> None:
    for number in range(1000):
        (tmp_path / f"{number}.test.crt").write_text("not read")
    write(tmp_path, "a.test", EXACT)
    server = listener(tmp_path)
    assert shown_to(server, "a.test") == "a.test"


@pytest.mark.parametrize(
    ("version", "spoken"),
    [(ssl.TLSVersion.TLSv1_2, "TLSv1.2"), (ssl.TLSVersion.TLSv1_3, "TLSv1.3")],
)
def test_old_and_new_clients_are_served(
    version: ssl.TLSVersion, spoken: str, tmp_path: Path
) -> None:
    client = trusting(maximum_version=version)
    client.set_alpn_protocols(["h2", "http/1.1"])
    end, _ = shake(listener(tmp_path), "a.test", client)
    assert (end.version(), end.selected_alpn_protocol()) == (spoken, "http/1.1")


@pytest.mark.filterwarnings("ignore:.*deprecated:DeprecationWarning")
def test_a_client_that_knows_only_tls_1_1_is_refused(tmp_path: Path) -> None:
    client = trusting(minimum_version=ssl.TLSVersion.TLSv1, maximum_version=ssl.TLSVersion.TLSv1_1)
    client.set_ciphers("DEFAULT:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError):
        shake(listener(tmp_path), "a.test", client)


def test_what_is_offered_by_default_is_strong(tmp_path: Path) -> None:
    context = listener(tmp_path).context
    assert weak_ciphers(context) == []
    assert context.options & ssl.OP_NO_RENEGOTIATION
    assert context.options & ssl.OP_CIPHER_SERVER_PREFERENCE
    plain = listener(tmp_path, honorCipherOrder=False).context
    assert not plain.options & ssl.OP_CIPHER_SERVER_PREFERENCE


def test_ciphers_that_weaken_are_accepted_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    listener(tmp_path, ciphers="AES128-SHA:ECDHE-RSA-AES128-GCM-SHA256")
    assert "https.ciphers offers weak ones: AES128-SHA" in caplog.text


async def test_a_client_certificate_is_verified_and_its_subject_passed_on(
    tmp_path: Path, valkey: RedisServer
) -> None:
    AUTHORITY.cert_pem.write_to_path(str(tmp_path / "ca.pem"))
    async with secured(tmp_path, valkey, ca="ca.pem", clientAuth="optional") as here:
        known = trusting()
        AUTHORITY.issue_cert("me@a.test", common_name="me, myself").configure_cert(known)
        assert (await here.get(context=known)).endswith(b"hi")
        assert (await here.get()).endswith(b"hi")
        named, nameless = here.backend.requests
        assert (named.get(b"x-client-cert-subject") or b"").startswith(b"CN=me\\, myself,OU=")
        assert nameless.get(b"x-client-cert-subject") is None
        stranger = trusting()
        trustme.CA().issue_cert("me@a.test").configure_cert(stranger)
        with suppress(ssl.SSLError, ConnectionError):  # or a FIN
            assert await here.get(context=stranger) == b""
        assert len(here.backend.requests) == 2


def test_a_subject_can_not_end_its_field() -> None:
    certificate: dict[str, object] = {"subject": ((("commonName", "a\r\nX: ü"),),)}
    assert subject(certificate) == b"CN=a\\0d\\0aX: \\c3\\bc"


async def test_certificates_come_from_the_store(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey) as here, valkey.client as client:

        async def put(name: str, cert: trustme.LeafCert) -> None:
            pair = {"certificate": chain(cert), "key": private(cert)}
            await client.hset(f"tls:{name}", mapping=pair)

        async def shows(name: str, shown: str) -> None:
            async with asyncio.timeout(10):
                while await here.certificate(name) != shown:
                    pass

        await put("*.wild.test", WILD)
        await put("a.test", EXACT)
        await shows("a.test", "a.test")
        await shows("b.wild.test", "*.wild.test")
        assert await here.certificate("unknown.test") == "default.test"
        await put("a.test", OTHER)
        await shows("a.test", "changed.test")
        await client.hset("tls:a.test", "key", private(EXACT))
        told = asyncio.create_task(here.service.saw("refused.*tls:a.test: the key does not fit"))
        while not told.done():
            assert await here.certificate("a.test") == "changed.test"
        await told


async def test_http_is_sent_to_https_where_it_shall(tmp_path: Path, valkey: RedisServer) -> None:
    async with secured(tmp_path, valkey, redirect=True, hsts=60) as here:
        reply = (await here.service.ask(target="/x?y")).lower()
        assert reply.startswith(b"http/1.1 308 ")
        assert b"\r\nlocation: https://a.test/x?y\r\n" in reply
        challenge = await here.service.ask(target="/.well-known/acme-challenge/token")
        assert challenge.endswith(b"hi")
        assert b"strict-transport-security" not in challenge.lower()
        assert b"\r\nstrict-transport-security: max-age=60\r\n" in (await here.get()).lower()


async def test_a_frontend_may_have_its_own_word_on_https(
    tmp_path: Path, valkey: RedisServer
) -> None:
    async with secured(tmp_path, valkey) as here, valkey.client as client:
        assert (await here.service.ask()).endswith(b"hi")
        await client.hset("options:a.test", mapping={"redirect": "on", "hsts": "5"})
        async with asyncio.timeout(10):
            while not (await here.service.ask()).startswith(b"HTTP/1.1 308 "):
                pass
        assert b"strict-transport-security: max-age=5\r\n" in (await here.get()).lower()


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"key": "other.key"}, "default.crt with other.key: the key does not fit the certificate"),
        ({"key": "locked.key"}, "the passphrase does not open the key"),
        ({"cert": "gone.crt"}, "gone.crt: No such file or directory"),
        ({"cert": "other.key"}, "not a certificate and key in PEM form"),
        ({"certs": "nowhere"}, "https.certs: nowhere: no such folder"),
        ({"ciphers": "ROT13"}, "https.ciphers: OpenSSL knows none of them"),
        ({"ca": "gone.pem", "clientAuth": "required"}, "https.ca: gone.pem: No such file"),
        ({"clientAuth": "required"}, "expected a ca that signs the certificates of clients"),
    ],
)
def test_what_keeps_tls_from_being_served_is_told_in_one_line(
    change: dict[str, Any], told: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from app.workers.listening import tls_listeners

    monkeypatch.chdir(tmp_path)
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "other", OTHER)
    locked = private(DEFAULT)
    Path("locked.key").write_bytes(encrypted(locked, b"open sesame"))
    https = {"bind": "::", "key": "default.key", "cert": "default.crt"} | change
    with pytest.raises(ConfigError) as error:
        tls_listeners(parse(json.dumps({"https": https})))
    assert told in str(error.value)
    assert "\n" not in str(error.value)


def encrypted(key: bytes, passphrase: bytes) -> bytes:
    from cryptography.hazmat.primitives import serialization as s

    loaded = s.load_pem_private_key(key, None)
    form = s.PrivateFormat.TraditionalOpenSSL
    return loaded.private_bytes(s.Encoding.PEM, form, s.BestAvailableEncryption(passphrase))


def test_a_passphrase_opens_its_key(tmp_path: Path) -> None:
    write(tmp_path, "x", DEFAULT)
    (tmp_path / "locked.key").write_bytes(encrypted(private(DEFAULT), b"open sesame"))
    server = listener(tmp_path, key=f"{tmp_path}/locked.key", passphrase="open sesame")
    assert shown_to(server, None) == "default.test"


@pytest.mark.parametrize(
    "until", [datetime(2049, 12, 31, tzinfo=UTC), datetime(2055, 6, 1, 12, 30, tzinfo=UTC)]
)
def test_when_a_certificate_ends_is_read_from_it(until: datetime) -> None:
    assert expiry(chain(AUTHORITY.issue_cert("a.test", not_after=until))) == until


def test_the_end_of_every_certificate_is_known(tmp_path: Path) -> None:
    server = {"bind": "::", "cert": f"{tmp_path}/default.crt", "key": f"{tmp_path}/default.key"}
    write(tmp_path, "default", DEFAULT)
    write(tmp_path, "a.test", EXACT)
    (tmp_path / "broken.pem").write_text("?")
    binds = parse(json.dumps({"https": server | {"certs": str(tmp_path)}})).https.binds
    found = {os.path.basename(path): end for path, end in expiries(binds)}
    assert found["default.crt"] == expiry(chain(DEFAULT))
    assert found["a.test.crt"] == expiry(chain(EXACT))
    assert found["broken.pem"] == "no certificate in it"
    write(tmp_path, "a.test", OTHER)
    assert dict(expiries(binds))[f"{tmp_path}/a.test.crt"] == expiry(chain(OTHER))


async def test_the_end_of_certificates_in_the_store_is_known(valkey: RedisServer) -> None:
    async with valkey.client as client:
        await client.hset("tls:a.test", mapping={"certificate": chain(EXACT), "key": "secret"})
        await client.hset("tls:*.wild.test", mapping={"certificate": "?", "key": "secret"})
        await client.set("tls:other", "of somebody else")
    first, *others, last = await stored_expiries((valkey.url,))
    assert first == ("tls:*.wild.test", "no certificate in it")
    assert others == [("tls:a.test", expiry(chain(EXACT)))]
    assert "WRONGTYPE" in str(last[1])
    assert await stored_expiries(("file:routes.toml",)) == []
    with pytest.raises(StoreUnavailable):
        await stored_expiries(("redis://127.0.0.1:1",))
