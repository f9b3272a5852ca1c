"""Where an exchange writes its answer: the part that depends on the version of HTTP."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Protocol

from ..fields.trailers import Trailers


class Stream(Protocol):
    """One request's way back to its client, and the brake on the client's body.

    A connection has one at a time over HTTP/1, and many over HTTP/2. The Exchange that owns
    it keeps the rules of ASGI. The protocol tells the Exchange, not the stream, of the
    client's body, its pace and its end.
    """

    started: bool
    """A head was given: no other answer can take its place."""
    complete: bool
    """The whole answer was given; the request is over."""
    expects_continue: bool
    """The client waits for `100 Continue` before it sends its body."""

    @property
    def full(self) -> bool:
        """Whether the client is behind: `Exchange.writable` is called when it has caught up."""

    def untaken(self) -> int:
        """Bytes of the answer that the client has not taken. Asks the kernel, or the peer's window:
        only for a client that is behind."""

    def send_head(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None
    ) -> None:
        """Begin the answer. Raises RuntimeError for a head that cannot be sent."""

    def send_body(self, data: bytes, more: bool) -> None:
        """Go on; without `more` the answer is complete.

        Raises RuntimeError where that contradicts the head's Content-Length.
        """

    def send_trailers(self, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """The answer is complete; all of its body was sent with `more`.

        The fields go behind the body if it has no length and the client takes them, else
        nowhere. Raises RuntimeError as `send_head` and `send_body` do.
        """

    def answer(
        self, status: int, headers: Iterable[tuple[bytes, bytes]], reason: bytes | None,
        body: bytes, trailers: Trailers = (),
    ) -> None:  # fmt: skip
        """A whole answer at once, as the application's messages would send it.

        `trailers` are for a client that takes them, as with `send_trailers`.
        """

    def refuse(self, status: int, text: str) -> None:
        """A whole answer of the server's own, in plain text; nothing was sent before."""

    def send_continue(self) -> None:
        """`100 Continue`, where the client may get an interim response now."""

    def send_interim(self, status: int, headers: Iterable[tuple[bytes, bytes]]) -> None:
        """A 1xx answer, if the client may get one now. Raises RuntimeError as `send_head` does."""

    def cut(self) -> None:
        """Break the answer off so that the client sees it."""

    def abandon(self) -> None:
        """The client has gone, or was cut: drop what was not sent yet."""

    def pause(self) -> None:
        """Enough of the request's body is waiting: hold the client back."""

    def resume(self) -> None:
        """All that has come of the request's body was taken: let the client go on."""
