"""A store that does exactly what the test says."""

import asyncio

from app.errors import StoreUnavailable
from app.routing import NO_MARKS, Mark, parse_frontend
from app.stores.base import Found, StoreListener


class ScriptedStore:
    """Answers a lookup when the test lets it, with what it held when it was asked."""

    name = "scripted"
    shares_marks = True
    rates = checks = leases = questions = uses = None

    def __init__(self) -> None:
        self.lists: dict[str, str] = {}
        self.marked: dict[str, dict[str, Mark]] = {}
        self.reads = 0
        self.open = asyncio.Event()
        self.open.set()
        self.asked = asyncio.Event()
        self.away = False
        self.listener: StoreListener | None = None

    async def lookup(self, host: str) -> Found | None:
        self.reads += 1
        url = self.lists.get(host)
        self.asked.set()
        await self.open.wait()
        if self.away:
            raise StoreUnavailable("away")
        if url is None:
            return None
        return Found(parse_frontend(host, ["id", url]), self.marked.get(host, NO_MARKS))

    async def marks(self, frontend):
        self.reads += 1
        marks = self.marked.get(frontend.key, NO_MARKS)
        self.asked.set()
        await self.open.wait()
        if self.away:
            raise StoreUnavailable("away")
        return marks

    async def write_mark(self, frontend, backend, mark, *, shared_until):
        if self.away:
            raise StoreUnavailable("away")
        self.marked.setdefault(frontend.key, {})[backend.url] = mark

    async def erase_mark(self, frontend, backend):
        self.marked[frontend.key].pop(backend.url, None)

    async def announce(self, frontend, backend):
        raise AssertionError

    async def watch(self, listener):
        self.listener = listener
        listener.tracking()
        await asyncio.Event().wait()

    async def aclose(self):
        pass
