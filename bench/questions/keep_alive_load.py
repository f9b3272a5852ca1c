"""Keep-alive clients that count refused requests, for `bench.questions.workers`."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

HEAD_END = b"\r\n\r\n"


@dataclass
class Load:
    """Closed-loop clients of one port. Run `client` as often as there shall be clients."""

    port: int
    target: bytes = b"/"
    served: int = 0
    resent: int = 0
    """Sent again, as their connection had been closed while it was idle: no failure."""
    refused: int = 0
    """Connections that were not accepted."""
    failures: list[str] = field(default_factory=list)
    broken: list[int] = field(default_factory=list)
    """Our own ports of the connections that broke under a request, whether sent again or not."""
    stopping: bool = False

    async def client(self, want: int = 0) -> None:
        """Ask, until stopped or until so many answers have come to all clients."""
        reader: asyncio.StreamReader | None = None
        writer: asyncio.StreamWriter | None = None
        request = b"GET %b HTTP/1.1\r\nHost: a.test\r\n\r\n" % self.target
        while not self.stopping and not (want and self.served >= want):
            used = writer is not None
            if writer is None:
                try:
                    reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
                except OSError:
                    self.refused += 1
                    await asyncio.sleep(0.01)
                    continue
            assert reader is not None
            closes = await self._ask(reader, writer, request, used)
            if closes:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()
                reader = writer = None
        if writer is not None:
            writer.close()

    async def _ask(
        self,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: bytes,
        used: bool,
    ) -> bool:
        """One request; whether the connection ends with it."""
        got = b""
        try:
            writer.write(request)
            got = await reader.readuntil(HEAD_END)
            size = int(got.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            await reader.readexactly(size)
        except (OSError, EOFError, IndexError) as exc:
            got = got or getattr(exc, "partial", b"")
            self.broken.append(writer.get_extra_info("sockname")[1])
            if used and not got:
                self.resent += 1
            else:
                self.failures.append(f"{exc!r} after {got[:60]!r}")
            return True
        if got.startswith(b"HTTP/1.1 200 "):
            self.served += 1
        else:
            self.failures.append(got[:60].decode("latin-1"))
        return b"\r\nconnection: close" in got.lower()
