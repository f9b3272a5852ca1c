"""HTTP/2 towards clients (RFC 9113): the extra `http2`."""
