"""A resolver that fails for names under `.test`: the machine's own can not be broken here."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest


def failing(monkeypatch: pytest.MonkeyPatch, code: int | None) -> list[str]:
    """From now on every look-up of this loop fails with `code`, or never ends without one.

    Gives the names as they are asked for.
    """
    loop, asked = asyncio.get_running_loop(), []
    real = loop.getaddrinfo

    async def getaddrinfo(host: str, *args: Any, **more: Any) -> list[Any]:
        if not host.endswith(".test"):
            return await real(host, *args, **more)
        asked.append(host)
        if code is None:
            await loop.create_future()
        raise socket.gaierror(code, "the resolver says so")

    monkeypatch.setattr(loop, "getaddrinfo", getaddrinfo)
    return asked
