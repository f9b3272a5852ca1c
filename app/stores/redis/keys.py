"""The kinds of keys in Redis; what follows the colon is a frontend's key."""

FRONTEND, OPTIONS, DEAD, DEAD_INFO = "frontend:", "options:", "dead:", "dead-info:"
HEALTHCHECK = "healthcheck:"
JOURNAL = "hipache:journal"
"""The stream of changes of frontends."""
PATHS = "paths:"
"""The set of a host's prefixes, each with its slash in front; absent for most hosts."""
