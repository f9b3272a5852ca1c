"""In which order the dashboard lists frontends."""

from __future__ import annotations

import pytest

from app.admin.dashboard.site_list import Frontends
from app.stores.uses import LastUses

USES = LastUses(1.0, 100.0, {"old.test": 10.0, "new.test": 90.0, "busy.test": 20.0})


@pytest.mark.parametrize(
    ("sort", "order"),
    [
        ("used", ["busy.test", "new.test", "old.test", "never.test"]),
        ("idle", ["never.test", "old.test", "new.test", "busy.test"]),
    ],
)
def test_by_last_use(sort: str, order: list[str]) -> None:
    weight = Frontends("", sort, 1)._by_use(USES, {"busy.test"})
    assert sorted(set(order), key=weight) == order
