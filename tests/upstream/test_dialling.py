"""TLS, unix sockets, IPv6, and names with several addresses."""

from __future__ import annotations

import asyncio
import errno
import os
import resource
import socket
import ssl
import subprocess
import sys

import pytest
import trustme

from app.config.backend_tls import BackendTLS
from app.config.structs import Config, ServerConfig, parse
from app.errors import (
    ConfigError,
    UpstreamCut,
    UpstreamExhausted,
    UpstreamTLSFailure,
    UpstreamUnreachable,
    UpstreamUnresolved,
)
from app.upstream import dialling
from app.upstream.client import UpstreamClient
from app.upstream.dialling import first_to_connect
from tests import resolver
from tests.backends import Conversation, answer, answering, refusing, scripted, unreachable
from tests.processes import ROOT
from tests.upstream.asking import asked, opened


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def files(authority, tmp_path):
    """Paths as in `backendTLS`."""
    authority.cert_pem.write_to_path(tmp_path / "ca.pem")
    ours = authority.issue_cert("proxy.example.org")
    ours.private_key_and_cert_chain_pem.write_to_path(tmp_path / "client.pem")
    return {"ca": str(tmp_path / "ca.pem"), "cert": str(tmp_path / "client.pem")}


def server_side(authority: trustme.CA, *names: str) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert(*names).configure_cert(context)
    return context


def trusting(**settings: object) -> UpstreamClient:
    return UpstreamClient(Config(backend_tls=BackendTLS(**settings)))


async def test_a_trusted_certificate_of_the_right_name_is_accepted(authority, files):
    asked_names = []
    tls = server_side(authority, "127.0.0.1", "localhost")
    tls.sni_callback = lambda _socket, name, _context: asked_names.append(name)
    async with answering(answer(b"hello"), tls=tls) as backend, trusting(ca=files["ca"]) as client:
        url = f"https://localhost:{backend.port}"
        for _ in range(2):
            assert (await asked(client, url)).body == b"hello"
        assert (backend.accepted, asked_names) == (1, ["localhost"])
        assert (await asked(client, backend.url)).body == b"hello"  # an address is verified too


@pytest.mark.parametrize(
    ("name", "trusted"),
    [pytest.param("example.org", True, id="other name"), pytest.param("127.0.0.1", False, id="CA")],
)
async def test_a_certificate_that_proves_nothing_is_refused(authority, files, name, trusted):
    tls = server_side(authority, name)
    settings = {"ca": files["ca"]} if trusted else {}
    async with answering(answer(b"hello"), tls=tls) as backend, trusting(**settings) as client:
        with pytest.raises(UpstreamTLSFailure, match=r"(?i)certificate") as caught:
            await opened(client, backend.url)
        assert not caught.value.request_sent
        assert backend.requests == []


async def test_verification_can_be_switched_off(authority):
    tls = server_side(authority, "example.org")
    async with answering(answer(b"hello"), tls=tls) as backend, trusting(verify=False) as client:
        assert (await asked(client, backend.url)).body == b"hello"


async def test_a_client_certificate_is_shown(authority, files):
    tls = server_side(authority, "127.0.0.1")
    tls.verify_mode = ssl.CERT_REQUIRED
    authority.configure_trust(tls)
    async with answering(answer(b"hello"), tls=tls) as backend, trusting(**files) as client:
        assert (await asked(client, backend.url)).body == b"hello"


async def test_a_backend_without_tls_fails_the_handshake():
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer(b"", status=b"400 Bad Request"))
        await conversation.gone()

    async with scripted(script) as backend, trusting(verify=False) as client:
        with pytest.raises(UpstreamTLSFailure):
            await opened(client, backend.url.replace("http:", "https:"))


@pytest.mark.parametrize("end", ["close_notify", "cut"])
async def test_only_an_orderly_end_of_tls_ends_a_body_without_length(authority, files, end):
    async def script(conversation: Conversation) -> None:
        await conversation.receive()
        await conversation.send(b"HTTP/1.1 200 OK\r\n\r\nhello")
        if end == "cut":
            conversation.reset()

    tls = server_side(authority, "127.0.0.1")
    async with scripted(script, tls=tls) as backend, trusting(ca=files["ca"]) as client:
        if end == "close_notify":
            assert (await asked(client, backend.url)).body == b"hello"
        else:
            with pytest.raises(UpstreamCut):
                await asked(client, backend.url)


async def test_large_bodies_pass_tls_both_ways(authority, files):
    async def script(conversation: Conversation) -> None:
        await conversation.send(answer((await conversation.receive()).body))

    body = bytes(range(256)) * 4096
    tls = server_side(authority, "127.0.0.1")
    async with scripted(script, tls=tls) as backend, trusting(ca=files["ca"]) as client:
        length = b"Content-Length: %d" % len(body)
        got = await asked(client, backend.url, length, method=b"PUT", body=body)
        assert got.body == body


