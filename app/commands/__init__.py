"""The subcommands of `hipache`."""
