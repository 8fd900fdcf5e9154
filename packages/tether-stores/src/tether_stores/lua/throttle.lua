-- throttle: lower the rate after HTTP 429.
--
-- The rule of tether_core.limits.throttle for all nodes; a test compares both.
--
-- KEYS[1]   the throttle: "part until"; none means the whole rate
-- ARGV[1]   for how many seconds the gateway wants no requests, 0 where it named no time
-- ARGV[2..6] cut, part_min, pause, pause_max, recover
-- ARGV[7,8] the part and the seconds to the end of the pause that the caller knows of, or "": what a Redis that was
--           emptied has forgotten
-- ARGV[9]   the time in seconds, or "" for the server's own; given only by tests
-- Returns the part and the seconds to the end of the pause, as text.

local asked = tonumber(ARGV[1])
local cut, part_min, pause, pause_max = tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4]), tonumber(ARGV[5])
local recover = tonumber(ARGV[6])
local now = tonumber(ARGV[9])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end

local part, ends = 1, -math.huge
local known = redis.call('GET', KEYS[1])
if known then
  local first, second = string.match(known, '(%S+) (%S+)')
  part, ends = tonumber(first), tonumber(second)
elseif ARGV[7] ~= '' then
  part, ends = tonumber(ARGV[7]), now + tonumber(ARGV[8])
end

if now < ends and ends - now <= pause_max then
  ends = math.max(ends, now + math.min(asked, pause_max))
else
  local now_part = math.min(1, part + math.max(0, now - ends) / recover)
  part = math.max(now_part * cut, part_min)
  ends = now + math.min(asked > 0 and math.max(asked, pause) or pause / part, pause_max)
end
local keep_ms = math.ceil((ends - now + recover) * 1000)
redis.call('SET', KEYS[1], string.format('%.17g %.17g', part, ends), 'PX', keep_ms)
return {string.format('%.17g', part), string.format('%.17g', ends - now)}
