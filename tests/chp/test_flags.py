"""The flags of `hipache chp`: those that are refused, and what the others come to."""

from __future__ import annotations

import json
import ssl
import threading
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import click
import pytest
import trustme
from click.testing import CliRunner

from app.chp.chp_options import ChpOptions
from app.cli import main
from app.commands.chp import options_of
from app.errors import ConfigError
from tests.chp.programs import TOKEN, HubProxy, echo, start
from tests.ports import free_port, listens

REFUSED = [
    (["--ssl-protocol", "TLSv1_2"], "TLS 1.2 and 1.3"),
    (["--ssl-allow-rc4"], "RFC 7465"),
    (["--ssl-dhparam", "x"], "no file is needed"),
    (["--storage-backend", "nothing:"], "expected one of redis:"),
    (["--storage-backend", "my-module"], "--storage-backend"),
    (["--storage-backend", "file:pyproject.toml"], "expected a folder"),
    (["--custom-header", "invalid"], "a colon was expected"),
    (["--custom-header", "a b: c"], "no field of HTTP"),
    (["--error-target", "http://x", "--error-path", "/x"], "take one"),
    (["--error-target", "nowhere"], "--error-target"),
    (["--redirect-port", "8080"], "needs --ssl-cert"),
    (["--ssl-key", "x"], "needs --ssl-cert"),
    (["--ssl-ca", "x"], "need --ssl-cert"),
    (["--ssl-cert", "x", "--ssl-request-cert"], "needs --ssl-ca"),
    (["--socket", "/x", "--port", "1"], "do not go together"),
]


@pytest.mark.parametrize(("flags", "why"), REFUSED, ids=str)
def test_what_cannot_be_honoured_is_refused(flags: list[str], why: str) -> None:
    done = CliRunner().invoke(main, ["chp", *flags])
    assert done.exit_code == 78
    assert why in done.output


def parsed(*flags: str, **environ: str) -> ChpOptions:
    group = click.Context(main, **main.context_settings)
    with main.commands["chp"].make_context("chp", list(flags), parent=group) as context:
        return options_of(context.params, environ)


def test_where_it_listens_by_default() -> None:
    options = parsed()
    assert [str(each) for each in options.public] == ["0.0.0.0:8000", "[::]:8000"]
    assert [str(each) for each in options.api] == ["localhost:8001"]
    assert options.metrics == ()
    assert str(parsed("--port", "90").api[0]) == "localhost:91"
    assert str(parsed("--socket", "/run/x").public[0]) == "unix:/run/x"
    assert str(parsed("--socket", "/run/x").api[0]) == "localhost:8001"
    for everywhere in ("*", "::", "[::]"):  # zero-to-jupyterhub's chart says --ip=::
        assert parsed("--ip", everywhere).public == options.public


def test_times_are_milliseconds() -> None:
    server = parsed("--timeout", "9000", "--proxy-timeout", "5000").config().server
    assert (server.tcp_timeout, server.keep_alive_timeout) == (5, 9)
    assert parsed("--keep-alive-timeout", "1500").config().server.keep_alive_timeout == 1.5
    assert parsed().config().server.tcp_timeout == 0


def test_targets_are_verified_unless_told_otherwise() -> None:
    tls = parsed("--client-ssl-ca", "ca", "--client-ssl-cert", "c", "--client-ssl-key", "k")
    config = tls.config().backend_tls
    assert (config.ca, config.cert, config.key, config.verify) == ("ca", "c", "k", True)
    assert not parsed("--insecure").config().backend_tls.verify


def test_a_bad_level_of_the_log_is_named() -> None:
    assert CliRunner().invoke(main, ["chp", "--log-level", "loud"]).exit_code == 2


def test_passphrases_come_from_the_environment() -> None:
    options = parsed(CONFIGPROXY_SSL_KEY_PASSPHRASE="a", CONFIGPROXY_API_SSL_KEY_PASSPHRASE="b")
    assert (options.tls.passphrase, options.api_tls.passphrase) == ("a", "b")


def test_a_client_certificate_is_insisted_on_only_where_told() -> None:
    flags = ("--ssl-cert", "c", "--ssl-ca", "a", "--ssl-request-cert")
    for more, expected in (((), "optional"), (("--ssl-reject-unauthorized",), "required")):
        bind = parsed(*flags, *more).tls.bind("ssl")
        assert bind is not None
        assert bind.client_auth == expected
    assert parsed().tls.bind("ssl") is None
    with pytest.raises(ConfigError):
        parsed("--api-ssl-key", "k").api_tls.bind("api-ssl")


class Secured:
    """A proxy with TLS on both sides."""

    def __init__(self, proxy: HubProxy, redirect: int, trust: ssl.SSLContext) -> None:
        self.proxy, self.redirect, self.trust = proxy, redirect, trust

    def get(self, url: str) -> tuple[int, bytes, str]:
        asked = urllib.request.Request(url, headers={"Authorization": f"token {TOKEN}"})
        with urllib.request.urlopen(asked, context=self.trust, timeout=10) as got:
            return got.status, got.read(), got.url


@pytest.fixture(scope="module")
def secured(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secured]:
    folder = tmp_path_factory.mktemp("chp-tls")
    authority, redirect = trustme.CA(), free_port()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(folder / "pem")
    trust = ssl.create_default_context(cadata=authority.cert_pem.bytes().decode())
    files = [f"--{side}-{part}={folder / 'pem'}" for side in ("ssl", "api-ssl") for part in PARTS]
    with ExitStack() as stack:
        target = f"http://127.0.0.1:{stack.enter_context(echo())}"
        proxy = start(
            folder, *files, "--default-target", target, "--redirect-port", str(redirect),
            "--redirect-to", "444", "--log-level", "info",
        )  # fmt: skip
        stack.callback(proxy.stop)
        until(lambda: all(map(listens, (proxy.port, proxy.api_port, redirect))), proxy)
        yield Secured(proxy, redirect, trust)


PARTS = ("key", "cert")


def until(true: Callable[[], object], proxy: HubProxy) -> None:
    pause = threading.Event()
    for _ in range(400):
        if true():
            return
        assert proxy.process.poll() is None, proxy.log.read_text()
        pause.wait(0.05)
    raise AssertionError(proxy.log.read_text())


def test_clients_and_the_hub_are_served_over_tls(secured: Secured) -> None:
    proxy = secured.proxy
    status, body, _ = secured.get(f"https://127.0.0.1:{proxy.port}/any/path")
    assert (status, b'"/any/path"' in body) == (200, True)
    status, body, _ = secured.get(f"https://127.0.0.1:{proxy.api_port}/api/routes")
    assert (status, list(json.loads(body))) == (200, ["/"])


def test_the_redirect_port_leads_to_https(secured: Secured) -> None:
    said = secured.proxy.ask(secured.redirect, "GET", "/x?y", headers={"Host": "hub.test:80"})
    assert (said.status, said.headers["location"]) == (301, "https://hub.test:444/x?y")


def test_it_ends_when_told(tmp_path: Path) -> None:
    proxy = start(tmp_path, "--pid-file", str(tmp_path / "pid"))
    try:
        noted, pid = tmp_path / "pid", str(proxy.process.pid)
        until(lambda: noted.exists() and noted.read_text() == pid, proxy)
    finally:
        proxy.stop()
    assert not (tmp_path / "pid").exists()
