"""Hipache beside the proxies people would pick instead, under the same loads: `make bench`."""
