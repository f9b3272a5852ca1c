"""Which versions of TLS and which ciphers are offered."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from app.tls.listener import weak_ciphers
from tests.tls.authority import listener, shake, trusting


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
    assert (end.version(), end.selected_alpn_protocol()) == (spoken, "h2")


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
