"""Makes what wakes the frontends of a worker."""

from __future__ import annotations

import secrets
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial

from ..balancing.balancer import Balancer
from ..metrics.counters import Counters
from ..stores.mark_news import MarkNews
from ..stores.routes import Routes
from ..upstream.client import UpstreamClient
from .wake_call import CALL_WITHIN, call, is_awake
from .wakes import Wakes
from .waking import WakeParts


@asynccontextmanager
async def waking(
    routes: Routes, client: UpstreamClient, counters: Counters | None, news: MarkNews, name: str
) -> AsyncIterator[Callable[[Balancer], Wakes]]:
    """What makes it, once there is a balancer; it ends with the context. `name` is this
    process's: what it makes has a name of its own, for a process may run several proxies."""
    async with AsyncExitStack() as stack:

        def counted(result: str) -> None:
            if counters is not None:
                counters.count("wakes", result)

        def made(balancer: Balancer) -> Wakes:
            wakes = Wakes(WakeParts(
                routes=routes, options=balancer.options, may_serve=balancer.may_serve,
                has_live=balancer.has_live, call=partial(call, client),
                looks=partial(is_awake, client), counted=counted, news=news,
                name=f"{name}:{secrets.token_hex(4)}", call_within=CALL_WITHIN,
            ))  # fmt: skip
            stack.push_async_callback(wakes.aclose)
            return wakes

        yield made
