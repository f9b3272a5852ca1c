"""What newer interpreters bring: `python -m bench.questions.interpreters PYTHON ...`.

Measures Hipache on this interpreter and on others beside nginx, in one run, with the options of
`python -m bench.compare`. Each is `bin/python` of an environment that has what Hipache needs.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench.compare.__main__ import main as compare
from bench.compare.proxies import Hipache, Nginx
from bench.compare.sites import Site

VERSION = "import platform; print(platform.python_version())"


@dataclass
class OnPython(Hipache):
    """Hipache, run by another interpreter."""

    python: str = sys.executable

    def command(self, site: Site) -> list[str]:
        return [self.python, *super().command(site)[1:]]

    def version(self) -> str:
        return f"{super().version()} on {self.python}"


def on(python: str) -> OnPython:
    """Named after its version."""
    version = subprocess.check_output([python, "-c", VERSION], text=True).strip()
    return OnPython(f"python-{version}", python=python)


def main(argv: Sequence[str]) -> int:
    """The report of the comparison, and its exit status."""
    others = [each for each in argv if each.endswith("python")]
    rest = [each for each in argv if each not in others]
    proxies = [Nginx(), *(on(each) for each in [sys.executable, *others])]
    return compare(["--only", "small_get", *rest], proxies=proxies)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
