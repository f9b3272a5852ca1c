"""Certificates that the proxies get by themselves (RFC 8555), shared through the store."""
