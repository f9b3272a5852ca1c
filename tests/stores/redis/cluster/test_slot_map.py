"""Which server has which slots, and what a command's key is."""

import pytest

from app.stores.redis.cluster.parts import answers_of, parts_of
from app.stores.redis.cluster.slot_map import SlotMap, key_of, slot_of

ANSWER = [
    [0, 99, [b"10.0.0.1", 6379, b"id"], [b"10.0.0.2", 6379, b"id"]],
    [100, 16383, [b"", 7000, b"id"]],
]


def test_slots_have_owners():
    slots = SlotMap.of_answer(ANSWER, "asked.test")
    assert (slots.owner(99), slots.owner(100)) == (("10.0.0.1", 6379), ("asked.test", 7000))
    assert slots.primaries() == [("10.0.0.1", 6379), ("asked.test", 7000)]
    assert slots.slots_outside([("asked.test", 7000)]) == frozenset(range(100))
    slots.move(5, ("10.0.0.3", 1))
    assert slots.owner(5) == ("10.0.0.3", 1)
    assert SlotMap().owner(0) is None


@pytest.mark.parametrize(
    ("command", "key"),
    [
        (("SET", "a", "1"), "a"),
        (("EVALSHA", "sha", 1, "a", "x"), "a"),
        (("EVAL", "return 1", 0), None),
        (("PUBLISH", "dead", "x"), None),
        (("PING",), None),
    ],
)
def test_the_key_of_a_command(command, key):
    assert key_of(command) == key


def test_commands_of_several_keys_are_asked_key_by_key():
    commands = [("MGET", "a", "b"), ("DEL", "a", "b", "c"), ("GET", "a")]
    found = parts_of(commands)
    assert [len(parts) for parts in found] == [2, 3, 1]
    for parts, answers in zip(found, ([[1], [2]], [1, 0, 1], [b"x"]), strict=True):
        for part, answer in zip(parts, answers, strict=True):
            part.answers = [answer]
    assert answers_of(found, commands) == [[1, 2], 2, b"x"]


def test_a_transaction_stays_together():
    found = parts_of([("MULTI",), ("SET", "a", "1"), ("INCR", "a"), ("EXEC",), ("GET", "b")])
    assert len({id(part) for parts in found[:4] for part in parts}) == 1
    assert (found[0][0].slot, found[4][0].slot) == (slot_of("a"), slot_of("b"))
