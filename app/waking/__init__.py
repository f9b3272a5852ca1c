"""Scale to zero: somebody is told when a request has come and no backend lives; it waits."""
