-- take: ask for calls of one share of an account's rate.
--
-- The arithmetic of tether_core.limits, once more, where all nodes meet; a test holds both against each other.
--
-- KEYS[1]   the bucket: "at pool own ceiling own ceiling ...", all with 17 digits, so that nothing is lost on the way
-- ARGV[1]   place of the share, from 1
-- ARGV[2]   calls wanted
-- ARGV[3]   burst in seconds
-- ARGV[4]   sum of the guaranteed rates
-- ARGV[5]   how long an unused bucket is kept, in milliseconds; one that is lost begins empty and grants nothing extra
-- ARGV[6]   the moment in seconds, or "" for the server's own; given only by tests
-- ARGV[7..] guaranteed and ceiling rate of each share
-- Returns granted, and the seconds until one more may be granted, as text.

local place, wanted, burst, total = tonumber(ARGV[1]), tonumber(ARGV[2]), tonumber(ARGV[3]), tonumber(ARGV[4])
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) + tonumber(time[2]) / 1000000
end
local count = (#ARGV - 6) / 2
local function guaranteed(share) return tonumber(ARGV[5 + 2 * share]) end
local function ceiling(share) return tonumber(ARGV[6 + 2 * share]) end
local function capacity(rate) return 1 + rate * burst end

local told = {}
for number in string.gmatch(redis.call('GET', KEYS[1]) or '', '%S+') do
  told[#told + 1] = tonumber(number)
end
if #told ~= 2 + 2 * count then
  told = {now, 0}
  for entry = 3, 2 + 2 * count do told[entry] = 0 end
end

local passed = math.max(0, now - told[1])
local at = math.max(told[1], now)
local own, ceilings, spilled = {}, {}, 0
for share = 1, count do
  local filled = told[1 + 2 * share] + guaranteed(share) * passed
  own[share] = math.min(filled, capacity(guaranteed(share)))
  spilled = spilled + (filled - own[share])
  ceilings[share] = math.min(told[2 + 2 * share] + ceiling(share) * passed, capacity(ceiling(share)))
end
local pool = math.min(told[2] + spilled, capacity(total))

local granted = math.min(wanted, math.floor(math.min(ceilings[place], own[place] + pool) + 1e-9))
local from_own = math.min(own[place], granted)
own[place] = own[place] - from_own
ceilings[place] = math.max(ceilings[place] - granted, 0)
pool = math.max(pool - (granted - from_own), 0)

local wait = 0
if granted < wanted then
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
redis.call('SET', KEYS[1], table.concat(kept, ' '), 'PX', ARGV[5])
return {granted, string.format('%.17g', wait)}
