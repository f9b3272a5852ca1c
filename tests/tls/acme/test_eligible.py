"""Which names a certificate is ordered for, and what is said of the others."""

from __future__ import annotations

import pytest

from app.routing import parse_frontend
from app.tls.acme.eligible import why_not, why_not_for


@pytest.mark.parametrize(
    "name", ["a.example", "www.a-b.example.com", "xn--bcher-kva.example", "1.2.x"]
)
def test_names_that_can_have_one(name: str) -> None:
    assert why_not(name) is None


@pytest.mark.parametrize(
    "name",
    ["", "localhost", "192.0.2.7", "[2001:db8::1]", "a..b", "-a.example", "a-.example", "A.example",
     "a_b.example", "a.example.", "a.1", "a/b.example", "..", "a" * 64 + ".example",
     "a." * 126 + "bb"],
)  # fmt: skip
def test_names_that_cannot(name: str) -> None:
    assert "is no host name with a domain" in (why_not(name) or "")


def test_a_wildcard_is_told_what_to_do_instead() -> None:
    assert "write it to tls:*.example.com" in (why_not("*.example.com") or "")


@pytest.mark.parametrize(
    ("key", "acme", "reason"),
    [
        ("www.a.test", None, None),
        ("www.a.test", "on", None),
        ("www.a.test", "off", "has the option acme off"),
        ("www.a.test", "offf", None),
        ("*.a.test", None, "has no option acme on"),
        ("*.a.test", "on", None),
        ("*.a.test", "off", "has the option acme off"),
        ("*", "on", "has no frontend but *"),
        (None, None, "has no frontend"),
    ],
)
def test_what_the_frontend_says(key: str | None, acme: str | None, reason: str | None) -> None:
    options = {} if acme is None else {"acme": acme}
    frontend = None if key is None else parse_frontend(key, ["id", "http://127.0.0.1:1"], options)
    found = why_not_for("www.a.test", frontend)
    assert found is None if reason is None else reason in (found or "")
