"""What is fuzzed: each module a target with `SEEDS` and `check(data)`."""
