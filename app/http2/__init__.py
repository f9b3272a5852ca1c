"""What both sides of HTTP/2 (RFC 9113) share: the engine, and the rules for fields."""
