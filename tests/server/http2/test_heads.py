"""Which heads are legal over HTTP/2 (RFC 9113 §8), by the rules of HTTP/1.1 as well."""

from __future__ import annotations

import pytest

from app.server.edge import ClientLimits
from app.server.http2.request_pseudo_fields import read_head
from app.server.refusal import Refusal
from tests.server.http2.frames import GET, POST, Http2Client, data, head, speaking
from tests.server.serving import Recorder, serving

PROTOCOL_ERROR, ENHANCE_YOUR_CALM = 1, 11
LENGTH = b"content-length"
RESET = [
    pytest.param([*GET, (b":path", b"/")], id="a path twice"),
    pytest.param([*GET, (b":method", b"GET")], id="a method twice"),
    pytest.param(GET[1:], id="no method"),
    pytest.param([f for f in GET if f[0] != b":path"], id="no path"),
    pytest.param([f for f in GET if f[0] != b":scheme"], id="no scheme"),
    pytest.param(head(path=b""), id="an empty path"),
    pytest.param([*GET, (b":version", b"HTTP/2.0")], id="an unknown pseudo-field"),
    pytest.param([*GET, (b":status", b"200")], id="an answer's pseudo-field"),
    pytest.param([(b"x-a", b"1"), *GET], id="a pseudo-field behind a field"),
    pytest.param([*GET, (b"X-A", b"1")], id="upper case"),
    pytest.param([*GET, (b"connection", b"close")], id="connection"),
    pytest.param([*GET, (b"keep-alive", b"5")], id="keep-alive"),
    pytest.param([*GET, (b"proxy-connection", b"close")], id="proxy-connection"),
    pytest.param([*GET, (b"transfer-encoding", b"chunked")], id="transfer-encoding"),
    pytest.param([*GET, (b"upgrade", b"h2c")], id="upgrade"),
    pytest.param([*GET, (b"te", b"gzip")], id="te"),
    pytest.param([*GET, (b"x-a", b"1\r\nx-b: 2")], id="an end of line in a value"),
    pytest.param([*GET, (b"x-a", b"1\n2")], id="LF in a value"),
    pytest.param([*GET, (b"x-a", b"1\0")], id="NUL in a value"),
    pytest.param([*GET, (b"x-a\r\n", b"1")], id="an end of line in a name"),
    pytest.param([*GET, (b"x:a", b"1")], id="a colon in a name"),
    pytest.param([*GET, (b"x a", b"1")], id="a space in a name"),
    pytest.param([*GET, (b"", b"1")], id="an empty name"),
    pytest.param(head(path=b"/ HTTP/1.1\r\nx: y"), id="an end of line in the path"),
    pytest.param(head(path=b"/a b"), id="a space in the path"),
    pytest.param(head(b"GET /admin HTTP/1.1\r\nx:"), id="a request in the method"),
    pytest.param(head(host=b"a.test\r\nx: y"), id="an end of line in the authority"),
    pytest.param([*POST, (LENGTH, b"1"), (LENGTH, b"1")], id="two lengths"),
    pytest.param([*POST, (LENGTH, b"1x")], id="a length that is none"),
    pytest.param([*POST, (LENGTH, b"-1")], id="a negative length"),
    pytest.param(head(b"CONNECT", b"/"), id="CONNECT with a path"),
    pytest.param(head(path=b"a.test/"), id="a path without a slash"),
    pytest.param(head(path=b"*"), id="* is for OPTIONS"),
    pytest.param(head(host=b"user@a.test"), id="user information"),
    pytest.param(head(host=b"a.test/b"), id="a path in the authority"),
    pytest.param([f for f in GET if f[0] != b":authority"], id="no host at all"),
]
REFUSED = [
    pytest.param([*head(b"CONNECT")[:1], GET[2]], 405, id="CONNECT"),
    pytest.param(head(path=b"/a#b"), 400, id="a fragment"),
    pytest.param([*GET, (b"host", b"b.test")], 400, id="another host"),
    pytest.param([*GET, (b"content_length", b"1")], 400, id="a length in disguise"),
    pytest.param([*GET, (b"transfer_encoding", b"chunked")], 400, id="a coding in disguise"),
    pytest.param([*POST, (b"expect", b"a-miracle")], 417, id="an expectation"),
    pytest.param(head(path=b"/" + b"a" * 17000), 414, id="a long path"),
    pytest.param([*GET, *[(b"x-%d" % n, b"") for n in range(201)]], 431, id="many fields"),
    pytest.param([*GET, *[(b"x-%d" % n, b"a" * 9000) for n in range(8)]], 431, id="large fields"),
]
TAKEN = [
    pytest.param([*GET, *[(b"cookie", b"a=1")] * 300], id="crumbs are one field"),
    pytest.param([*GET, (b"host", b"a.test")], id="the same host"),
    pytest.param([*GET, (b"host", b"A.test:80")], id="the same origin"),
    pytest.param([*GET[:2], GET[3], (b"host", b"a.test")], id="Host alone"),
    pytest.param([*GET, (b"te", b"trailers")], id="te: trailers"),
    pytest.param([*GET, (b"x-a", b"\xe4")], id="octets above ASCII"),
    pytest.param([*GET, (b"x-a", b"")], id="an empty value"),
    pytest.param([*GET, (LENGTH, b"0")], id="no bytes"),
    pytest.param(head(b"PURGE"), id="a method of somebody's own"),
    pytest.param([(n, b"https" if n == b":scheme" else v) for n, v in GET], id="https in front"),
    pytest.param(head(b"OPTIONS", b"*"), id="OPTIONS *"),
    pytest.param(head(path=b"/a|b{c}"), id="what browsers do not encode"),
]


