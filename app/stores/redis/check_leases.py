"""Which active checker has which shards of the frontends, in one hash. Scripts for Redis.

Each checker takes free shards up to its fair share: the number of shards over the number of
checkers, and one more for as many of them as it leaves over. What a checker has above that, because
others came, it gives back. One script does this at once and by the server's clock, so a shard never
has two holders, and one key has it all, so a script stays within one slot of a cluster. A shard
that its holder does not renew in time is free, and the entry still says up to when all was checked:
the next holder knows what is left undone, also where the last one had not yet done what it found
undone itself. A lease that ends later than any new one is from before the clock was set back: it is
cut to the length of a new one, so that its holder has the time to renew it.

    <number of the shard>  <ends> <since> <holder>   the holder has it until `ends`, in Unix
                                                     milliseconds; what was due by `since` is done
                           <since>                   nobody has it
    :<checker>             <ends>                    it counts as alive until then
"""

from __future__ import annotations

from typing import Any

from ..base import ShardLeases

LEASES = "hipache:check-shards"

# No more checkers count than there are shards: with 800 workers the hash stays as small.
SHARE = """
local time = redis.call('TIME')
local now = time[1] * 1000 + math.floor(time[2] / 1000)
local me, lasts, shards = ARGV[1], tonumber(ARGV[2]), tonumber(ARGV[3])
local undone, others, ends, sinces, holders, gone, theirs = {}, 0, {}, {}, {}, {}, {}
for i = 4, #ARGV, 2 do undone[ARGV[i]] = ARGV[i + 1] end
local entries = redis.call('HGETALL', KEYS[1])
for i = 1, #entries, 2 do
  local field, entry = entries[i], entries[i + 1]
  local at, since, holder = string.match(entry, '^(%d+) ?(%d*) ?(.*)$')
  at = tonumber(at) or 0
  if at > now + lasts then
    at = now + lasts
    local rest = string.match(entry, ' .*$') or ''
    redis.call('HSET', KEYS[1], field, string.format('%.0f', at) .. rest)
  end
  if string.sub(field, 1, 1) ~= ':' then
    ends[field], holders[field] = at, holder
    sinces[field] = since ~= '' and since or string.format('%.0f', at)
    if at > now and holder ~= me then theirs[holder] = (theirs[holder] or 0) + 1 end
  elseif field ~= ':' .. me then
    if at > now then others = others + 1 else gone[#gone + 1] = field end
  end
end
if #gone > 0 then redis.call('HDEL', KEYS[1], unpack(gone)) end
local found = {string.format('%.0f', now), others < shards and 1 or 0}
if others >= shards then return found end
local until_ = string.format('%.0f', now + lasts)
local changes, mine, free = {':' .. me, until_}, 0, {}
local share = math.floor(shards / (others + 1))
local left_over = shards % (others + 1)
for holder, held in pairs(theirs) do
  if holder ~= '' and held > share then left_over = left_over - 1 end
end
if left_over > 0 then share = share + 1 end
for n = 0, shards - 1 do
  local field = tostring(n)
  if holders[field] == me then
    if mine < share then
      mine = mine + 1
      found[#found + 1], found[#found + 2] = field, sinces[field]
      local since = undone[field] or found[1]
      changes[#changes + 1], changes[#changes + 2] = field, until_ .. ' ' .. since .. ' ' .. me
    else
      changes[#changes + 1], changes[#changes + 2] = field, undone[field] or sinces[field]
    end
  elseif (ends[field] or 0) <= now then
    free[#free + 1] = field
  end
end
for i = 1, math.min(#free, share - mine) do
  local field = free[i]
  local since = sinces[field] or found[1]
  found[#found + 1], found[#found + 2] = field, since
  changes[#changes + 1], changes[#changes + 2] = field, until_ .. ' ' .. since .. ' ' .. me
end
redis.call('HSET', KEYS[1], unpack(changes))
redis.call('PEXPIRE', KEYS[1], 10 * lasts)
return found
"""
"""Be alive as ARGV[1] for ARGV[2] milliseconds, and have a fair share of ARGV[3] shards as long.

Behind them comes, for each shard that ARGV[1] has but has not caught up with, its number and up to
when all of it was checked. Returns the time, whether it is one of the checkers (1) or there are
enough (0), and for each shard up to when all of it was checked before. Times are in Unix
milliseconds."""

RELEASE_SHARE = """
local entries = redis.call('HGETALL', KEYS[1])
redis.call('HDEL', KEYS[1], ':' .. ARGV[1])
for i = 1, #entries, 2 do
  local since, holder = string.match(entries[i + 1], '^%d+ (%d+) (.*)$')
  if holder == ARGV[1] then redis.call('HSET', KEYS[1], entries[i], since) end
end
"""
"""Give all shards of ARGV[1] back."""


def leases_of(answer: Any) -> ShardLeases:
    """From the answer to SHARE."""
    now, counted, *rest = (int(number) for number in answer)
    pairs = zip(rest[::2], rest[1::2], strict=True)
    renewed = {shard: since / 1000 for shard, since in pairs}
    return ShardLeases(now / 1000, renewed, counted=bool(counted))
