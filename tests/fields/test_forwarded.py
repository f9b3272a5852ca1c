"""Who a backend is told its client is."""

import doctest

import pytest

from app.fields import forwarded, rfc7239
from app.fields.forwarded import ForwardedFields
from app.fields.headers import RawHeaders
from app.fields.networks import Peers

LOOPBACK = Peers.parse(["127.0.0.0/8", "10.0.0.0/8", "::1/128"])


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(forwarded).failed == doctest.testmod(rfc7239).failed == 0


CLAIMS = [
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-port", b"443"),
    (b"x-forwarded-host", b"public.example"),
    (b"x-real-ip", b"6.6.6.6"),
]


def build(trusted: list[str], client: str, claims: RawHeaders) -> dict[bytes, bytes]:
    fields = ForwardedFields(Peers.parse(trusted))
    return dict(fields.build(claims, client, "http", 8080, b"a.example:8080"))


def test_hipaches_own_field_is_sent_on_request() -> None:
    fields = ForwardedFields(Peers.parse(["10.0.0.1"]), protocol=True)
    stranger = dict(fields.build([], "9.9.9.9", "https", 443, b"a"))
    assert stranger[b"x-forwarded-protocol"] == stranger[b"x-forwarded-proto"] == b"https"
    trusted = dict(fields.build(CLAIMS, "10.0.0.1", "http", 80, b"a"))
    assert trusted[b"x-forwarded-protocol"] == trusted[b"x-forwarded-proto"] == b"https"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        (b"x-forwarded-proto", b"https"),
        (b"x-forwarded-protocol", b"https"),
        (b"x-forwarded-protocol", b"ssl"),
        (b"x-forwarded-ssl", b"on"),
    ],
)
def test_each_way_in_which_a_trusted_proxy_says_https(name: bytes, value: bytes) -> None:
    assert build(["10.0.0.1"], "10.0.0.1", [(name, value)])[b"x-forwarded-proto"] == b"https"


def test_our_port_is_not_told_with_anothers_scheme() -> None:
    """https://a.example:8080 would lead nowhere."""
    assert b"x-forwarded-port" not in build(["10.0.0.1"], "10.0.0.1", [CLAIMS[2]])
    assert build(["10.0.0.1"], "10.0.0.1", [])[b"x-forwarded-port"] == b"8080"


def test_over_a_unix_socket_nothing_is_made_up() -> None:
    fields = ForwardedFields(Peers())
    assert fields.build(CLAIMS, "unix:", "http", 0, b"a.example") == [
        (b"x-forwarded-host", b"a.example"),
        (b"x-forwarded-proto", b"http"),
    ]


def test_a_trusted_proxy_behind_a_unix_socket_is_believed() -> None:
    fields = ForwardedFields(Peers.parse(["unix:"]))
    assert dict(fields.build(CLAIMS, "unix:", "http", 0, b"a.example")) == {
        b"x-forwarded-for": b"6.6.6.6, 1.2.3.4",
        b"x-forwarded-host": b"public.example",
        b"x-forwarded-port": b"443",
        b"x-forwarded-proto": b"https",
        b"x-real-ip": b"1.2.3.4",
    }
    assert dict(fields.build([], "unix:", "http", 0, b"a")).keys() == {
        b"x-forwarded-host", b"x-forwarded-proto",
    }  # fmt: skip
    assert not fields.trusts("")  # a client that has gone has no address either


@pytest.mark.parametrize(
    ("client", "claims", "value"),
    [
        ("9.9.9.9", CLAIMS, b'for=9.9.9.9;host="a.example:80";proto=http'),
        ("2001:db8::1", [], b'for="[2001:db8::1]";host="a.example:80";proto=http'),
        ("", [], b'for=unknown;host="a.example:80";proto=http'),
        ("unix:", [], b'for=unknown;host="a.example:80";proto=http'),
        (
            "10.0.0.1",
            CLAIMS,
            b"for=6.6.6.6, for=1.2.3.4, for=10.0.0.1;host=public.example;proto=https",
        ),
        (
            "10.0.0.1",
            [(b"x-forwarded-for", b"nonsense, [::1]:2")],
            b'for=unknown, for="[::1]", for=10.0.0.1;host="a.example:80";proto=http',
        ),
        (
            "10.0.0.1",
            [(b"forwarded", b"for=_x;proto=https"), (b"x-forwarded-for", b"1.2.3.4")],
            b'for=_x;proto=https, for=10.0.0.1;host="a.example:80";proto=http',
        ),
    ],
)
def test_forwarded_says_the_same_in_rfc_7239s_words(
    client: str, claims: RawHeaders, value: bytes
) -> None:
    fields = ForwardedFields(Peers.parse(["10.0.0.0/8"]), forwarded=True)
    assert dict(fields.build(claims, client, "http", 80, b"a.example:80"))[b"forwarded"] == value


def test_a_strangers_claims_are_overwritten() -> None:
    assert build([], "9.9.9.9", CLAIMS) == {
        b"x-forwarded-for": b"9.9.9.9",
        b"x-forwarded-host": b"a.example:8080",
        b"x-forwarded-port": b"8080",
        b"x-forwarded-proto": b"http",
        b"x-real-ip": b"9.9.9.9",
    }
    assert build(["10.0.0.0/8"], "9.9.9.9", CLAIMS) == build([], "9.9.9.9", [])


def test_a_trusted_proxy_is_believed_and_appended() -> None:
    assert build(["10.0.0.0/8"], "10.0.0.1", CLAIMS) == {
        b"x-forwarded-for": b"6.6.6.6, 1.2.3.4, 10.0.0.1",
        b"x-forwarded-host": b"public.example",
        b"x-forwarded-port": b"443",
        b"x-forwarded-proto": b"https",
        b"x-real-ip": b"1.2.3.4",
    }


@pytest.mark.parametrize(
    ("hops", "client"),
    [
        (b"", "10.0.0.1"),
        (b"1.2.3.4", "1.2.3.4"),
        (b"1.2.3.4:5678", "1.2.3.4"),
        (b"[2001:db8::1]:443", "2001:db8::1"),
        (b"6.6.6.6, 2001:db8::1, 10.1.1.1", "2001:db8::1"),
        (b"10.2.2.2, 10.1.1.1", "10.2.2.2"),
        (b"6.6.6.6, nonsense, 10.1.1.1", "10.1.1.1"),
        (b"\xff\x00", "10.0.0.1"),
    ],
)
def test_the_true_client_is_the_last_hop_nobody_of_ours_vouches_for(
    hops: bytes, client: str
) -> None:
    fields = ForwardedFields(LOOPBACK)
    assert fields.true_client([(b"x-forwarded-for", hops)], "10.0.0.1") == client


def test_a_mapped_address_is_the_address_it_maps() -> None:
    assert ForwardedFields(LOOPBACK).trusts("::ffff:10.0.0.1")
    assert not ForwardedFields(LOOPBACK).trusts("")
