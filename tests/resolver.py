"""A resolver for names under `.test`: the machine's own cannot be broken here."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

SystemAnswer = list[tuple[Any, ...]]


def answering(monkeypatch: pytest.MonkeyPatch, answer: Callable[[str], list[str]]) -> list[str]:
    """From now on `answer` gives the IP addresses of every name under `.test`, in a thread.

    Gives the names as they are looked up.
    """
    real, asked = socket.getaddrinfo, []

    def getaddrinfo(  # noqa: PLR0917 - the system's own signature
        host: str, port: object, family: int = 0, type: int = 0, proto: int = 0, flags: int = 0
    ) -> Any:
        if flags & socket.AI_NUMERICHOST or not host.endswith(".test"):
            return real(host, port, family, type, proto, flags)
        asked.append(host)
        found: SystemAnswer = []
        for address in answer(host):
            found += real(address, port, family, type, proto, socket.AI_NUMERICHOST)
        return found

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    return asked


def failing(monkeypatch: pytest.MonkeyPatch, code: int) -> list[str]:
    """From now on every look-up of such a name fails with `code`."""

    def answer(host: str) -> list[str]:
        raise socket.gaierror(code, "the resolver says so")

    return answering(monkeypatch, answer)


@contextmanager
def silent(monkeypatch: pytest.MonkeyPatch, part: str = "") -> Iterator[list[str]]:
    """Every look-up of such a name with `part` in it ends only when this is left; others lead to
    127.0.0.1."""
    over = threading.Event()

    def answer(host: str) -> list[str]:
        if part in host:
            over.wait()
            raise socket.gaierror(socket.EAI_AGAIN, "no answer")
        return ["127.0.0.1"]

    try:
        yield answering(monkeypatch, answer)
    finally:
        over.set()
