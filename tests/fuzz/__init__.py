"""Hostile bytes for everything that reads bytes, thousands of times a second.

Each module of `targets` has `SEEDS`, cases to begin with, and `check(data)`, which raises
where a promise is broken. `python -m tests.fuzz` (make fuzz) mutates the seeds, led by
coverage; `test_fuzz.py` does it for a moment, and holds what was found once.
"""
