"""What `Accept` asks for, and what it gets."""

import doctest

import pytest

from app.proxy import media_types
from app.proxy.media_types import MAX_ACCEPT, preferred_type


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(media_types).failed == 0


@pytest.mark.parametrize(
    ("accept", "chosen"),
    [
        ("", "text/html"),
        ("*/*", "text/plain"),
        ("*/*;q=0.8", "text/plain"),
        ("image/avif,image/webp,*/*;q=0.8", "text/plain"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "text/html"),
        ("application/json", "application/json"),
        ("application/json, text/plain, */*", "application/json"),
        ("application/json;q=0.5, text/plain", "text/plain"),
        ("text/plain, */*;q=0.1", "text/plain"),
        ("text/*", "text/html"),
        ("text/*;q=0.9, text/html;q=0.1", "text/plain"),
        ("text/html;q=0, */*;q=0.1", "application/json"),
        ("application/*", "application/json"),
        ("application/problem+json", "application/problem+json"),
        ("TEXT/PLAIN; charset=utf-8 ; Q=1.0", "text/plain"),
        ("image/avif,image/webp", "text/plain"),
        ("text/html;q=0", "text/plain"),
        ("text/html;q=2, application/json;q=0.1", "application/json"),
        ("text/html;q=nan, application/json;q=0.1", "application/json"),
        (",;,=;q,", "text/plain"),
        ("\xff\x00", "text/plain"),
    ],
)
def test_accept_chooses_the_type(accept: str, chosen: str) -> None:
    assert preferred_type(accept.encode("latin-1")) == chosen


def test_an_endless_accept_is_read_in_part_only() -> None:
    padding = b"image/png," * (MAX_ACCEPT // 10)
    assert preferred_type(padding + b"application/json") == "text/plain"
