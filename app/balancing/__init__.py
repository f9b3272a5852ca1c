"""How a backend is chosen, and what `hipache explain` says of it."""
