"""What happens at once in Redis when certificates are ordered: scripts, each with its keys and
arguments."""

from __future__ import annotations

BEGIN = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 'lost' end
local seen = redis.call('hget', KEYS[2], 'certificate')
if (seen and redis.sha1hex(seen) or '') ~= ARGV[2] then return 'changed' end
local now = tonumber(redis.call('time')[1])
local orders, count, first = redis.call('hgetall', KEYS[3]), 0, now
for i = 1, #orders, 2 do
  local at = tonumber(orders[i + 1])
  if at <= now - 3600 then redis.call('hdel', KEYS[3], orders[i])
  else count = count + 1; first = math.min(first, at) end
end
if count >= tonumber(ARGV[3]) then return tostring(first + 3600 - now) end
redis.call('hset', KEYS[3], ARGV[4], now)
redis.call('expire', KEYS[3], 3600)
return 'begun'
"""
"""Lease, certificate, orders; holder, digest of the certificate, orders an hour, an id."""
FINISH = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 'lost' end
redis.call('del', KEYS[3])
redis.call('hdel', KEYS[4], ARGV[2])
local seen = redis.call('hget', KEYS[2], 'certificate')
if (seen and redis.sha1hex(seen) or '') ~= ARGV[3] then return 'changed' end
redis.call('hset', KEYS[2], 'certificate', ARGV[4], 'key', ARGV[5], 'acme', ARGV[6])
return 'written'
"""
"""Lease, certificate, state, wishes; holder, name, digest of what stood there, certificate, key,
mark."""
PUT = """
local seen = redis.call('hget', KEYS[1], 'certificate')
if (seen and redis.sha1hex(seen) or '') ~= ARGV[1] then return 'changed' end
redis.call('hset', KEYS[1], 'certificate', ARGV[2], 'key', ARGV[3], 'acme', ARGV[4])
return 'written'
"""
"""Certificate; digest of what stood there, certificate, key, mark. For a cluster, where it is in
another slot than the lease."""
FORGET = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('del', KEYS[2])
redis.call('hdel', KEYS[3], ARGV[2])
return 1
"""
"""Lease, state, wishes; holder, name. For a cluster."""
ACCOUNT = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return '' end
if ARGV[3] == '' or not redis.call('get', KEYS[2]) then
  redis.call('set', KEYS[2], ARGV[2])
end
return redis.call('get', KEYS[2])
"""
"""Lease, account; holder, account, `first` if one that is there stays."""
FAIL = """
if redis.call('get', KEYS[1]) ~= ARGV[1] then return 0 end
redis.call('set', KEYS[2], ARGV[3], 'ex', ARGV[4])
redis.call('hdel', KEYS[3], ARGV[2])
return 1
"""
"""Lease, state, wishes; holder, name, state, seconds that it is kept."""
WISH = """
if redis.call('hget', KEYS[1], ARGV[1]) and ARGV[3] == 'client' then return 1 end
if ARGV[3] == 'client' and (ARGV[5] == '' and redis.call('get', KEYS[2])
  or redis.call('hlen', KEYS[1]) >= tonumber(ARGV[4])) then return 0 end
redis.call('hset', KEYS[1], ARGV[1], ARGV[3] .. ' ' .. ARGV[2])
return 1
"""
"""Wishes, what refuses names below wildcards; name, seconds, why, the most with which a client may
still wish, empty for a name below a wildcard."""
