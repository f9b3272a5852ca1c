"""The flight recorder: what became of requests that failed, were retried or were slow.

`stories` says what is kept of one request, `rings` where it is kept, `recorder` which
requests are, `telling` how it reads. `hipache why` and `hipache failures` show it.
"""
