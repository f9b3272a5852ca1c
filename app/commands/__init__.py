"""The subcommands of `hipache` that look into the store."""
