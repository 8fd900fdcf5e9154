-- take: request calls from one share of an account's rate.
--
-- The token bucket of tether_core.limits.rate_limit for all nodes; a test compares both.
--
-- KEYS[1]   the bucket: "at pool own ceiling own ceiling ...", all with 17 digits, so that nothing is lost on the way
-- KEYS[2]   the throttle: "part until"; none means the whole rate
-- ARGV[1]   place of the share, from 1
-- ARGV[2]   calls wanted
-- ARGV[3]   burst in seconds
-- ARGV[4]   how long an unused bucket is kept, in milliseconds; one that is lost begins empty and grants nothing extra
-- ARGV[5]   the time in seconds, or "" for the server's own; given only by tests
-- ARGV[6]   in how many seconds a lowered rate is whole again; tether_core.limits.throttle
-- ARGV[7]   the longest pause of a throttle; a longer one shows that the clock was set back
-- ARGV[8,9] the throttle that the caller knows: its part and the seconds to the end of its pause, or "". A Redis that
--           was flushed restores it from this.
-- ARGV[10..] guaranteed and ceiling rate of each share
-- Returns granted, the seconds until one more may be granted, and the throttle's part and seconds to the end of its pause,
-- all as text; "" where the rate is not lowered.

local place, wanted, burst = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3])
local now = tonumber(ARGV[5])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local count = (#ARGV - 9) / 2

local part, ends = 1, nil
local recover, pause_max = tonumber(ARGV[6]), tonumber(ARGV[7])
local throttle = redis.call('GET', KEYS[2])
if throttle then
  local first, second = string.match(throttle, '(%S+) (%S+)')
  part, ends = tonumber(first), tonumber(second)
elseif ARGV[8] ~= '' then
  part, ends = tonumber(ARGV[8]), now + tonumber(ARGV[9])
  local keep_ms = math.ceil((ends - now + recover) * 1000)
  if keep_ms > 0 then redis.call('SET', KEYS[2], string.format('%.17g %.17g', part, ends), 'PX', keep_ms) end
end
local rate = 1
if ends then
  local paused = now < ends and ends - now <= pause_max
  rate = paused and 0 or math.min(1, part + math.max(0, now - ends) / recover)
end
local function guaranteed(share) return tonumber(ARGV[8 + 2 * share]) * rate end
local function ceiling(share) return tonumber(ARGV[9 + 2 * share]) * rate end
local total = 0
for share = 1, count do total = total + guaranteed(share) end
local function capacity(rate) return 1 + rate * burst end

local stored = {}
for number in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do
  stored[#stored + 1] = tonumber(number)
end
if #stored ~= 2 + 2 * count then
  stored = {now, 0}
  for entry = 3, 2 + 2 * count do stored[entry] = 0 end
end

local passed = math.max(0, now - stored[1])
local at = math.max(stored[1], now)
local own, ceilings, spilled = {}, {}, 0
for share = 1, count do
  local filled = stored[1 + 2 * share] + guaranteed(share) * passed
  own[share] = math.min(filled, capacity(guaranteed(share)))
  spilled = spilled + (filled - own[share])
  ceilings[share] = math.min(stored[2 + 2 * share] + ceiling(share) * passed, capacity(ceiling(share)))
end
local pool = math.min(stored[2] + spilled, capacity(total))

local granted = 0
if rate > 0 then granted = math.min(wanted, math.floor(math.min(ceilings[place], own[place] + pool) + 1e-9)) end
local from_own = math.min(own[place], granted)
own[place] = own[place] - from_own
ceilings[place] = math.max(ceilings[place] - granted, 0)
pool = math.max(pool - (granted - from_own), 0)

local wait = 0
if rate == 0 then
  wait = ends - now
elseif granted < wanted then
  local growth = 0
  for share = 1, count do
    if share ~= place and own[share] >= capacity(guaranteed(share)) then growth = growth + guaranteed(share) end
  end
  growth = guaranteed(place) + growth
  wait = math.max((1 - ceilings[place]) / ceiling(place), (1 - own[place] - pool) / growth, 0)
end

local kept = {string.format('%.17g', at), string.format('%.17g', pool)}
for share = 1, count do
  kept[#kept + 1] = string.format('%.17g', own[share])
  kept[#kept + 1] = string.format('%.17g', ceilings[share])
end
redis.call('SET', KEYS[1], table.concat(kept, ' '), 'PX', ARGV[4])
if not ends then return {granted, string.format('%.17g', wait), '', ''} end
return {granted, string.format('%.17g', wait), string.format('%.17g', part), string.format('%.17g', ends - now)}
