-- Remove the wake-ups that wait on a queue: KEYS are SAQ's lists `queued` and `incomplete`. Returns how many. Those that a worker has taken stay.
local ids = redis.call('LRANGE', KEYS[1], 0, -1)
for _, id in ipairs(ids) do
    redis.call('DEL', id)
    redis.call('ZREM', KEYS[2], id)
end
redis.call('DEL', KEYS[1])
return #ids
