"""A fleet on one Redis, in few processes: how fast a change is seen, and what it costs."""
