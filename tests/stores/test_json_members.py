"""A JSON object member by member: as `json.loads` reads it, and refuses it."""

import json
from collections.abc import Callable
from io import StringIO
from time import thread_time

import pytest

from app.stores.json_members import json_members, read_members

TEXTS = [
    "{}",
    " {\n} \n",
    '{"a": 1}',
    ' { "a" : {"b": [1, 2, {"c": "}"}]} , "d\\u00e9\\"": null,\r\n\t"a": "again" } ',
    "",
    "{",
    '{"a"',
    '{"a" 1}',
    '{"a":}',
    '{"a": 1,}',
    ' {"a": 1,\n "b": 2,\n }',
    '{"a": 1, "b": 2 "c": 3}',
    '{"a": 1, "b" 2}',
    '{"a": 1, b: 2}',
    '{"a": 1, "b": 2} {',
    '{"a": 1 "b": 2}',
    '{"a": 1}}',
    '{"a": 1} x',
    '{"a": tru}',
    '{"a": "\n"}',
    "{a: 1}",
    "{'a': 1}",
    "\ufeff{}",
]


def outcome(read: Callable[[str], object], text: str) -> object:
    """What it gives, or the words and the place of its complaint."""
    try:
        return read(text)
    except json.JSONDecodeError as exc:
        return exc.msg, exc.pos


@pytest.mark.parametrize("text", TEXTS, ids=range(len(TEXTS)))
def test_it_is_read_as_a_whole_one_is(text: str) -> None:
    assert outcome(lambda text: dict(json_members(text)), text) == outcome(json.loads, text)


@pytest.mark.parametrize("text", ["[]", '"a"', "1", "null"])
def test_what_is_no_object_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no object"):
        list(json_members(text))


@pytest.mark.parametrize("at_once", [1, 3, 1000])
@pytest.mark.parametrize("text", [*TEXTS, "[]", "1"], ids=range(len(TEXTS) + 2))
def test_a_file_is_read_as_its_text_is(text: str, at_once: int) -> None:
    """Whatever is in memory at once: numbers, names and values may end anywhere."""

    def read(members: Callable[[], object]) -> object:
        try:
            return members()
        except ValueError:
            return "refused"

    whole = read(lambda: list(json_members(text)))
    assert read(lambda: list(read_members(StringIO(text), at_once))) == whole


def test_a_number_is_read_to_its_end() -> None:
    text = '{"a": 123456, "b": 1.5e3}'
    for at_once in range(1, 30):
        assert dict(read_members(StringIO(text), at_once)) == {"a": 123456, "b": 1500.0}


@pytest.mark.parametrize("end", ['"x" 1}', '"x": 1,}', '"x": 1}}', '"x": 1', "x}"])
def test_a_mistake_at_the_end_of_a_large_file_is_found_at_once(end: str) -> None:
    """All steps before it let others have their turn; to read all once more would not."""
    large = json.dumps({f"{n}.test": ["http://127.0.0.1:8080"] * 9 for n in range(20_000)})
    text = large[:-1] + ", " + end
    assert min(share_of_the_longest_step(text) for _ in range(3)) < 1 / 4


def share_of_the_longest_step(text: str) -> float:
    """Of the CPU time that all of it takes at once. A step may meet the cycle collector."""
    began = thread_time()
    expected = outcome(json.loads, text)
    at_once = thread_time() - began
    members, longest, found = json_members(text), 0.0, None
    while found is None:
        began = thread_time()
        try:
            next(members)
        except json.JSONDecodeError as exc:
            found = exc.msg, exc.pos
            longest = thread_time() - began
    assert found == expected
    return longest / at_once
