"""The way of a request from its head to its last byte."""
