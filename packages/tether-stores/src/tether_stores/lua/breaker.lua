-- breaker: request a permit, or report the results of calls.
--
-- The circuit breaker of tether_core.limits.circuit_breaker for all nodes; a test compares both.
--
-- KEYS[1]   the breaker: "state generation half calls failures calls_before failures_before open_until opened_in_row
--           probe_until probes_passed"
-- ARGV[1]   "ask", or the results of calls, a letter each: "o" succeeded, "f" failed, "u" not made, or not about the gateway
-- ARGV[2]   the generation under which the calls were made
-- ARGV[3..9] window, calls_min, failure_share, open, open_max, probe_timeout, probes_to_close
-- ARGV[10]  how long an unused breaker is kept, in milliseconds; one that is lost begins closed
-- ARGV[11]  the time in seconds, or "" for the server's own; given only by tests
-- Returns whether to call, the generation, seconds until the next request as text, and the state.

local window, calls_min, failure_share = tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local open_for, open_max = tonumber(ARGV[6]), tonumber(ARGV[7])
local probe_timeout, probes_to_close = tonumber(ARGV[8]), tonumber(ARGV[9])
local now = tonumber(ARGV[11])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local stored = {}
for word in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do stored[#stored + 1] = word end
local b = {state = 'closed', generation = 0, half = 0, calls = 0, failures = 0, calls_before = 0,
  failures_before = 0, open_until = 0, opened_in_row = 0, probe_until = 0, probes_passed = 0}
local names = {'generation', 'half', 'calls', 'failures', 'calls_before', 'failures_before', 'open_until',
  'opened_in_row', 'probe_until', 'probes_passed'}
if #stored == 1 + #names then
  b.state = stored[1]
  for place, name in ipairs(names) do b[name] = tonumber(stored[1 + place]) end
end

local function change(state)
  local opened = b.opened_in_row
  if state == 'open' then opened = opened + 1 end
  local for_s = 0
  if opened > 0 then for_s = math.min(open_for * 2 ^ math.min(opened - 1, 30), open_max) end
  b = {state = state, generation = b.generation + 1, half = 0, calls = 0, failures = 0, calls_before = 0,
    failures_before = 0, open_until = 0, opened_in_row = opened, probe_until = 0, probes_passed = 0}
  if state == 'open' then b.open_until = now + for_s end
  if state == 'closed' then b.opened_in_row = 0 end
end

local function count(failed)
  local half = math.max(math.floor(now / (window / 2)), b.half)
  if half > b.half then
    b.calls_before, b.failures_before = 0, 0
    if half == b.half + 1 then b.calls_before, b.failures_before = b.calls, b.failures end
    b.half, b.calls, b.failures = half, 0, 0
  end
  b.calls = b.calls + 1
  if failed then b.failures = b.failures + 1 end
end

local function report(failed)
  if b.state == 'half_open' then
    if failed then return change('open') end
    b.probes_passed = b.probes_passed + 1
    b.probe_until = 0
    if b.probes_passed >= probes_to_close then change('closed') end
    return
  end
  count(failed)
  local calls, failures = b.calls + b.calls_before, b.failures + b.failures_before
  if calls >= calls_min and failures >= failure_share * calls then change('open') end
end

local go, wait = 1, 0
if ARGV[1] == 'ask' then
  if b.state == 'open' and now >= b.open_until then change('half_open') end
  if b.state ~= 'closed' then
    local until_s = b.state == 'open' and b.open_until or b.probe_until
    if now < until_s then
      go, wait = 0, until_s - now
    else
      b.probe_until = now + probe_timeout
    end
  end
else
  for letter in string.gmatch(ARGV[1], '.') do
    if tonumber(ARGV[2]) ~= b.generation then break end
    if letter == 'u' then b.probe_until = 0 else report(letter == 'f') end
  end
end

local kept = {b.state}
for _, name in ipairs(names) do kept[#kept + 1] = string.format('%.17g', b[name]) end
redis.call('SET', KEYS[1], table.concat(kept, ' '), 'PX', ARGV[10])
return {go, b.generation, string.format('%.17g', wait), b.state}
