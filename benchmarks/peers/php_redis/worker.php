<?php
// The worker: writes the status of each payment. A job is moved to a list of its own until it is done, as Laravel reserves one.
declare(strict_types=1);

require __DIR__ . '/connect.php';

$redis = redis_of((string) getenv('REDIS_URL'));
$redis->setOption(Redis::OPT_READ_TIMEOUT, -1);
$parts = parse_url((string) getenv('DATABASE_URL'));
$database = new PDO(
    sprintf('pgsql:host=%s;port=%d;dbname=%s', $parts['host'], $parts['port'] ?? 5432, ltrim($parts['path'], '/')),
    urldecode($parts['user'] ?? 'postgres'),
    urldecode($parts['pass'] ?? ''),
    [PDO::ATTR_ERRMODE => PDO::ERRMODE_EXCEPTION],
);
$book = $database->prepare(
    'insert into payments (unique_id, status) values (?, ?) on conflict (unique_id) do update set status = excluded.status'
);
$reserved = 'notifications:reserved:' . getmypid();
while (true) {
    $job = $redis->brPopLPush('notifications', $reserved, 5);
    if ($job === false) {
        continue;
    }
    $fields = json_decode($job, true, flags: JSON_THROW_ON_ERROR);
    $book->execute([$fields['unique_id'], $fields['status']]);
    $redis->lRem($reserved, $job, 1);
}
