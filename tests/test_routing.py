"""Hosts, keys and lists: Hipache's own cases, and the ones it got wrong."""

import doctest

import pytest

from app import routing
from app.errors import BadHost
from app.fields.remembering import Memo
from app.frontends.backends import MAX_BACKENDS, TOO_MANY
from app.proxy.decision import MAX_NAMES
from app.routing import Backend, lookup_keys, normalise_host, parse_backend, parse_frontend
from app.stores.cache.frontend_text import rows_of


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(routing).failed == 0


@pytest.mark.parametrize(
    ("field", "host"),
    [
        (b"example.com", "example.com"),
        (b"example.com:8080", "example.com"),
        (b"EXAMPLE.com", "example.com"),
        (b"Example.COM:80", "example.com"),
        (b"example.com.", "example.com"),
        (b"example.com.:80", "example.com"),
        (b"example.com:", "example.com"),
        (b"127.0.0.1:80", "127.0.0.1"),
        (b"[::1]", "[::1]"),
        (b"[::1]:8080", "[::1]"),
        (b"[2001:DB8:0::1]", "[2001:db8::1]"),
        (b"xn--mnchen-3ya.de", "xn--mnchen-3ya.de"),
        (b"under_score.example", "under_score.example"),
        (b"  spaced.example\t", "spaced.example"),
    ],
)
def test_a_host_field_is_normalised(field: bytes, host: str) -> None:
    assert normalise_host(field) == host


@pytest.mark.parametrize(
    "field",
    [
        b"", b" ", b".", b":80", b"*", b"*.example.com", b"a..b", b"a.b..", b"a b", b"a\x00b",
        b"a:b", b"a:80:80", b"a:99999", b"a:-1", b"[::1", b"[::1]x", b"[::1]:x", b"[nope]", b"::1",
        b"user@example.com", b"a/b", b"m\xc3\xbcnchen.de", b"a%2eb", b"a,b\n",
    ],
)  # fmt: skip
def test_a_field_that_names_no_host_is_refused(field: bytes) -> None:
    with pytest.raises(BadHost):
        normalise_host(field)


@pytest.mark.parametrize(
    ("host", "keys"),
    [
        ("foo.bar", ["foo.bar", "*.bar", "*"]),
        ("localhost", ["localhost", "*"]),
        (
            "too.deep.quuux.foo.bar.baz.qux.quux",
            [
                "too.deep.quuux.foo.bar.baz.qux.quux",
                "*.foo.bar.baz.qux.quux",
                "*.bar.baz.qux.quux",
                "*.baz.qux.quux",
                "*.qux.quux",
                "*.quux",
                "*",
            ],
        ),
        ("a.b.c.d.e.f.g.h.i.j.k.l.m", None),
        ("[::1]", ["[::1]", "*"]),
    ],
)
def test_the_lookup_order_is_hipaches(host: str, keys: list[str] | None) -> None:
    assert lookup_keys(host)[0] == host
    assert len(lookup_keys(host)) <= 7
    if keys is not None:
        assert lookup_keys(host) == keys


def test_ids_count_bad_entries_too() -> None:
    frontend = parse_frontend("x", ["id", "http://a", "http://", "http://b"])
    assert [b.index for b in frontend.backends] == [0, 2]
    assert [(e.text, e.index) for e in frontend.bad_entries] == [("http://", 1)]
    assert frontend.size == 3


def test_an_empty_list_is_a_frontend_without_backends() -> None:
    frontend = parse_frontend("x", ["only-an-identifier"])
    assert (frontend.identifier, frontend.backends) == ("only-an-identifier", ())
    assert isinstance(parse_backend("a:1", 0), Backend)


def test_names_that_were_read_are_remembered_within_bounds() -> None:
    names = Memo(normalise_host, MAX_NAMES)
    for number in range(MAX_NAMES + 10):
        assert names[b"Host%d:80" % number] == f"host{number}"
    assert 0 < len(names) <= MAX_NAMES
    with pytest.raises(BadHost):
        names[b"no host"]
    assert b"no host" not in names


def test_a_list_has_a_longest_length() -> None:
    rows = ["id", *(f"http://10.0.0.1:{port}" for port in range(1, MAX_BACKENDS + 1))]
    whole = parse_frontend("a.test", rows)
    assert (len(whole.backends), whole.bad_entries) == (MAX_BACKENDS, ())
    longer = parse_frontend("a.test", [*rows, "http://10.0.0.2:1", "http://10.0.0.2:2"])
    assert longer.backends == whole.backends
    assert longer.bad_entries == (TOO_MANY,)
    again = parse_frontend("a.test", rows_of(longer))  # from a snapshot
    assert (again.backends, again.bad_entries) == (longer.backends, longer.bad_entries)
