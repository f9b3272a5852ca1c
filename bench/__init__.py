"""What a request costs in Hipache and in the proxies people would pick instead."""
