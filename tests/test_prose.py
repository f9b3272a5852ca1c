"""The linter of our prose, on small texts."""

import pytest

from tests.prose import LONGEST_SENTENCE, avoided_words, long_sentences

LONG = " ".join(["Word"] + ["word"] * LONGEST_SENTENCE)
SHORT = " ".join(["Word"] + ["word"] * (LONGEST_SENTENCE - 1))


@pytest.mark.parametrize(
    ("text", "lines"),
    [
        pytest.param(f"{LONG}.", [1], id="a long sentence"),
        pytest.param(f"{SHORT}. {SHORT}.", [], id="two short ones"),
        pytest.param(f"# Title\n\n{SHORT}.\n\n{LONG}.\n", [5], id="the line of its paragraph"),
        pytest.param(f"{SHORT}.\n{LONG}.\n", [1], id="a paragraph of several lines"),
        pytest.param("\n".join(LONG.split()), [1], id="a sentence over many lines"),
        pytest.param(f"- {SHORT}\n- {SHORT}", [], id="items of a list are apart"),
        pytest.param(f"- {SHORT}\n  word", [1], id="an item of two lines"),
        pytest.param(f"`{LONG}` is one word.", [], id="code is one word"),
        pytest.param(f"{SHORT}. `code` begins a sentence.", [], id="a sentence begins with code"),
        pytest.param(f"[{SHORT}](a.md#{'-'.join(LONG.split())})", [], id="an address is no word"),
        pytest.param(f"| {LONG} |\n\n    {LONG}\n\n```\n{LONG}\n```", [], id="tables and code"),
        pytest.param(f"```\ncode\n```\n{LONG}", [4], id="prose goes on behind code"),
    ],
)
def test_sentences_are_short(text: str, lines: list[int]) -> None:
    assert [line for line, _ in long_sentences(text)] == lines


def test_the_words_are_plain() -> None:
    text = "For those\nWho" + "ever asks, it can\n    # not be."
    assert [line for line, _ in avoided_words(text)] == [2, 2]
    assert not [*avoided_words("it cannot be")]
