"""What is written: the access log and the proxy's own."""
