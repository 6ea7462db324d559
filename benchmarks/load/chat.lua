-- The script of wrk (https://github.com/wg/wrk): one prepared request, and a summary in one line.
-- Reads the whole request from the file named by its first argument. The second one, if there is one,
-- is how many ms a connection rests before each request, on average.

local request_text

function init(args)
  local file = assert(io.open(args[1], "rb"))
  request_text = file:read("*a")
  file:close()
  local rest = tonumber(args[2])
  if rest then
    function delay()
      return math.random(0, 2 * rest)
    end
  end
end

function request()
  return request_text
end

function done(summary, latency, requests)
  local e = summary.errors
  io.write(string.format(
    '\n{"requests":%d,"duration":%d,"p50":%d,"p99":%d,"errors":%d}\n',
    summary.requests, summary.duration, latency:percentile(50), latency:percentile(99),
    e.connect + e.read + e.write + e.status + e.timeout))
end
