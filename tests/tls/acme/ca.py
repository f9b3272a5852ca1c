"""A small CA that speaks ACME (RFC 8555) on loopback: it checks signatures and nonces, and really
asks for challenges, at one port of 127.0.0.1 for every name. It has advice on renewals (RFC 9773).
"""

from __future__ import annotations

import http.client
import json
import secrets
import ssl
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import trustme
from acme import jws
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from josepy.b64 import b64decode, b64encode
from josepy.jwk import JWK, JWKOct


class Problem(Exception):
    def __init__(self, code: str, status: int = 400, **headers: str) -> None:
        self.code, self.status, self.headers = code, status, headers


@dataclass
class CertificateOrder:
    name: str
    thumbprint: str
    profile: str | None
    replaces: str | None
    token: str = field(default_factory=lambda: secrets.token_urlsafe(16))
    state: str = "pending"
    error: str = ""
    certificate: bytes = b""


class AcmeCA:
    """The CA's state, and what tests change about it."""

    def __init__(self, folder: Path, http_port: int) -> None:
        """`http_port`: where it asks for challenges."""
        self.http_port = http_port
        self.orders: list[CertificateOrder] = []
        self.accounts: dict[str, JWK] = {}
        self.contacts: list[dict[str, Any]] = []
        self.bad_nonces = 0
        """So many good nonces are refused."""
        self.refuse: dict[str, Problem] = {}
        """By the last part of a path."""
        self.silent = threading.Event()
        """While it is set, connections are accepted and nothing is said."""
        self.released = threading.Event()
        self.eab: tuple[str, str] | None = None
        self.life = timedelta(days=90)
        self.age = timedelta(hours=1)
        """How long ago certificates began when they are issued."""
        self.window: tuple[datetime, datetime] | None = None
        """When certificates are to be renewed."""
        self.asked: list[str] = []
        """Paths of requests."""
        self._nonces: set[str] = set()
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "A CA for tests")])
        authority = trustme.CA()
        authority.cert_pem.write_to_path(str(folder / "directory-ca.pem"))
        self.ca = str(folder / "directory-ca.pem")
        self._tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        authority.issue_cert("127.0.0.1").configure_cert(self._tls)
        self._server: ThreadingHTTPServer | None = None
        self.port = 0

    @property
    def directory(self) -> str:
        return f"{self.url}/directory"

    @property
    def url(self) -> str:
        return f"https://127.0.0.1:{self.port}"

    def start(self) -> None:
        ca = self

        class Handler(_Handler):
            authority = ca

        server = self._server = _TLSServer(("127.0.0.1", self.port), Handler)
        server.context = self._tls
        self.port = server.server_address[1]
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()

    def stop(self) -> None:
        """It listens no more; what it knows stays."""
        if self._server is not None:
            self.released.set()
            self._server.shutdown()
            self._server.server_close()
            self._server = None

    def issued(self, name: str) -> int:
        return sum(order.name == name and order.state == "valid" for order in self.orders)

    def ordered(self, name: str) -> int:
        return sum(order.name == name for order in self.orders)

    # What it does.

    def nonce(self) -> str:
        new = secrets.token_urlsafe(16)
        self._nonces.add(new)
        return new

    def verified(self, body: bytes, url: str) -> tuple[Any, str, JWK]:
        """The payload, the account's URI and the key. Raises Problem."""
        signed = jws.JWS.json_loads(body)
        header = signed.signature.combined
        key = header.jwk or self.accounts.get(header.kid or "")
        if key is None:
            raise Problem("accountDoesNotExist")
        nonce = b64encode(header.nonce).decode()
        if nonce not in self._nonces or self.bad_nonces > 0:
            self.bad_nonces -= 1
            raise Problem("badNonce")
        self._nonces.discard(nonce)
        if header.url != url or not signed.verify(key):
            raise Problem("unauthorized", 403)
        return json.loads(signed.payload) if signed.payload else None, header.kid or "", key

    def account(self, payload: dict[str, Any], key: JWK) -> tuple[int, str]:
        if self.eab is not None:
            bound = jws.JWS.from_json(payload.get("externalAccountBinding") or {})
            secret = JWKOct(key=b64decode(self.eab[1]))
            if bound.signature.combined.kid != self.eab[0] or not bound.verify(secret):
                raise Problem("externalAccountRequired", 403)
        assert payload["termsOfServiceAgreed"] is True
        self.contacts.append(payload)
        for uri, known in self.accounts.items():
            if known == key:
                return 200, uri
        uri = f"{self.url}/account/{len(self.accounts)}"
        self.accounts[uri] = key
        return 201, uri

    def order(self, payload: dict[str, Any], key: JWK) -> int:
        (identifier,) = payload["identifiers"]
        thumbprint = b64encode(key.thumbprint()).decode()
        if payload.get("replaces") in {order.replaces for order in self.orders} - {None}:
            raise Problem("alreadyReplaced", 409)
        order = CertificateOrder(
            identifier["value"], thumbprint, payload.get("profile"), payload.get("replaces")
        )
        self.orders.append(order)
        return len(self.orders) - 1

    def validate(self, order: CertificateOrder) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.http_port, timeout=5)
        path = f"/.well-known/acme-challenge/{order.token}"
        try:
            connection.request("GET", path, headers={"Host": order.name})
            answer = connection.getresponse()
            found = answer.read().decode().strip()
        except OSError as exc:
            order.state, order.error = "invalid", f"{order.name}: {exc}"
            return
        finally:
            connection.close()
        if answer.status == 200 and found == f"{order.token}.{order.thumbprint}":
            order.state = "ready"
        else:
            order.state, order.error = "invalid", f"{order.name} answered {answer.status}"

    def issue(self, order: CertificateOrder, request: x509.CertificateSigningRequest) -> None:
        names = request.extensions.get_extension_for_class(x509.SubjectAlternativeName)
        assert names.value.get_values_for_type(x509.DNSName) == [order.name]
        begins = datetime.now(UTC) - self.age
        public = self._key.public_key()
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        certificate = (
            x509.CertificateBuilder(self.name, request.subject, request.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(begins)
            .not_valid_after(begins + self.life)
            .add_extension(names.value, critical=False)
            .add_extension(authority, critical=False)
            .sign(self._key, hashes.SHA256())
        )
        order.certificate = certificate.public_bytes(serialization.Encoding.PEM)
        order.state = "valid"


class _TLSServer(ThreadingHTTPServer):
    daemon_threads = True
    context: ssl.SSLContext

    def finish_request(self, request: Any, client_address: Any) -> None:
        with self.context.wrap_socket(request, server_side=True) as secured:
            super().finish_request(secured, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # a client that has gone


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    authority: AcmeCA

    def log_message(self, *args: Any) -> None:
        pass

    def do_GET(self) -> None:
        self._answer_with(self._get)

    do_HEAD = do_GET

    def do_POST(self) -> None:
        self._answer_with(self._post)

    def _answer_with(self, work: Any) -> None:
        ca, kind = self.authority, self.path.rpartition("/")[2].partition("?")[0]
        ca.asked.append(self.path)
        if ca.silent.is_set():
            ca.released.wait(30)
            self.close_connection = True
            return
        try:
            if kind in ca.refuse:
                raise ca.refuse[kind]
            status, body, headers = work()
        except Problem as problem:
            kind = f"urn:ietf:params:acme:error:{problem.code}"
            body = {"type": kind, "detail": f"so it is: {problem.code}", "status": problem.status}
            status, headers = problem.status, problem.headers
            headers = {"Content-Type": "application/problem+json"} | {
                name.replace("_", "-"): value for name, value in headers.items()
            }
        self._send(status, body, headers)

    def _send(self, status: int, body: Any, headers: dict[str, str]) -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        fields = {"Content-Type": "application/json", "Replay-Nonce": self.authority.nonce()}
        self.send_response(status)
        for name, value in (fields | headers | {"Content-Length": str(len(data))}).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(data)

    def _get(self) -> tuple[int, Any, dict[str, str]]:
        ca = self.authority
        if self.path == "/directory":
            names = {
                "newNonce": "new-nonce", "newAccount": "new-account", "newOrder": "new-order",
            }  # fmt: skip
            if ca.window is not None:
                names["renewalInfo"] = "advice"
            return 200, {key: f"{ca.url}/{path}" for key, path in names.items()}, {}
        if self.path.startswith("/advice/") and ca.window is not None:
            start, end = (at.isoformat().replace("+00:00", "Z") for at in ca.window)
            return 200, {"suggestedWindow": {"start": start, "end": end}}, {"Retry-After": "1"}
        return (200, b"", {}) if self.path == "/new-nonce" else (404, {}, {})

    def _post(self) -> tuple[int, Any, dict[str, str]]:
        ca = self.authority
        body = self.rfile.read(int(self.headers["Content-Length"]))
        payload, _, key = ca.verified(body, ca.url + self.path)
        _, kind, *rest = self.path.split("/")
        if kind == "new-account":
            status, uri = ca.account(payload, key)
            return status, {"status": "valid"}, {"Location": uri}
        if kind == "new-order":
            number = ca.order(payload, key)
            return 201, self._order(number), {"Location": f"{ca.url}/order/{number}"}
        number = int(rest[0])
        order = ca.orders[number]
        match kind:
            case "order":
                return 200, self._order(number), {}
            case "authorization":
                return 200, self._authorization(number), {}
            case "challenge":
                threading.Thread(target=ca.validate, args=(order,), daemon=True).start()
                up = f'<{ca.url}/authorization/{number}>;rel="up"'
                return 200, self._challenge(number), {"Link": up}
            case "finalize":
                if order.state != "ready":
                    raise Problem("orderNotReady", 403)
                request = x509.load_der_x509_csr(b64decode(payload["csr"]))
                assert request.is_signature_valid
                ca.issue(order, request)
                return 200, self._order(number), {}
            case "certificate":
                pem = {"Content-Type": "application/pem-certificate-chain"}
                return 200, order.certificate, pem
        return 404, {}, {}

    def _order(self, number: int) -> dict[str, Any]:
        url, order = self.authority.url, self.authority.orders[number]
        shown = {
            "status": order.state,
            "identifiers": [{"type": "dns", "value": order.name}],
            "authorizations": [f"{url}/authorization/{number}"],
            "finalize": f"{url}/finalize/{number}",
        }
        if order.certificate:
            shown["certificate"] = f"{url}/certificate/{number}"
        return shown

    def _authorization(self, number: int) -> dict[str, Any]:
        order = self.authority.orders[number]
        state = {"pending": "pending", "invalid": "invalid"}.get(order.state, "valid")
        return {
            "identifier": {"type": "dns", "value": order.name},
            "status": state,
            "challenges": [self._challenge(number)],
        }

    def _challenge(self, number: int) -> dict[str, Any]:
        order = self.authority.orders[number]
        shown: dict[str, Any] = {
            "type": "http-01",
            "url": f"{self.authority.url}/challenge/{number}",
            "token": order.token,
            "status": "invalid" if order.error else "pending",
        }
        if order.error:
            kind = "urn:ietf:params:acme:error:unauthorized"
            shown["error"] = {"type": kind, "detail": order.error}
        return shown


@contextmanager
def acme_ca(folder: Path, http_port: int) -> Iterator[AcmeCA]:
    server = AcmeCA(folder, http_port)
    server.start()
    try:
        yield server
    finally:
        server.stop()
