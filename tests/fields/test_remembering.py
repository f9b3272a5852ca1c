"""What is remembered, and how much of it."""

import doctest

import pytest

from app.fields import remembering
from app.fields.remembering import Memo


def test_the_example_in_the_docstring_holds() -> None:
    assert doctest.testmod(remembering) == doctest.TestResults(failed=0, attempted=1)


def test_a_function_is_asked_once_for_each_argument_while_there_is_room() -> None:
    asked: list[int] = []

    def double(number: int) -> int:
        asked.append(number)
        return 2 * number

    doubles = Memo(double, 3)
    assert [doubles[number] for number in (1, 2, 1, 2, 3, 3)] == [2, 4, 2, 4, 6, 6]
    assert asked == [1, 2, 3]
    assert doubles[4] == 8  # a fourth: it begins anew
    assert (len(doubles), doubles[1], asked) == (1, 2, [1, 2, 3, 4, 1])


def test_an_argument_that_is_refused_is_not_remembered() -> None:
    lengths = Memo(int, 3)
    with pytest.raises(ValueError, match="invalid literal"):
        lengths["x"]
    assert not lengths


def test_what_is_too_large_is_not_remembered() -> None:
    sums = Memo(sum, 3, longest=5, size=sum)
    assert [sums[(1, 4)], sums[(2, 4)]] == [5, 6]
    assert list(sums) == [(1, 4)]
