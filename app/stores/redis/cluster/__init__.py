"""Redis Cluster: the keys divided over several primaries by slots.

redis-py has a client for it. Ours uses its connections, its parser and its errors, and routes the
commands itself: theirs sends ASKING on one connection and the command on another, closes the
connections of every shard when one of them fails, and asks for the right to `COMMAND`.
"""
