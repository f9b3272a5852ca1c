"""Calls of gRPC on their way through the proxy: where their status is, and what ends them."""

from __future__ import annotations

from typing import Any

from ..errors import UpstreamError, UpstreamPreempted
from ..fields.headers import RawHeaders
from ..grpc.own_answers import status_fields, status_of_error
from ..grpc.statuses import grpc_type, status_in
from ..upstream.client import AnyAnswer
from .attempt import Attempt
from .error_pages import public_message
from .request import Request


def is_call(attempt: Attempt[Any], answer: AnyAnswer) -> bool:
    """Whether the backend answers in gRPC. Notes the status, if it has come already.

    That is the case where there are trailers only, and where the answer is small.
    """
    if grpc_type(answer.headers) is None:
        return False
    attempt.grpc_status = status_in(answer.headers)
    if attempt.grpc_status is None and answer.whole is not None:
        attempt.grpc_status = status_in(answer.trailers)
    attempt.request.record.grpc_status = attempt.grpc_status
    return True


def note_end(attempt: Attempt[Any]) -> bool:
    """Note the status behind the body; whether there is one, and it is news."""
    if attempt.grpc_status is not None:
        return False
    attempt.grpc_status = status_in(attempt.answer.trailers)
    attempt.request.record.grpc_status = attempt.grpc_status
    return attempt.grpc_status is not None


def end_of_cut(request: Request, error: UpstreamError) -> RawHeaders | None:
    """Trailers that end a call whose answer broke off; None where only a cut is honest.

    They say what a client sees whose own connection breaks. The one that holds up others would
    not read them.
    """
    if isinstance(error, UpstreamPreempted) or request.http_version == "1.0":
        return None
    status = request.record.grpc_status = status_of_error(error)
    request.record.error = str(error)
    return status_fields(status, public_message(error))
