"""`python -m tests.fuzz [TARGET ...] --minutes N` (make fuzz): each target in turn.

atheris leads the mutations by coverage where it is installed (the extra `fuzz`); the corpus
that grows in `.fuzz/TARGET` is where the next run goes on. `--plain` does without: seeds and
chance alone. What breaks a promise is kept in `.fuzz/findings`, and is run by
`python -m tests.fuzz TARGET FILE`.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import os
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.fuzz.mutate import mutations

ROOT = Path(__file__).parent.parent.parent
HOME = ROOT / ".fuzz"
TARGETS = ("requests", "http2", "answers", "tunnel", "relay", "config", "routes", "logs")
HANG = 30
"""Seconds of real time that one case may take."""


def load(name: str) -> Any:
    return importlib.import_module(f"tests.fuzz.targets.{name}")


def plainly(name: str, seconds: float, seed: int | None = None) -> int:
    """How many cases were run. Raises what `check` raises, with the case kept."""
    target = load(name)
    end = time.monotonic() + seconds
    count = 0
    for data in mutations(target.SEEDS, target.TOKENS, random.Random(seed)):
        try:
            target.check(data)
        except Exception:
            print(f"{name}: {keep(name, data)}", file=sys.stderr)
            raise
        count += 1
        if time.monotonic() > end:
            break
    return count


def keep(name: str, data: bytes) -> Path:
    path = HOME / "findings" / f"{name}-{hashlib.sha1(data).hexdigest()[:12]}"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(data)
    return path


def led_by_coverage(name: str, seconds: int) -> None:
    """Runs in a process of its own, which libFuzzer ends."""
    import atheris

    corpus, words = HOME / name, HOME / f"{name}.dict"
    corpus.mkdir(parents=True, exist_ok=True)
    with atheris.instrument_imports(include=["app"]):
        target = load(name)
    for data in target.SEEDS:
        (corpus / hashlib.sha1(data).hexdigest()).write_bytes(data)
    words.write_text("".join(f'"{"".join(map(_escaped, token))}"\n' for token in target.TOKENS))

    def check(data: bytes) -> None:
        try:
            target.check(data)
        except Exception:
            keep(name, data)
            raise

    options = [f"-max_total_time={seconds}", f"-timeout={HANG}", f"-dict={words}", "-max_len=8192"]
    options += [f"-artifact_prefix={HOME}/crash-{name}-", "-print_final_stats=1", "-verbosity=1"]
    atheris.Setup([sys.argv[0], *options, str(corpus)], check)
    atheris.Fuzz()


def _escaped(octet: int) -> str:
    return f"\\x{octet:02x}"


def one(name: str, seconds: int, *, plain: bool) -> int:
    """Its exit status; the process is its own, so a crash of the interpreter is seen too."""
    how = ["--plain"] if plain else []
    argv = [sys.executable, "-m", "tests.fuzz", name, "--here", "--seconds", str(seconds), *how]
    print(f"{name}: {seconds} s", flush=True)
    return subprocess.run(argv, cwd=ROOT, check=False).returncode


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="TARGET")
    parser.add_argument("--minutes", type=float, default=60, help="for all targets together")
    parser.add_argument("--seconds", type=int, help="for each target instead")
    parser.add_argument("--plain", action="store_true", help="without atheris")
    parser.add_argument("--seed", type=int, help="the same cases each time, with --plain --here")
    parser.add_argument("--here", action="store_true", help="in this process: one target")
    args = parser.parse_args()
    names = list(args.targets)
    if len(names) == 2 and os.path.exists(names[1]):
        load(names[0]).check(Path(names[1]).read_bytes())
        return 0
    seconds = args.seconds or round(args.minutes * 60 / len(names))
    plain = args.plain or importlib.util.find_spec("atheris") is None
    if not args.here:
        failed = [name for name in names if one(name, seconds, plain=plain)]
        print(f"failed: {' '.join(failed)}" if failed else "nothing found")
        return bool(failed)
    if plain:
        print(f"{names[0]}: {plainly(names[0], seconds, args.seed):,} cases", flush=True)
    else:
        led_by_coverage(names[0], seconds)
    return 0


if __name__ == "__main__":
    sys.exit(main())
