"""How one of several backends is chosen."""
