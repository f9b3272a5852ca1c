"""All fields that a backend gets of a request; not made twice where a client repeats them."""

from __future__ import annotations

from ..fields.headers import RawHeaders, request_headers
from ..fields.known_fields import KnownRequest, RequestFields
from .request import Request


def fields_of(request: Request) -> RawHeaders:
    """The client's fields that pass, ours, and the request's id. Raises LoopDetected."""
    repetition, headers, ours = request.repetition, request.headers, request.ours
    # A guard, a hook or a prefix that ends here may have changed what follows from the head.
    if repetition is None or ours is not repetition.ours or headers != repetition.headers:
        return request_headers(headers, (*ours, request.id_field), request.passing)
    known = repetition.fields
    if known is not None:
        fields = RequestFields((*known.fields, request.id_field))
        fields.known = known
        return fields
    made = request_headers(headers, (*ours, request.id_field), request.passing)
    if made[-1] is request.id_field:
        repetition.fields = KnownRequest(made[:-1])
    return made
