"""Who a backend is told its client is."""

import doctest

import pytest

from app.fields import forwarded
from app.fields.forwarded import ForwardedFields
from app.fields.headers import RawHeaders
from app.fields.networks import Networks

LOOPBACK = Networks.parse(["127.0.0.0/8", "10.0.0.0/8", "::1/128"])


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(forwarded).failed == 0


def build(trusted: list[str], client: str, claims: RawHeaders) -> dict[bytes, bytes]:
    fields = ForwardedFields(Networks.parse(trusted))
    return dict(fields.build(claims, client, "http", 8080, b"a.example:8080"))


CLAIMS = [
    (b"x-forwarded-for", b"6.6.6.6"),
    (b"x-forwarded-for", b"1.2.3.4"),
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-port", b"443"),
    (b"x-forwarded-host", b"public.example"),
    (b"x-real-ip", b"6.6.6.6"),
]


def test_a_strangers_claims_are_overwritten() -> None:
    assert build([], "9.9.9.9", CLAIMS) == {
        b"x-forwarded-for": b"9.9.9.9",
        b"x-forwarded-host": b"a.example:8080",
        b"x-forwarded-port": b"8080",
        b"x-forwarded-proto": b"http",
        b"x-forwarded-protocol": b"http",
        b"x-real-ip": b"9.9.9.9",
    }
    assert build(["10.0.0.0/8"], "9.9.9.9", CLAIMS) == build([], "9.9.9.9", [])


def test_a_trusted_proxy_is_believed_and_appended() -> None:
    assert build(["10.0.0.0/8"], "10.0.0.1", CLAIMS) == {
        b"x-forwarded-for": b"6.6.6.6, 1.2.3.4, 10.0.0.1",
        b"x-forwarded-host": b"public.example",
        b"x-forwarded-port": b"443",
        b"x-forwarded-proto": b"https",
        b"x-forwarded-protocol": b"https",
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
