"""Active health checks, done by one worker for the whole fleet."""
