"""Hipache: a distributed HTTP and WebSocket reverse proxy."""
