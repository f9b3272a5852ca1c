"""Which keys of frontends are meant, in a form that a Redis can filter by itself. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

_PART = re.compile(r"\\.|[*?]|[^\\*?]+", re.DOTALL)
_SPECIAL = re.compile(r"[*?\[\]\\]")


@dataclass(frozen=True, slots=True)
class KeyPattern:
    """Some of all keys."""

    glob: str = "*"
    r"""As MATCH of Redis' SCAN takes it: `*` is any text, `?` one character, `\` takes the
    meaning of the next one away."""

    @classmethod
    def written(cls, text: str) -> KeyPattern:
        """As people write it: `*` stands for any text; without one it is what keys begin with.

        >>> KeyPattern.written("*.shop.test").glob, KeyPattern.written("a.test").glob
        ('*.shop.test', 'a.test*')
        """
        parts = map(escaped, text.split("*"))
        return cls("*".join(parts)) if "*" in text else cls.beginning(text)

    @classmethod
    def beginning(cls, text: str) -> KeyPattern:
        """Keys that begin so.

        >>> KeyPattern.beginning("*.a.test").glob
        '\\\\*.a.test*'
        """
        return cls(f"{escaped(text)}*")

    @classmethod
    def containing(cls, text: str) -> KeyPattern:
        """Keys that have this somewhere."""
        return cls(f"*{escaped(text)}*") if text else cls()

    @property
    def everything(self) -> bool:
        """Whether it means every key."""
        return self.glob == "*"

    def regex(self) -> re.Pattern[str]:
        """For a whole key.

        >>> [bool(KeyPattern("a*.te?t").regex().fullmatch(key)) for key in ("a.b.test", "b.test")]
        [True, False]
        """
        meaning = {"*": ".*", "?": "."}
        parts = _PART.findall(self.glob)
        return re.compile(
            "".join(meaning.get(part) or re.escape(part.removeprefix("\\")) for part in parts),
            re.DOTALL,
        )


EVERY_KEY = KeyPattern()


def escaped(text: str) -> str:
    r"""`text` as a pattern that means just that.

    >>> escaped("*.a[1]")
    '\\*.a\\[1\\]'
    """
    return _SPECIAL.sub(r"\\\g<0>", text)
