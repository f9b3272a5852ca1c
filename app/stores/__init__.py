"""Where frontends and marks live; one outside world per module."""
