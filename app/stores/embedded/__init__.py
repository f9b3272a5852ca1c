"""Routes in a Valkey of our own, on a socket."""
