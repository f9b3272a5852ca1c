-- wrk's side of a scenario; everything is said on the command line:
-- wrk ... -s load.lua URL -- METHOD BODY_BYTES HOSTS HOST_PATTERN CONNECTION
-- Prints one line of JSON when done; wrk.py reads it.

local hosts, pattern

function init(args)
  local method, body, count, connection = args[1], tonumber(args[2]), tonumber(args[3]), args[5]
  hosts, pattern = count, args[4]
  wrk.method = method
  wrk.headers["Connection"] = connection ~= "keep-alive" and connection or nil
  if body > 0 then
    wrk.body = string.rep("x", body)
  end
  local requests = {}
  for index = 0, hosts - 1 do
    wrk.headers["Host"] = string.format(pattern, index)
    requests[index] = wrk.format()
  end
  wrk.headers["Host"] = string.format(pattern, 0)
  if hosts > 1 then -- with no global `request`, wrk formats one request and repeats it for nothing
    local turn = -1
    request = function()
      turn = (turn + 1) % hosts
      return requests[turn]
    end
  end
end

function done(summary, latency, _)
  local errors = summary.errors
  io.write(string.format(
    '\n{"requests": %d, "seconds": %.6f, "p50_us": %.1f, "p99_us": %.1f, "errors": %d}\n',
    summary.requests, summary.duration / 1e6, latency:percentile(50), latency:percentile(99),
    errors.connect + errors.read + errors.write + errors.status + errors.timeout))
end
