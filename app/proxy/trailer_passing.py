"""Trailers on their way through the proxy: the client's to the backend, and back."""

from __future__ import annotations

from ..fields.headers import RawHeaders, field
from ..fields.passing import Rule
from ..fields.trailers import passing_trailers, takes_trailers
from ..upstream.client import AnyAnswer
from .request import Request

EXTENSION = "http.response.trailers"
"""ASGI's name for what a server offers that can send them."""


def trailers_up(request: Request) -> RawHeaders:
    """The client's trailers for the backend; ASGI tells of none, our own server does."""
    if request.exchange is None:
        return []
    passing = request.passing
    came = passing_trailers(request.exchange.trailers)
    return [item for item in came if passing[item[0]] is Rule.PASS]


def trailers_may_follow(request: Request, answer: AnyAnswer, headers: RawHeaders) -> bool:
    """Whether an answer with this head for the client may end with the backend's trailers."""
    if answer.whole is not None and not answer.trailers:
        return False
    return (
        field(headers, b"content-length") is None
        and (request.exchange is not None or EXTENSION in request.extensions)
        and takes_trailers(request.headers)
    )


def trailers_down(request: Request, answer: AnyAnswer, headers: RawHeaders) -> RawHeaders:
    """The trailers of a whole answer with this head, as far as its client gets them."""
    if trailers_may_follow(request, answer, headers):
        return passing_trailers(answer.trailers)
    return []
