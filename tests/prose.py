"""The style of our prose: plain words, and sentences that are short enough to read once.

`make lint` holds pages and code to it (`python -m tests.prose`), and so do the tests.
"""

import re
import sys
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("bench/*.md")])
CODE = sorted([*ROOT.glob("templates/errors/*.html"), *ROOT.glob("app/**/*.py")])

LONGEST_SENTENCE = 30  # words; what stands in backquotes is one
BETWEEN_WORDS = r"""[\s"'#>f]+"""  # a sentence may go on in the next line of a comment or a string
AVOIDED = re.compile(rf"\b(?:whoever|whom|can{BETWEEN_WORDS}not)\b", re.I)

NO_PROSE = ("|", "#", "![", "<")  # rows of tables, headings, pictures, HTML
LIST_ITEM = re.compile(r"(?:[-*+]|\d+\.) ")
SENTENCE_END = re.compile(r"(?<=[.?!])[)\"'*]*\s+(?=[^a-z\s])")
MARKUP = ((re.compile(r"`+[^`]*`+"), "Code"), (re.compile(r"\]\([^)]*\)"), "]"))


def avoided_words(text: str) -> Iterator[tuple[int, str]]:
    """The words that pages, docstrings, comments and messages do without, with their lines."""
    for found in AVOIDED.finditer(text):
        yield text.count("\n", 0, found.start()) + 1, f"say {found[0]!r} more plainly"


def long_sentences(markdown: str) -> Iterator[tuple[int, str]]:
    """The sentences with too many words, and the lines where their paragraphs begin."""
    for line, paragraph in paragraphs(markdown):
        for pattern, short in MARKUP:
            paragraph = pattern.sub(short, paragraph)
        for sentence in SENTENCE_END.split(paragraph):
            words = [word for word in sentence.split() if re.search(r"\w", word)]
            if len(words) > LONGEST_SENTENCE:
                yield line, f"a sentence of {len(words)} words: {' '.join(words)}"


def paragraphs(markdown: str) -> Iterator[tuple[int, str]]:
    """What is prose in a page, each paragraph and each item of a list with its line."""
    fenced, begins, lines = False, 0, list[str]()
    for number, line in enumerate([*markdown.split("\n"), ""], 1):
        text = line.strip()
        fenced ^= text.startswith("```")
        code = fenced or text.startswith("```") or (line.startswith("    ") and not lines)
        over = code or not text or text.startswith(NO_PROSE)
        if lines and (over or LIST_ITEM.match(text)):
            yield begins, " ".join(lines)
            lines = []
        if not over:
            begins = begins if lines else number
            lines.append(text)


def faults() -> Iterator[str]:
    """All that is against the style, each as `file:line: what`."""
    for path in [*PAGES, *CODE]:
        text = path.read_text("utf-8")
        found = [*avoided_words(text), *(long_sentences(text) if path in PAGES else ())]
        for line, fault in sorted(found):
            yield f"{path.relative_to(ROOT)}:{line}: {fault}"


if __name__ == "__main__":
    said = list(faults())
    sys.stdout.writelines(f"{fault}\n" for fault in said)
    sys.exit(bool(said))
