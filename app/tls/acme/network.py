"""What certbot's client of ACME leaves to others: nonces that are refused, and renewals by name."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import requests
from acme import client, messages
from cryptography import x509
from josepy.b64 import b64encode
from josepy.json_util import field

from ...masking import masked_url

NONCES = 10
"""Attempts while the CA says badNonce, which any request may meet (RFC 8555 §6.5)."""


class CaNetwork(client.ClientNetwork):
    """Repeats what was refused for its nonce, and notes `Retry-After`."""

    retry_after = 0.0
    """Seconds that the last refusal asked for."""
    refused = ""
    """Status and URL of the last answer, if that was an error."""

    def post(self, *args: Any, **kwargs: Any) -> requests.Response:
        for _ in range(NONCES - 1):
            try:
                return self._post_once(*args, **dict(kwargs))
            except messages.Error as exc:
                if exc.code != "badNonce":
                    raise
                self._nonces.clear()
        return self._post_once(*args, **kwargs)

    def _send_request(self, method: str, url: str, *args: Any, **kwargs: Any) -> requests.Response:
        response = super()._send_request(method, url, *args, **kwargs)
        self.retry_after, self.refused = 0.0, ""
        if not response.ok:
            self.refused = f"status {response.status_code} of {masked_url(url)}"
        if not response.ok and "Retry-After" in response.headers:
            until = client.ClientV2.retry_after(response, 0)
            self.retry_after = max(0.0, (until - datetime.now()).total_seconds())
        return response


class _Renewal(messages.NewOrder):
    """An order that says which certificate it renews (RFC 9773 §5)."""

    replaces: str | None = field("replaces", omitempty=True)


class CaClient(client.ClientV2):
    """Tells the CA which certificate an order renews, if the CA has advice on renewals."""

    replaces = ""
    """The identifier of that certificate, for the orders that follow."""

    def _post(self, *args: Any, **kwargs: Any) -> requests.Response:
        url, what, *rest = args
        if self.replaces and isinstance(what, messages.NewOrder):
            what = _Renewal(replaces=self.replaces, **dict(what))
        return super()._post(url, what, *rest, **kwargs)

    def renews(self, certificate: str) -> None:
        """The orders that follow renew this one; empty: none."""
        self.replaces = ""
        if certificate and "renewalInfo" in self.directory.to_partial_json():
            self.replaces = identifier(x509.load_pem_x509_certificate(certificate.encode()))


def identifier(certificate: x509.Certificate) -> str:
    """How RFC 9773 (§4.1) names a certificate; empty where that is not possible."""
    try:
        found = certificate.extensions.get_extension_for_class(x509.AuthorityKeyIdentifier)
    except x509.ExtensionNotFound:
        return ""
    serial = certificate.serial_number
    number = serial.to_bytes(serial.bit_length() // 8 + 1)  # a leading zero where it needs one
    key = found.value.key_identifier or b""
    return f"{b64encode(key).decode()}.{b64encode(number).decode()}" if key else ""
