"""The edge towards clients: listeners, connections, and the HTTP that is spoken on them."""
