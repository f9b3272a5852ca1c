"""What others write where we read: it is passed over, whatever it is."""

import pytest

from app.stores.journal import parse_change
from app.stores.redis.marks import decode_mark

TEXTS = ["", "null", "{", "[]", '{"until": "soon"}', '{"at": [], "until": 1e999}', "[" * 100_000]


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_it_is_no_mark_and_no_change(text: str) -> None:
    assert decode_mark(text) is None
    assert parse_change(text) is None
