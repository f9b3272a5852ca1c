"""Active health checks, divided among the workers of the whole fleet."""