@pytest.mark.parametrize("key", ["ca", "cert"])
def test_a_file_that_is_not_there_is_a_config_error(key):
    with pytest.raises(ConfigError, match=rf"backendTLS\.{key}: /nowhere: No such file"):
        trusting(**{key: "/nowhere"})


def test_a_key_without_a_certificate_is_a_config_error():
    with pytest.raises(ConfigError, match=r"backendTLS\.key: expected a backendTLS\.cert"):
        parse('{"backendTLS": {"key": "key.pem"}}')


async def test_a_unix_socket(client, tmp_path):
    async with answering(answer(b"hello"), path=str(tmp_path / "socket")) as backend:
        assert [(await asked(client, backend.url)).body for _ in range(2)] == [b"hello"] * 2
        assert backend.accepted == 1
    with pytest.raises(UpstreamUnreachable, match="No such file"):
        await opened(client, f"unix:{tmp_path}/nothing")


async def test_ipv6(client):
    async with answering(answer(b"hello"), host="::1") as backend:
        assert (await asked(client, backend.url)).body == b"hello"


async def test_a_name_that_can_not_be_one_is_unreachable(client):
    with pytest.raises(UpstreamUnreachable):
        await opened(client, f"http://{'a' * 64}.localhost:1")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        pytest.param(socket.EAI_AGAIN, UpstreamUnresolved, id="for now"),
        pytest.param(socket.EAI_FAIL, UpstreamUnresolved, id="it refuses"),
        pytest.param(socket.EAI_NONAME, UpstreamUnreachable, id="there is no such name"),
    ],
)
async def test_a_resolver_that_does_not_know_is_told_from_a_name_that_does_not_exist(
    client, monkeypatch, code, kind
):
    resolver.failing(monkeypatch, code)
    with pytest.raises(UpstreamUnreachable, match="the resolver says so") as caught:
        await opened(client, "http://backend.test")
    assert type(caught.value) is kind


async def test_a_resolver_that_says_nothing_is_not_the_backends_silence(monkeypatch):
    short = Config(server=ServerConfig(connect_timeout=0.05))
    with resolver.silent(monkeypatch):
        async with UpstreamClient(short) as client:
            with pytest.raises(UpstreamUnresolved):
                await opened(client, "http://backend.test")


def address(url: str) -> tuple[int, tuple[object, ...]]:
    return socket.AF_INET, ("127.0.0.1", int(url.rpartition(":")[2]))


async def test_the_next_address_is_tried_when_one_refuses_or_does_not_answer():
    async with refusing() as refused, unreachable() as lost, answering(answer(b"")) as backend:
        addresses = [address(url) for url in (refused, lost, backend.url)]
        with await first_to_connect(addresses) as sock:
            assert sock.getpeername() == address(backend.url)[1]


async def test_when_all_addresses_fail_the_first_failure_is_told():
    async with refusing() as one, refusing() as other:
        with pytest.raises(ConnectionRefusedError):
            await first_to_connect([address(one), address(other)])


async def test_an_address_needs_neither_a_look_up_nor_a_thread(client, monkeypatch):
    """Under uvloop `sock_connect` waits for the threads of `getaddrinfo`."""
    loop = asyncio.get_running_loop()
    for name in ("sock_connect", "getaddrinfo", "run_in_executor"):
        monkeypatch.setattr(loop, name, None)
    async with answering(answer(b"hello")) as backend:
        assert (await asked(client, backend.url)).body == b"hello"


async def test_a_connection_that_is_given_up_leaves_nothing_behind():
    async with unreachable() as lost:
        before = os.listdir("/proc/self/fd")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await first_to_connect([address(lost)])
        assert os.listdir("/proc/self/fd") == before


async def test_what_this_machine_lacks_is_told_only_where_no_address_says_more(monkeypatch):
    async with refusing() as refused:
        real = dialling._connect

        async def connect(there):
            if there[0] == socket.AF_INET6:
                raise OSError(errno.EADDRNOTAVAIL, "IPv6 is switched off")
            return await real(there)

        monkeypatch.setattr(dialling, "_connect", connect)
        six = socket.AF_INET6, ("::1", 1, 0, 0)
        with pytest.raises(ConnectionRefusedError):
            await first_to_connect([six, address(refused)])
        with pytest.raises(OSError, match="switched off"):
            await first_to_connect([six, six])


async def test_no_file_left_is_our_want_and_not_the_backends(client):
    async with answering(answer(b"hello")) as backend:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        lowest_free = os.dup(0)
        os.close(lowest_free)
        resource.setrlimit(resource.RLIMIT_NOFILE, (lowest_free, hard))
        try:
            with pytest.raises(UpstreamExhausted, match="another connection: Too many open"):
                await opened(client, backend.url)
        finally:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        assert (await asked(client, backend.url)).body == b"hello"


def test_names_can_be_looked_up_where_python_can_not_be_read_any_more() -> None:
    code = (
        "import app.upstream.dialling, encodings, sys\n"
        "sys.path[:] = encodings.__path__[:] = []\n"
        "'a.test'.encode('idna')"
    )
    subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=True)
