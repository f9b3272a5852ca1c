"""Connections to backends, under the interface of httpx."""
