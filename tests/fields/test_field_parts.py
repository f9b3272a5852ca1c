"""Names and values, taken out of fields at once."""

import doctest

import pytest

from app.fields import field_parts
from app.fields.field_parts import LARGEST, MOST, Names, by_names, size_of


def test_the_examples_in_the_docstrings_hold() -> None:
    assert doctest.testmod(field_parts) == doctest.TestResults(failed=0, attempted=2)


def test_the_size_is_that_of_names_and_values_and_a_part_for_each_field() -> None:
    assert size_of([(b"te", b"trailers"), (b"x-a", b"")]) == 13 + 2 * 32


@pytest.mark.parametrize(
    ("names", "kept"),
    [
        ((b"host", b"te"), 1),
        ((b"x" * (LARGEST - 32),), 1),
        ((b"x" * (LARGEST - 31),), 0),
        ((b"x",) * 100, 0),
    ],
)
def test_what_follows_from_names_is_kept_unless_they_are_large(names: Names, kept: int) -> None:
    counts = by_names(len)
    assert counts[names] == len(names)
    assert len(counts) == kept


def test_names_that_always_differ_fill_no_memory() -> None:
    counts = by_names(len)
    for number in range(3 * MOST):
        assert counts[(b"x-%d" % number, b"host")] == 2
    assert len(counts) <= MOST
