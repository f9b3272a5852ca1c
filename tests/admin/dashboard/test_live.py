"""Open pages that are told what has changed."""

import asyncio
from unittest.mock import Mock

from app.admin.dashboard.desk import Desk
from app.admin.dashboard.live import LivePages
from app.admin.dashboard.pace import Lookback
from app.admin.dashboard.views import Context, Overview


class Counted(Overview):
    """A page whose context takes several turns of the loop."""

    found = 0

    async def context(self, desk: Desk, window: Lookback) -> Context:
        await asyncio.sleep(0)
        Counted.found += 1
        return {"found": Counted.found}


async def test_ten_who_look_at_the_same_page_cost_one_context() -> None:
    live, window = LivePages(Mock(Desk)), Mock(Lookback)
    first, *others = [asyncio.create_task(live._context(Counted(), window)) for _ in range(10)]
    await asyncio.sleep(0)
    first.cancel()  # a page that is closed meanwhile leaves the others theirs
    assert await asyncio.gather(*others) == [{"found": 1}] * 9
    assert await live._context(Counted(), Mock(Lookback)) == {"found": 2}
