"""Our protocol classes for uvicorn, and the one place that reaches a running server."""
