"""h11 as the oracle: what a strict parser that is not ours makes of some bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass

import h11

from tests.conformance.case import Seen

LIMIT = 1 << 20
_ABSOLUTE = re.compile(rb"https?://[^/?#]*", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """One answer: complete, or cut off in its body."""

    status: int
    body: bytes
    complete: bool
    closes: bool


def requests_in(data: bytes) -> list[Seen]:
    """The complete requests in a client's bytes, one after the other."""
    seen: list[Seen] = []
    while data:
        # RFC 9112 §2.2 has us skip at least one empty line, h11 does not.
        while data.startswith(b"\r\n"):
            data = data[2:]
        connection = h11.Connection(h11.SERVER, max_incomplete_event_size=LIMIT)
        try:
            connection.receive_data(data)
            request, body = None, b""
            while not isinstance(event := connection.next_event(), h11.EndOfMessage):
                if isinstance(event, h11.Request):
                    request = event
                elif isinstance(event, h11.Data):
                    body += event.data
                else:
                    return seen
        except h11.RemoteProtocolError:
            return seen
        assert request is not None
        headers = [(bytes(name), bytes(value)) for name, value in request.headers]
        seen.append(Seen(bytes(request.method), origin_form(request), body, headers))
        # 404: whatever was to be switched or connected is not.
        connection.send(h11.Response(status_code=404, headers=[("content-length", "0")]))
        connection.send(h11.EndOfMessage())
        if h11.MUST_CLOSE in connection.states.values() and not _kept_by_http10(request):
            break
        data = connection.trailing_data[0]
    return seen


def _kept_by_http10(request: h11.Request) -> bool:
    """h11 never keeps a connection of HTTP/1.0; RFC 9112 §9.3 does where the client asks for it."""
    lines = [value for name, value in request.headers if name == b"connection"]
    options = {option.strip(b" \t") for option in b",".join(lines).lower().split(b",")}
    return request.http_version == b"1.0" and b"keep-alive" in options and b"close" not in options


def origin_form(request: h11.Request) -> bytes:
    """The target as a backend gets it (RFC 9112 §3.2.1)."""
    target = bytes(request.target)
    if (authority := _ABSOLUTE.match(target)) is None:
        return target
    rest = target[authority.end() :]
    if not rest and request.method == b"OPTIONS":
        return b"*"
    return rest if rest.startswith(b"/") else b"/" + rest


def answers_in(
    data: bytes, methods: list[bytes], *, closed: bool, most: int = 1000
) -> list[Answer]:
    """The answers in what a client got to its requests; `closed`: by a FIN.

    A request that h11 could not read counts as a GET. Raises h11.RemoteProtocolError
    for anything else than answers, of which the last may be cut off.
    """
    answers: list[Answer] = []
    while data and len(answers) < most:
        method = methods[len(answers)] if len(answers) < len(methods) else b"GET"
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=LIMIT)
        if method == b"CONNECT":
            method = b"GET"  # nobody is connected here: an answer like any other
        connection.send(h11.Request(method=method, target=b"/", headers=[("host", "a")]))
        connection.send(h11.EndOfMessage())
        connection.receive_data(data)
        answer = _next_answer(connection, closed=closed)
        if answer is None:
            return answers
        answers.append(answer)
        if not answer.complete:
            return answers
        data = connection.trailing_data[0]
        if answer.closes and data and len(answers) < most:
            raise h11.RemoteProtocolError(f"after the last answer: {data[:60]!r}")
    return answers


def _next_answer(connection: h11.Connection, *, closed: bool) -> Answer | None:
    response, body, at_end = None, b"", False
    while True:
        try:
            event = connection.next_event()
        except h11.RemoteProtocolError:
            if not at_end:
                raise
            event = h11.ConnectionClosed()
        if isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.InformationalResponse):
            if event.status_code == 101:
                return Answer(101, b"", complete=False, closes=True)
        elif event is h11.NEED_DATA and closed and not at_end:
            at_end = True
            connection.receive_data(b"")
        elif response is None:
            return None
        else:
            done = isinstance(event, h11.EndOfMessage)
            closes = connection.their_state is not h11.DONE
            return Answer(response.status_code, body, complete=done, closes=closes)
