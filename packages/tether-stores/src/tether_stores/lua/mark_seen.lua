-- Remember notifications: KEYS are n marks, ARGV their n content digests and then the seconds to keep them.
local kept_s = ARGV[#KEYS + 1]
for place, key in ipairs(KEYS) do
    redis.call('SET', key, ARGV[place], 'EX', kept_s)
end
