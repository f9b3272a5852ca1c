"""Asks an authorization service about a request, as nginx's auth_request and Traefik do."""

from __future__ import annotations

import asyncio

from ...errors import AccessUnknown, BadHost, PassedOn, UpstreamError
from ...fields.headers import RawHeaders, field, request_headers, response_headers
from ...fields.names import as_read
from ...frontends.protection import Protection
from ...frontends.services import Service
from ...routing import normalise_host
from ...upstream.client import AnyAnswer, UpstreamClient, body_of
from ...upstream.own_requests import own_request
from ..request import Request

MAX_REFUSAL = 65536
"""Bytes of a refusal's body that are passed on."""

_NOT_ASKED_WITH = frozenset({
    b"content-length", b"expect", b"host", b"transfer-encoding",
    b"x-forwarded-host", b"x-forwarded-method", b"x-forwarded-uri",
})  # fmt: skip
"""As CGI programs read them: a trusted proxy may have let them pass, too."""


async def ask(
    client: UpstreamClient, auth: Service, protection: Protection, request: Request
) -> None:
    """Let `request` pass, with the fields that the answer adds, or raise what answers it.

    The question is a GET with the request's own fields and no body. 2xx lets the request
    pass, any other answer goes to the client; without an answer in time the client gets 503.
    """
    try:
        async with asyncio.timeout(protection.forward_timeout):
            answer = await own_request(
                client, auth.backend, b"GET", auth.target, fields=_question(auth, request)
            )
            try:
                if not 200 <= answer.status < 300:
                    raise await _refusal(answer)
                if names := protection.forward_copy:
                    _copy(names, request, answer.headers)
            finally:
                await answer.aclose()
    except TimeoutError:
        seconds = protection.forward_timeout
        raise AccessUnknown(f"forwardAuth did not answer in {seconds:g} s") from None
    except UpstreamError as error:
        raise AccessUnknown(f"forwardAuth: {error}") from error


def _question(auth: Service, request: Request) -> RawHeaders:
    """The fields of the question; none of the client's can be taken for one of ours."""
    ours: RawHeaders = [
        *(item for item in request.ours if item[0] != b"x-forwarded-host"),
        request.id_field,
        (b"x-forwarded-host", _asked_for(request)),
        (b"x-forwarded-method", request.method),
        (b"x-forwarded-uri", request.target),
    ]
    kept = [item for item in request.headers if as_read(item[0]) not in _NOT_ASKED_WITH]
    return [(b"host", auth.host), *request_headers(kept, ours, request.passing)]


def _asked_for(request: Request) -> bytes:
    """The host in the one form that routes are looked up by: rules of the service compare it."""
    try:
        return normalise_host(field(request.ours, b"x-forwarded-host") or b"").encode("latin-1")
    except BadHost:  # what a trusted proxy says is no host
        return normalise_host(request.host).encode("latin-1")


def _copy(names: tuple[bytes, ...], request: Request, answered: RawHeaders) -> None:
    """Put the answer's fields in the place of the client's own, in whichever spelling.

    They are ours from now on: the client's `Connection` cannot name them.
    """
    alike = frozenset(map(as_read, names))
    request.headers = [item for item in request.headers if as_read(item[0]) not in alike]
    request.ours += tuple(item for item in answered if item[0] in names)


async def _refusal(answer: AnyAnswer) -> PassedOn:
    body = await body_of(answer, MAX_REFUSAL)
    if body is None:
        raise AccessUnknown("forwardAuth: the body of its answer is too large")
    fields = response_headers(answer.headers, answer.status)
    fields = [item for item in fields if item[0] != b"content-length"]
    if answer.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(body)))
    return PassedOn(answer.status, tuple(fields), body, f"forwardAuth answered {answer.status}")
