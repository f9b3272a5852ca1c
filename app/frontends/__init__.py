"""What a frontend may say of itself in the store: parsed, without I/O."""
