<?php
declare(strict_types=1);

/** A connection to Redis that the process keeps for its next request. */
function redis_of(string $url): Redis
{
    $parts = parse_url($url);
    $redis = new Redis();
    $redis->pconnect($parts['host'], $parts['port'] ?? 6379);
    if (isset($parts['pass'])) {
        $redis->auth(urldecode($parts['pass']));
    }
    $redis->select((int) ltrim($parts['path'] ?? '/0', '/'));
    return $redis;
}