async def works(client: Http2Client, stream: int) -> bool:
    """Whether another stream of the connection is still served."""
    client.request(stream, GET)
    return (await client.answer(stream)).status == 200


@pytest.mark.parametrize("fields", RESET)
async def test_what_breaks_the_protocol_is_reset(
    client: Http2Client, recorder: Recorder, fields: list[tuple[bytes, bytes]]
) -> None:
    client.request(1, fields)
    got = await client.answer(1)
    assert (got.fields, got.reset) == ([], PROTOCOL_ERROR)
    assert recorder.scopes == []
    assert await works(client, 3)


@pytest.mark.parametrize(("fields", "status"), REFUSED)
async def test_what_is_not_served_is_answered_on_its_stream(
    client: Http2Client, fields: list[tuple[bytes, bytes]], status: int
) -> None:
    client.request(1, fields)
    got = await client.answer(1)
    assert (got.status, got.reset) == (status, None)
    assert await works(client, 3)


@pytest.mark.parametrize("fields", TAKEN)
async def test_what_is_legal_is_served(
    client: Http2Client, recorder: Recorder, fields: list[tuple[bytes, bytes]]
) -> None:
    client.request(1, fields)
    assert (await client.answer(1)).status == 200
    assert [v for n, v in recorder.scopes[0]["headers"] if n == b"host"] == [b"a.test"]


@pytest.mark.parametrize("body", [b"hell", b"hello!"])
async def test_a_body_has_its_length(client: Http2Client, recorder: Recorder, body: bytes) -> None:
    client.send(client.headers(1, [*POST, (LENGTH, b"5")]), data(1, body, end=True))
    assert (await client.answer(1)).reset == PROTOCOL_ERROR
    assert recorder.bodies == []
    assert await works(client, 3)


async def test_a_body_where_none_was_announced(client: Http2Client, recorder: Recorder) -> None:
    client.send(client.headers(1, [*POST, (LENGTH, b"5")], "END_STREAM"))
    assert (await client.answer(1)).reset == PROTOCOL_ERROR
    assert recorder.scopes == []


async def test_a_head_that_is_far_too_large_ends_the_connection(client: Http2Client) -> None:
    fields = [*GET, *[(b"x-%d" % n, b"") for n in range(500)]]
    client.request(1, fields)
    assert await client.gone() == ENHANCE_YOUR_CALM


async def test_a_large_body_is_refused(recorder: Recorder) -> None:
    async with serving(recorder, ClientLimits(body=1000), ws="none") as served:
        served.edge.prior_knowledge = True
        async with speaking(served.port) as client:
            client.send(client.headers(1, [*POST, (LENGTH, b"1001")]))
            await client.until(lambda: client.of(1).reset == 0)
            client.send(client.headers(3, POST), data(3, b"x" * 1001))
            await client.until(lambda: client.of(3).reset == 0)
            assert (client.of(1).status, client.of(3).status) == (413, 413)
            assert await works(client, 5)


@pytest.mark.parametrize("fields", RESET)
def test_our_own_rules_refuse_what_the_engine_refuses(
    fields: list[tuple[bytes, bytes]],
) -> None:
    """Neither relies on the other: what passes one of them must not pass both."""
    with pytest.raises(Refusal):
        read_head(tuple(fields), ClientLimits(), ended=False)
