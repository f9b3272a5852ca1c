"""What a request costs, and what holds under load.

This folder has what its three parts share: programs and their CPU time, and a WebSocket backend.
"""
