"""`python -m hipache`, or `python -m app` in a checkout: the same as the `hipache` command."""

from .cli import main

if __name__ == "__main__":
    main(prog_name="hipache")
