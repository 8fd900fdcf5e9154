-- wrk script: posts the lines of a file, one after the other, and prints the figures as one line of JSON.
--
--     wrk -t1 -c64 -d10s -s saturate.lua http://127.0.0.1:8000/api/webhooks/emp -- bodies.txt
--
-- The requests are put together here rather than by wrk.format, which costs more than the rest of wrk.

local bodies = {}
local sent = 0
local head

function init(args)
  for line in io.lines(args[1]) do
    bodies[#bodies + 1] = line
  end
  head = "POST " .. wrk.path .. " HTTP/1.1\r\nHost: " .. wrk.host .. ":" .. wrk.port ..
    "\r\nContent-Type: application/x-www-form-urlencoded\r\nContent-Length: "
end

function request()
  local body = bodies[sent % #bodies + 1]
  sent = sent + 1
  return head .. #body .. "\r\n\r\n" .. body
end

function done(summary, latency)
  local errors = summary.errors
  io.write(string.format(
    '\nJSON {"answers":%d,"refused":%d,"broken":%d,"lasted_s":%.6f,"p50_ms":%.3f,"p95_ms":%.3f,"p99_ms":%.3f}\n',
    summary.requests, errors.status, errors.connect + errors.read + errors.write + errors.timeout,
    summary.duration / 1e6, latency:percentile(50) / 1000, latency:percentile(95) / 1000,
    latency:percentile(99) / 1000))
end
