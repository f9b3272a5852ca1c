"""Processes: from a configuration to listening workers."""
