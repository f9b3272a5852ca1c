"""What goes wrong with a CA, in one line, and whether the name or the CA is the cause."""

from __future__ import annotations

import ssl
from collections.abc import Iterator
from urllib.parse import urlsplit

import josepy
import requests
from acme import errors, messages

from ...errors import HipacheError
from ...masking import printable

MAX_REASON = 300
"""Characters of a reason; a CA may quote a whole page."""
OF_THE_CA = frozenset({
    "accountDoesNotExist", "badNonce", "externalAccountRequired", "rateLimited",
    "serverInternal", "userActionRequired", "unauthorized",
})  # fmt: skip
"""Errors (RFC 8555 §6.7) that the next name would meet as well."""


class OrderFailed(HipacheError):
    """There is no certificate, for the reason in the text."""

    def __init__(self, reason: str, *, of_the_ca: bool = False, retry_after: float = 0.0) -> None:
        """`of_the_ca`: the next name would fail alike. `retry_after`: seconds that it asks for."""
        line = printable(" ".join(reason.split()))
        super().__init__(line if len(line) <= MAX_REASON else f"{line[: MAX_REASON - 3]}...")
        self.of_the_ca = of_the_ca
        self.retry_after = retry_after
        self.until = 0.0
        """When the name may be tried again (Unix seconds), once that is known."""


def order_failed(exc: Exception, *, retry_after: float = 0.0, refused: str = "") -> OrderFailed:
    """The failure that an exception of the ACME library stands for; `refused`: the last answer
    that was an error."""
    match exc:
        case OrderFailed():
            return exc
        case messages.Error() if not messages.is_acme_error(exc):  # another program's, perhaps
            text = f"the CA's answer cannot be used: {refused} {exc.detail or ''}"
            return OrderFailed(text, of_the_ca=True, retry_after=retry_after)
        case messages.Error():
            of_the_ca = exc.code in OF_THE_CA
            return OrderFailed(_problem(exc), of_the_ca=of_the_ca, retry_after=retry_after)
        case errors.ValidationError():
            return OrderFailed("; ".join(_validation(exc)) or "the CA could not validate the name")
        case errors.IssuanceError():
            return OrderFailed(_problem(exc.error))
        case errors.TimeoutError():
            return OrderFailed("the CA did not decide in time")
        case requests.exceptions.Timeout():
            return OrderFailed("the CA does not answer", of_the_ca=True)
        case requests.exceptions.SSLError():
            return OrderFailed(f"the CA's TLS is not trusted: {_cause(exc)}", of_the_ca=True)
        case requests.exceptions.ConnectionError() | OSError():
            return OrderFailed(f"the CA cannot be reached: {_cause(exc)}", of_the_ca=True)
        case errors.Error() | josepy.errors.Error() | ValueError() | KeyError():
            return OrderFailed(
                f"the CA's answer cannot be used: {refused or f'{type(exc).__name__}: {exc}'}",
                of_the_ca=True, retry_after=retry_after,
            )  # fmt: skip
    raise exc


def _problem(error: messages.Error) -> str:
    name = str(error.typ).rpartition(":")[2]
    parts = [_problem(sub) for sub in error.subproblems or ()]
    return f"{name}: {error.detail or error.title or error.description or 'no reason given'}" + (
        f" ({'; '.join(parts)})" if parts else ""
    )


def _validation(exc: errors.ValidationError) -> Iterator[str]:
    for authorization in exc.failed_authzrs:
        for challenge in authorization.body.challenges:
            if challenge.error is not None:
                yield _problem(challenge.error)


def _cause(exc: BaseException) -> str:
    """Where it happened, and the innermost reason: the libraries wrap that three times."""
    found: list[BaseException] = [exc]
    while (inner := found[-1].__cause__ or found[-1].__context__) and inner not in found:
        found.append(inner)
    request = getattr(exc, "request", None)
    where = f"{urlsplit(request.url).netloc.rpartition('@')[2]}: " if request is not None else ""
    match found[-1]:
        case ssl.SSLCertVerificationError() as cause:
            hint = "https.acme.ca names the authority of a CA of your own"
            return f"{where}{cause.verify_message} ({hint})"
        case ssl.SSLError(reason=str(reason)):
            return f"{where}{reason.lower().replace('_', ' ')}"
        case OSError(strerror=str(reason)):
            return f"{where}{reason}"
        case cause:
            return f"{where}{cause}"
