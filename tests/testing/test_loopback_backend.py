"""The backend of a test, asked over real sockets."""

from __future__ import annotations

from collections.abc import Iterator

import httpx
import pytest

from app.testing import LoopbackBackend


@pytest.fixture
def backend() -> Iterator[LoopbackBackend]:
    backend = LoopbackBackend("hi")
    yield backend
    backend.close()


@pytest.fixture
def client() -> Iterator[httpx.Client]:
    with httpx.Client(trust_env=False, timeout=5) as client:
        yield client


def test_it_answers_and_remembers(backend: LoopbackBackend, client: httpx.Client) -> None:
    assert client.post(backend.url + "/a?b", content=b"body").text == "hi"
    assert client.post(backend.url, content=iter([b"in ", b"chunks"])).text == "hi"
    assert [(r.method, r.target, r.body) for r in backend.requests] == [
        ("POST", "/a?b", b"body"), ("POST", "/", b"in chunks"),
    ]  # fmt: skip
    backend.answer("busy", status=503, headers=[("Retry-After", "5")])
    assert client.get(backend.url).headers["retry-after"] == "5"
    backend.answer(status=204)
    assert client.get(backend.url).status_code == 204


def test_it_refuses_and_comes_back(backend: LoopbackBackend, client: httpx.Client) -> None:
    assert client.get(backend.url).text == "hi"
    backend.refuse()
    for _ in range(2):
        with pytest.raises((httpx.ConnectError, httpx.RemoteProtocolError)):
            client.get(backend.url)
    backend.answer("back")
    assert client.get(backend.url).text == "back"


def test_it_stalls(backend: LoopbackBackend, client: httpx.Client) -> None:
    backend.stall()
    with pytest.raises(httpx.ReadTimeout):
        client.get(backend.url, timeout=0.05)
    backend.wait_for_requests(1)
    with pytest.raises(TimeoutError, match="1 of 2"):
        backend.wait_for_requests(2, timeout=0)


def test_it_truncates(backend: LoopbackBackend, client: httpx.Client) -> None:
    backend.truncate("0123456789", after=4)
    with client.stream("GET", backend.url) as reply:
        assert reply.headers["content-length"] == "10"
        with pytest.raises(httpx.RemoteProtocolError, match="received 4 bytes, expected 10"):
            reply.read()
