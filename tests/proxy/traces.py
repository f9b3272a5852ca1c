"""What the tests of tracing share: the ids of a trace, and a request with fields of its own."""

from __future__ import annotations

import pytest

from tests.serving import Proxy

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"

THEIRS = f"00-{TRACE}-{SPAN}-01".encode()

LOOPBACK = ["127.0.0.0/8"]

both_ways = pytest.mark.usefixtures("either_way")


async def ask(proxy: Proxy, *fields: bytes, line: bytes = b"GET /") -> bytes:
    """One request to a.test, and its answer."""
    head = b"\r\n".join([line + b" HTTP/1.1", b"Host: a.test", *fields, b"", b""])
    return await proxy.talk(head)
