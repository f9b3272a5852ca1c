"""What the workers counted: written by each, told by any."""
