"""Header fields: which pass, which end here, and what we add."""
