"""HTTP/2 towards backends (RFC 9113): the extra `http2`."""
