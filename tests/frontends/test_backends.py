"""URLs of backends, as lists have them."""

import doctest

import pytest

from app.frontends import backends
from app.frontends.backends import InvalidBackendURL, oddity, parse_backend


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(backends).failed == 0


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
        ("h2c://10.0.0.1:50051", ("h2c", "10.0.0.1", 50051)),
        ("H2C://example.com", ("h2c", "example.com", 80)),
        ("unix:/run/app.sock", ("unix", "/run/app.sock", 0)),
        ("unix:///run/app.sock", ("unix", "/run/app.sock", 0)),
        ("h2c+unix:/run/app.sock", ("h2c+unix", "/run/app.sock", 0)),
    ],
)
def test_a_backend_url_is_read(text: str, origin: tuple[str, str, int]) -> None:
    backend = parse_backend(text, 3)
    assert (backend.url, backend.index, backend.origin) == (text, 3, origin)


@pytest.mark.parametrize(
    "text",
    ["", "http://", "ftp://a", "http://a:b", "http://a:99999", "http://a:0", "http://a b",
     "http://u:p@a", "unix:relative", "h2c+unix:relative", "http://[::1", "\x00"],
)  # fmt: skip
def test_a_url_that_is_none_is_refused_by_name(text: str) -> None:
    with pytest.raises(InvalidBackendURL) as refused:
        parse_backend(text, 0)
    assert repr(text.replace("u:p@", "***@")) in str(refused.value)


def test_backends_with_the_same_origin_share_connections() -> None:
    one, two = parse_backend("http://a:80", 0), parse_backend("http://A/", 1)
    assert one != two
    assert one.origin == two.origin


@pytest.mark.parametrize("edge", ["\n", "\r\n", " ", "\t", "\xa0", "\ufeff"])
@pytest.mark.parametrize("url", ["http://10.0.0.1:81", "10.0.0.1:81", "unix:/run/app.sock"])
def test_white_space_around_a_row_is_ignored_and_stays_its_identity(url: str, edge: str) -> None:
    """`echo URL | redis-cli -x rpush`: node's parser took it away, marks name the row."""
    row = f"{edge}{url}{edge}"
    backend = parse_backend(row, 0)
    assert backend.origin == parse_backend(url, 0).origin
    assert backend.url == row
    assert "white space" in oddity(backend)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("9101", "a number is no host (did you mean http://127.0.0.1:9101?)"),
        ("9101\n", "a number is no host (did you mean http://127.0.0.1:9101?)"),
        ("http://9101", "a number is no host (did you mean http://127.0.0.1:9101?)"),
        ("https://443", "a number is no host (did you mean https://127.0.0.1:443?)"),
        ("http://2130706433:80", "a number is no host"),
        ("http://0x7f000001", "a number is no host"),
        ("9" * 5000, "a number is no host"),
        ("http//host", "a scheme ends with '://'"),
        ("https//host:80", "a scheme ends with '://'"),
        ("http:/host", "a scheme ends with '://'"),
        ("h2c:10.0.0.1:50051", "a scheme ends with '://'"),
        ("h2c:grpc.internal", "a scheme ends with '://'"),
        ("http:///host", "no host"),
    ],
)
def test_what_cannot_be_meant_is_no_backend(text: str, told: str) -> None:
    with pytest.raises(InvalidBackendURL) as refused:
        parse_backend(text, 0)
    assert str(refused.value).endswith(f": {told}")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("http://10.0.0.1:80", ""), ("http://10.0.0.1:80/", ""), ("10.0.0.1:80", ""),
        ("http://a-b.example.com", ""), ("http://localhost.:80", ""), ("http://my_app:80", ""),
        ("http://[::1]:80", ""), ("http://[fe80::1%25lo]:80", ""), ("http://0.0.0.0:80", ""),
        ("unix:/run/app.sock", ""), ("http://decade", ""), ("http://abc.example", ""),
        ("http:80", ""), ("h2c://10.0.0.1:50051", ""),
        ("http://a/app", "its path /app is ignored"), ("http://a?x", "its query is ignored"),
        ("http://a/#x", "its query is ignored"), ("a:80/app", "its path /app is ignored"),
        ("http://127.1", "an address has four numbers (did you mean 127.0.0.1?)"),
        ("http://0x7f.0.0.1:80", "an address has four numbers (did you mean 127.0.0.1?)"),
        ("http://0.0.35.141", "no machine has this address"),
        ("http://255.255.255.255", "no machine has this address"),
        ("http://224.0.0.1", "no machine has this address"), ("http://[ff02::1]", "no machine"),
    ],
)  # fmt: skip
def test_what_is_served_though_it_is_odd(text: str, told: str) -> None:
    assert oddity(parse_backend(text, 0)).startswith(told)
    assert bool(oddity(parse_backend(text, 0))) is bool(told)


@pytest.mark.parametrize("path", ["", "/", "/a?b#c", "/?", "?x", "#"])
@pytest.mark.parametrize("port", ["", ":1", ":8080", ":59999", ":60000", ":65535", ":080", ":"])
@pytest.mark.parametrize("host", ["a", "web-1.example", "10.0.0.1", "219.300.1.2", "1.2", "[::1]"])
def test_a_row_read_at_once_is_read_as_one_at_length(host: str, port: str, path: str) -> None:
    text = f"http://{host}{port}{path}"
    at_length = f" {text}"  # white space is taken away, and never read at once
    assert parse_backend(text, 0).origin == parse_backend(at_length, 0).origin
    if path in ("/a?b#c", "?x"):
        assert oddity(parse_backend(text, 0)).startswith("its ")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("h2c://10.0.0.1:50051/pkg.Service", "path /pkg.Service is ignored"),
        ("h2c://10.0.0.1:50051/pkg.Service?token=x", "path /pkg.Service is ignored"),
        ("h2c://10.0.0.1:50051?token=x", "query is ignored"),
        ("h2c://10.0.0.1:50051/?token=x", "query is ignored"),
    ],
)
def test_what_stands_behind_the_port_is_named_and_left_out(text: str, told: str) -> None:
    why = oddity(parse_backend(text, 0))
    assert why.startswith(f"its {told}: the backend is asked for the request's own")
    assert why.endswith("write h2c://10.0.0.1:50051")
    assert "token" not in why
