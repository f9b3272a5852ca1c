"""Fields that come again and again, and what was made of them. Pure."""

from __future__ import annotations

from typing import NamedTuple

ID = b"x-request-id"
"""Name of the field that tells a request's id."""


class FieldLines(NamedTuple):
    """Fields as HTTP/1 writes them, and what they tell."""

    text: bytes
    """The lines, each with its CRLF, without those that are the server's own to write."""
    length: int
    """Content-Length, -1 without one."""
    dated: bool
    closes: bool
    """`Connection` has asked to close."""


class AnswerSection(NamedTuple):
    """Fields as HTTP/2 sends them, and what they tell."""

    status: int
    fields: list[tuple[bytes, bytes]]
    """All of them, `:status` in front; nobody changes them. A date that lacks is not among them."""
    length: int
    """Content-Length, -1 without one."""
    dated: bool


class KnownFields(list[tuple[bytes, bytes]]):
    """The fields of an answer that has come before. All who come share it: nobody changes it."""

    __slots__ = ("head", "lines", "passing", "section")

    passing: list[tuple[bytes, bytes]] | None
    """Those that go on to the client; None until somebody has asked."""
    lines: FieldLines | None
    """`passing` as HTTP/1 writes it; None until then."""
    section: AnswerSection | None
    """`passing` as HTTP/2 sends it; None until then."""
    head: bytes | None
    """The whole head for a client over HTTP/1.1 whose connection goes on; empty where that takes
    more than the fields, None until somebody has asked."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        super().__init__(fields)
        self.passing = self.lines = self.section = self.head = None


class PassingFields(list[tuple[bytes, bytes]]):
    """A copy of `known.passing` for one answer, which may be changed."""

    __slots__ = ("known",)

    known: KnownFields


class KnownRequest:
    """What a backend gets of requests whose fields are the same but for the last, their id."""

    __slots__ = ("fields", "framing", "section", "text")

    text: bytes | None
    """The same as HTTP/1 writes it; None until then."""
    section: list[tuple[bytes, bytes]] | None
    """The same as HTTP/2 sends it, with the pseudo-fields of one request; None until then."""
    framing: tuple[int | None] | None
    """Bytes of the body that it announces, None for chunks; None until somebody has asked."""

    def __init__(self, fields: list[tuple[bytes, bytes]]) -> None:
        """`fields`: what stands before the id. Nobody changes it."""
        self.fields = fields
        self.text = self.section = self.framing = None


class RequestFields(list[tuple[bytes, bytes]]):
    """A copy of `known.fields` and the id of one request, which may be changed."""

    __slots__ = ("known",)

    known: KnownRequest

    @property
    def are_unchanged(self) -> bool:
        """Whether nobody has changed them, and the last one is the id still."""
        return self[:-1] == self.known.fields and self[-1][0] == ID
