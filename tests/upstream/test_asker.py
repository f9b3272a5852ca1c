"""What counts as one client where connections are shared out."""

import pytest

from app.fields.networks import Peers
from app.upstream.asker import client_names

TRUSTED = Peers.parse(["10.0.0.0/8", "unix:"])


class Asking:
    """An Asker, as far as its client is concerned."""

    started = 0.0

    def __init__(self, client: str, forwarded: bytes) -> None:
        self.client = client
        self.headers = [(b"x-forwarded-for", forwarded)]

    def awaited(self) -> None:
        return None

    def waited(self, seconds: float) -> None:
        return None

    def give_up(self, error: Exception) -> None:
        raise error


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        pytest.param("192.0.2.1", b"6.6.6.6", "192.0.2.1", id="a stranger's claim says nothing"),
        pytest.param("10.0.0.1", b"192.0.2.1", "192.0.2.1", id="a trusted proxy tells"),
        pytest.param("10.0.0.1", b"", None, id="a trusted proxy itself is nobody"),
        pytest.param("unix:", b"192.0.2.1", "192.0.2.1", id="behind a trusted unix socket"),
        pytest.param("unix:", b"", None, id="a unix socket"),
        pytest.param("", b"", None, id="an address that is not known"),
        pytest.param("2001:db8:0:1:2::3", b"", "2001:db8:0:1::", id="an IPv6 /64 is one"),
    ],
)
def test_who_is_one_client(peer: str, forwarded: bytes, client: str | None):
    assert client_names(TRUSTED)(Asking(peer, forwarded)) == client
