"""Millions of requests of every kind through one worker: does anything grow or get lost?

`__main__` conducts, `load` is the clients, `backend` the backends, `watched` the
proxy with a window into its worker.
"""
