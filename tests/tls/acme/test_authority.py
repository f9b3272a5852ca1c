"""The conversation with a CA, from its directory to a certificate."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from app.config.acme import AcmeConfig, ExternalAccount
from app.stores.certificate_store import Pair
from app.tls.acme import authority
from app.tls.acme.authority import Account, Authority
from app.tls.acme.failures import OrderFailed
from tests.tls.acme.ca import AcmeCA, Problem, acme_ca
from tests.tls.acme.pebble import needs_pebble, pebble
from tests.tls.acme.serving import names_in


class Answers(dict[str, str]):
    """A server that answers challenges with what is in here."""

    port = 0


@pytest.fixture
def answers() -> Iterator[Answers]:
    found = Answers()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            text = found.get(self.path.rpartition("/")[2], "").encode()
            self.send_response(200 if text else 404)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def log_message(self, *args: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    found.port = server.server_address[1]
    threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
    yield found
    server.shutdown()
    server.server_close()


@pytest.fixture
def ca(tmp_path: Path, answers: Answers) -> Iterator[AcmeCA]:
    with acme_ca(tmp_path, answers.port) as server:
        yield server


def settings(ca: Any, **more: Any) -> AcmeConfig:
    return AcmeConfig(agree=True, directory=ca.directory, ca=ca.ca, **more)


def get(talk: Authority, answers: Answers, name: str = "www.example.test") -> Pair:
    talk.open()
    order = talk.order(name)
    answers.update(order.answers)
    return talk.finish(order)


def test_a_name_gets_a_certificate_and_a_key_that_fit(ca: AcmeCA, answers: Answers) -> None:
    ca.bad_nonces = 5
    talk = Authority(settings(ca, email="me@example.test", profile="short"), Account.new())
    certificate, key = get(talk, answers)
    found = x509.load_pem_x509_certificate(certificate.encode())
    assert names_in(found) == ["www.example.test"]
    assert found.public_key() == load_pem_private_key(key.encode(), None).public_key()
    assert [order.profile for order in ca.orders] == ["short"]
    assert ca.contacts[0]["contact"] == ["mailto:me@example.test"]


def test_an_account_is_used_again_and_made_again_where_the_ca_has_lost_it(
    ca: AcmeCA, answers: Answers
) -> None:
    talk = Authority(settings(ca), Account.new())
    get(talk, answers)
    again = Authority(settings(ca), Account.read(talk.account.text()))
    get(again, answers, "b.example.test")
    assert len(ca.contacts) == 1
    ca.accounts.clear()
    get(Authority(settings(ca), again.account), answers, "c.example.test")
    assert len(ca.contacts) == 2


def test_an_order_says_what_it_renews_where_the_ca_has_advice(ca: AcmeCA, answers: Answers) -> None:
    talk = Authority(settings(ca), Account.new())
    first, _ = get(talk, answers)
    talk.order("www.example.test", first)
    ca.window = datetime.now(UTC), datetime.now(UTC)
    talk.open()
    talk.order("www.example.test", first)
    talk.order("www.example.test", first)  # which another order has replaced already
    assert [bool(order.replaces) for order in ca.orders] == [False, False, True, False]


def test_a_key_that_the_ca_knows_already_finds_its_account(ca: AcmeCA, answers: Answers) -> None:
    talk = Authority(settings(ca), Account.new())
    talk.open()
    same = Authority(settings(ca), msgspec.structs.replace(talk.account, uri=""))
    same.open()
    assert same.account == talk.account


def test_an_rsa_key_can_be_wanted(ca: AcmeCA, answers: Answers) -> None:
    _, key = get(Authority(settings(ca, key_type="rsa2048"), Account.new()), answers)
    loaded = load_pem_private_key(key.encode(), None)
    assert isinstance(loaded, rsa.RSAPrivateKey)
    assert loaded.key_size == 2048


def test_an_account_is_bound_to_a_customer(ca: AcmeCA, answers: Answers) -> None:
    ca.eab = "kid-1", "zWNDZM6eQGHWpSRTPal5eIUYFTu7EajVIoguysqZ9wG44nMEtx3MUAsUDkMTQ12W"
    bound = ExternalAccount(kid=ca.eab[0], key=ca.eab[1])
    get(Authority(settings(ca, eab=bound), Account.new()), answers)
    with pytest.raises(OrderFailed, match="externalAccountRequired") as caught:
        Authority(settings(ca, eab=ExternalAccount(kid="x", key="eHh4")), Account.new()).open()
    assert caught.value.of_the_ca


def test_a_challenge_that_is_not_answered_is_the_names_own_fault(
    ca: AcmeCA, answers: Answers
) -> None:
    talk = Authority(settings(ca), Account.new())
    talk.open()
    with pytest.raises(OrderFailed, match=r"www\.example\.test answered 404") as caught:
        talk.finish(talk.order("www.example.test"))
    assert not caught.value.of_the_ca


@pytest.mark.parametrize(
    ("problem", "of_the_ca", "retry_after"),
    [
        (Problem("rateLimited", 429, Retry_After="120"), True, 120),
        (Problem("serverInternal", 500), True, 0),
        (Problem("rejectedIdentifier", 400), False, 0),
        (Problem("caa", 403), False, 0),
    ],
    ids=lambda value: getattr(value, "code", None),
)
def test_what_a_ca_refuses(
    ca: AcmeCA, answers: Answers, problem: Problem, of_the_ca: bool, retry_after: int
) -> None:
    ca.refuse["new-order"] = problem
    with pytest.raises(OrderFailed, match=f"{problem.code}: so it is") as caught:
        get(Authority(settings(ca), Account.new()), answers)
    assert caught.value.of_the_ca is of_the_ca
    assert caught.value.retry_after == pytest.approx(retry_after, abs=2)


def test_a_ca_that_is_away_says_nothing_or_is_not_trusted(
    ca: AcmeCA, answers: Answers, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    unknown = AcmeConfig(agree=True, directory=ca.directory)
    where, hint = rf"127\.0\.0\.1:{ca.port}", r"\(https\.acme\.ca names"
    with pytest.raises(OrderFailed, match=rf"not trusted: {where}: .*issuer.* {hint}") as caught:
        Authority(unknown, Account.new()).open()
    assert caught.value.of_the_ca
    monkeypatch.setattr(authority, "ANSWER_WITHIN", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # not even its TLS begins
        url = f"https://127.0.0.1:{silent.getsockname()[1]}/"
        with pytest.raises(OrderFailed, match="does not answer"):
            Authority(AcmeConfig(agree=True, directory=url), Account.new()).open()
    ca.silent.set()
    with pytest.raises(OrderFailed, match="does not answer") as caught:
        Authority(settings(ca), Account.new()).open()
    assert caught.value.of_the_ca
    ca.stop()
    with pytest.raises(OrderFailed, match=rf"reached: {where}: Connection refused$") as caught:
        Authority(settings(ca), Account.new()).open()
    assert caught.value.of_the_ca


def test_what_is_no_acme_is_told_in_one_line(answers: Answers, tmp_path: Path, ca: AcmeCA) -> None:
    other = AcmeConfig(agree=True, directory=f"{ca.url}/nowhere", ca=ca.ca)
    with pytest.raises(OrderFailed) as caught:
        Authority(other, Account.new()).open()
    assert f"status 404 of {ca.url}/nowhere" in str(caught.value)
    plain = AcmeConfig(agree=True, directory=f"https://127.0.0.1:{answers.port}/", ca=ca.ca)
    with pytest.raises(OrderFailed, match=r"wrong version number$"):
        Authority(plain, Account.new()).open()
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) <= 300


def test_an_accounts_key_is_in_no_text_but_the_stores() -> None:
    account = Account.new()
    secret = msgspec.json.decode(account.key)["d"]
    assert secret in account.text()
    assert secret not in repr(account)
    with pytest.raises(OrderFailed) as caught:
        Account.read(f'{{"key": {secret}')
    assert secret not in str(caught.value)


@needs_pebble
async def test_pebble_gives_a_certificate_to_a_name(tmp_path: Path, answers: Answers) -> None:
    async with pebble(tmp_path, answers.port) as server:
        talk = Authority(settings(server), Account.new())
        certificate, _ = get(talk, answers)
        assert names_in(x509.load_pem_x509_certificate(certificate.encode())) == [
            "www.example.test"
        ]
        server.kill()
        await server.start()  # it has forgotten the account
        get(Authority(settings(server), talk.account), answers, "b.example.test")
