"""A conversation with one CA about one name, with certbot's own libraries. It waits: run it in a
thread.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import NamedTuple

import josepy
import msgspec
from acme import challenges, client, crypto_util, errors, messages
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from josepy.jwa import ES256
from josepy.jwk import JWKEC

from ...config.acme import AcmeConfig
from ...stores.certificate_store import Pair
from ...system.release import version
from .failures import OrderFailed, order_failed
from .network import CaClient, CaNetwork

ANSWER_WITHIN = 10
"""Seconds in which the CA must begin an answer, and go on with it."""
DECIDE_WITHIN = 90.0
"""Seconds for the validation of a name, and again for the certificate."""
ASK_EVERY, ASK_SLOWER, ASK_AT_MOST = 0.2, 1.5, 5.0
"""Seconds between two questions whether a name is validated: from, factor, to."""


class Account(msgspec.Struct, frozen=True):
    """An account at a CA. Its text holds the private key: it is for the store alone."""

    key: str
    """A JWK (RFC 7517)."""
    uri: str = ""
    """Empty until the CA has it."""

    @classmethod
    def new(cls) -> Account:
        """With a new key, which the CA does not know yet."""
        key = JWKEC(key=ec.generate_private_key(ec.SECP256R1()))
        return cls(key.json_dumps())

    @classmethod
    def read(cls, text: str) -> Account:
        """From the store. Raises OrderFailed."""
        try:
            account = msgspec.json.decode(text, type=cls)
            JWKEC.json_loads(account.key)
        except (msgspec.MsgspecError, ValueError, LookupError, TypeError, josepy.errors.Error):
            raise OrderFailed("the account in the store cannot be read", of_the_ca=True) from None
        return account

    def text(self) -> str:
        """For the store."""
        return msgspec.json.encode(self).decode()

    def __repr__(self) -> str:
        return f"Account(uri={self.uri!r})"


class Order(NamedTuple):
    """An order that waits for the CA to ask for what its challenges say."""

    resource: messages.OrderResource
    key: str
    """The certificate's private key (PEM)."""
    open: list[messages.ChallengeBody]
    answers: dict[str, str]
    """What to answer, by token."""


class Authority:
    """One conversation. Every method raises OrderFailed."""

    def __init__(self, settings: AcmeConfig, account: Account) -> None:
        """Connects to nothing yet."""
        self._settings = settings
        self.account = account
        """With its URI, once `open` knows it."""
        key = JWKEC.json_loads(account.key)
        self._net = CaNetwork(
            key, alg=ES256, user_agent=f"hipache/{version()}", timeout=ANSWER_WITHIN,
            verify_ssl=settings.ca or True,  # type: ignore[arg-type] # requests takes a path, too
        )  # fmt: skip
        self._client: CaClient | None = None

    def connect(self) -> None:
        """Read the directory. That is enough for `renewal`."""
        with self._failing():
            directory = client.ClientV2.get_directory(self._settings.directory, self._net)
            self._client = CaClient(directory, self._net)

    def open(self) -> None:
        """Read the directory; make the account if the CA does not have it."""
        self.connect()
        assert self._client is not None
        with self._failing():
            if self.account.uri:
                self._net.account = messages.RegistrationResource(uri=self.account.uri)
            else:
                self._register(self._client)

    def order(self, name: str, renewed: str = "") -> Order:
        """Order a certificate for `name`, with a new key; `renewed` is one of this CA's that it
        replaces."""
        with self._failing():
            assert self._client is not None
            self._client.renews(renewed)
            key = _new_key(self._settings.key_type)
            request = crypto_util.make_csr(key.encode(), [name])
            resource = self._new_order(request)
            answers: dict[str, str] = {}
            waiting: list[messages.ChallengeBody] = []
            for authorization in resource.authorizations:
                if authorization.body.status == messages.STATUS_VALID:
                    continue  # the CA remembers it (RFC 8555 §7.1.3)
                challenge = _http_challenge(authorization)
                assert self._net.key is not None
                answers[challenge.chall.encode("token")] = challenge.validation(self._net.key)
                waiting.append(challenge)
            return Order(resource, key, waiting, answers)

    def finish(self, order: Order) -> Pair:
        """Have the challenges asked for, and fetch the certificate."""
        with self._failing():
            assert self._client is not None
            assert self._net.key is not None
            for challenge in order.open:
                self._client.answer_challenge(challenge, challenge.response(self._net.key))
            self._validated(order)
            until = datetime.now() + timedelta(seconds=DECIDE_WITHIN)
            done = self._client.finalize_order(order.resource, until)
            return done.fullchain_pem, order.key

    def renewal(self, certificate: str) -> tuple[float | None, float]:
        """When the CA wants this certificate renewed (RFC 9773), None if it does not say; and
        when to ask again. Unix seconds."""
        with self._failing():
            assert self._client is not None
            at, again = self._client.renewal_time(certificate.encode())
            return None if at is None else at.timestamp(), again.timestamp()

    def _register(self, to: CaClient) -> None:
        settings, binding = self._settings, None
        assert self._net.key is not None
        if settings.eab is not None:
            binding = messages.ExternalAccountBinding.from_data(
                self._net.key.public_key(), settings.eab.kid, settings.eab.key, to.directory
            )
        self._net.account = None
        wanted = messages.NewRegistration.from_data(
            email=settings.email, terms_of_service_agreed=True, external_account_binding=binding
        )
        try:
            uri = to.new_account(wanted).uri
        except errors.ConflictError as exc:  # it has the key already
            uri = exc.location
        self.account = msgspec.structs.replace(self.account, uri=uri)
        self._net.account = messages.RegistrationResource(uri=uri)

    def _new_order(self, request: bytes) -> messages.OrderResource:
        assert self._client is not None
        try:
            return self._client.new_order(request, self._settings.profile)
        except errors.ConflictError:  # another order renews the same one (RFC 9773 §5)
            self._client.replaces = ""
        except messages.Error as exc:
            if exc.code != "accountDoesNotExist":
                raise
            self._register(self._client)  # the CA has lost it
        return self._client.new_order(request, self._settings.profile)

    def _validated(self, order: Order) -> None:
        """Wait until every name is validated; raises errors.ValidationError."""
        assert self._client is not None
        deadline, pause = time.monotonic() + DECIDE_WITHIN, ASK_EVERY
        waiting = list(order.resource.authorizations)
        while waiting:
            authorization, _ = self._client.poll(waiting[0])
            match authorization.body.status:
                case messages.STATUS_VALID:
                    waiting.pop(0)
                    continue
                case messages.STATUS_PENDING:
                    pass
                case _:
                    raise errors.ValidationError([authorization])
            if time.monotonic() > deadline:
                raise errors.TimeoutError
            time.sleep(pause)
            pause = min(pause * ASK_SLOWER, ASK_AT_MOST)

    @contextmanager
    def _failing(self) -> Iterator[None]:
        try:
            yield
        except Exception as exc:
            net = self._net
            raise order_failed(exc, retry_after=net.retry_after, refused=net.refused) from None


def _http_challenge(authorization: messages.AuthorizationResource) -> messages.ChallengeBody:
    for challenge in authorization.body.challenges:
        if isinstance(challenge.chall, challenges.HTTP01):
            return challenge
    name = authorization.body.identifier.value
    raise OrderFailed(f"the CA does not offer to ask {name} over HTTP (HTTP-01)")


def _new_key(kind: str) -> str:
    key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
    if kind == "rsa2048":
        key = rsa.generate_private_key(65537, 2048)
    else:
        key = ec.generate_private_key(ec.SECP256R1())
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    ).decode()
