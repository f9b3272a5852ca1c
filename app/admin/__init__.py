"""The admin listener: metrics, health and state of the proxy, for operators and their tools."""
