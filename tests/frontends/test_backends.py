"""URLs of backends, as lists have them."""

import pytest

from app.frontends.backends import InvalidBackendURL, parse_backend


@pytest.mark.parametrize(
    ("text", "origin"),
    [
        ("http://10.0.0.1:81", ("http", "10.0.0.1", 81)),
        ("http://10.0.0.1", ("http", "10.0.0.1", 80)),
        ("https://example.com", ("https", "example.com", 443)),
        ("10.0.0.1:8080", ("http", "10.0.0.1", 8080)),
        ("localhost:3000", ("http", "localhost", 3000)),
        ("http://[::1]:8080/", ("http", "::1", 8080)),
        ("HTTP://Example.com/ignored?path", ("http", "example.com", 80)),
        ("unix:/run/app.sock", ("unix", "/run/app.sock", 0)),
        ("unix:///run/app.sock", ("unix", "/run/app.sock", 0)),
    ],
)
def test_a_backend_url_is_read(text: str, origin: tuple[str, str, int]) -> None:
    backend = parse_backend(text, 3)
    assert (backend.url, backend.index, backend.origin) == (text, 3, origin)


@pytest.mark.parametrize(
    "text",
    ["", "http://", "ftp://a", "http://a:b", "http://a:99999", "http://a:0", "http://a b",
     "http://u:p@a", "unix:relative", "http://[::1", "\x00"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidBackendURL) as refused:
        parse_backend(text, 0)
    assert repr(text.replace("u:p@", "***@")) in str(refused.value)


def test_backends_with_the_same_origin_share_connections() -> None:
    one, two = parse_backend("http://a:80", 0), parse_backend("http://A/", 1)
    assert one != two
    assert one.origin == two.origin
