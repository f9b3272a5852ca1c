"""When a worker turns requests away."""
