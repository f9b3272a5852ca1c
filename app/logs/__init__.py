"""The access log and the proxy's own log."""
