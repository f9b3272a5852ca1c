"""Asks an authorization service about a request, as nginx's auth_request and Traefik do."""

from __future__ import annotations

import asyncio

from ...errors import AccessUnknown, PassedOn, UpstreamError, UpstreamStale
from ...fields.headers import RawHeaders, request_headers, response_headers
from ...frontends.protection import ForwardAuth, Protection
from ...health import REPLACEMENTS
from ...upstream.client import AnyAnswer, UpstreamClient
from ..request import Request

MAX_BODY = 65536
"""Bytes of a refusal's body that are passed on."""

_NOT_ASKED_WITH = frozenset({
    b"content-length", b"expect", b"host", b"x-forwarded-method", b"x-forwarded-uri",
})  # fmt: skip


async def ask(
    client: UpstreamClient, auth: ForwardAuth, protection: Protection, request: Request
) -> None:
    """Let `request` pass, with the fields that the answer adds, or raise what answers it.

    The question is a GET with the request's own fields and no body. 2xx lets the request
    pass, any other answer goes to the client; without an answer in time the client gets 503.
    """
    try:
        async with asyncio.timeout(protection.forward_timeout):
            answer = await _answer(client, auth, _question(auth, request))
            try:
                if not 200 <= answer.status < 300:
                    raise await _refusal(answer)
                if names := protection.forward_copy:
                    request.headers = _with_answer(names, request.headers, answer.headers)
            finally:
                await answer.aclose()
    except TimeoutError:
        seconds = protection.forward_timeout
        raise AccessUnknown(f"forwardAuth did not answer in {seconds:g} s") from None
    except UpstreamError as error:
        raise AccessUnknown(f"forwardAuth: {error}") from error


async def _answer(client: UpstreamClient, auth: ForwardAuth, fields: RawHeaders) -> AnyAnswer:
    replaced = 0
    while True:
        try:
            return await client.open(auth.backend, b"GET", auth.target, fields, None)
        except UpstreamStale:  # says nothing: a kept connection was closed
            replaced += 1
            if replaced > REPLACEMENTS:
                raise


def _question(auth: ForwardAuth, request: Request) -> RawHeaders:
    ours: RawHeaders = [
        *request.ours,
        (b"x-forwarded-method", request.method),
        (b"x-forwarded-uri", request.target),
    ]
    kept = [item for item in request.headers if item[0] not in _NOT_ASKED_WITH]
    fields = request_headers([f for f in kept if f[0] != b"transfer-encoding"], ours)
    return [(b"host", auth.host), *fields]


def _with_answer(names: tuple[bytes, ...], headers: RawHeaders, answered: RawHeaders) -> RawHeaders:
    """The request's fields with those of the answer in place of the client's own, also of those
    that a CGI program could not tell from them (RFC 3875 §4.1.18)."""
    alike = frozenset(name.replace(b"_", b"-") for name in names)
    kept = [item for item in headers if item[0].replace(b"_", b"-") not in alike]
    return kept + [item for item in answered if item[0] in names]


async def _refusal(answer: AnyAnswer) -> PassedOn:
    body = answer.whole or b""
    if answer.whole is None:
        async for chunk in answer:
            body += chunk
            if len(body) > MAX_BODY:
                break
    if len(body) > MAX_BODY:
        raise AccessUnknown("forwardAuth: the body of its answer is too large")
    fields = response_headers(answer.headers, answer.status)
    fields = [item for item in fields if item[0] != b"content-length"]
    if answer.status not in (204, 304):
        fields.append((b"content-length", b"%d" % len(body)))
    return PassedOn(answer.status, tuple(fields), body, f"forwardAuth answered {answer.status}")
