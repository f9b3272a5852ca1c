"""A key that one holder has for some time, and what only its holder may do. Scripts for Redis."""

from __future__ import annotations

KEEP = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('pexpire',KEYS[1],ARGV[2]) or 0"
"""Extend the lease of ARGV[1] to ARGV[2] milliseconds."""
RELEASE = "return redis.call('get',KEYS[1])==ARGV[1] and redis.call('del',KEYS[1]) or 0"
"""Give the lease of ARGV[1] back."""
