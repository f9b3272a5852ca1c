"""TLS towards clients: listeners, and where certificates come from."""
