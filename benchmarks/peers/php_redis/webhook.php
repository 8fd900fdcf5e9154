<?php
// nginx, php-fpm and a queue in Redis, the shape of a Laravel application without the framework: signature, then SET NX
// against repeats, then a job with the fields, then the echo. The worker is worker.php.
declare(strict_types=1);

require __DIR__ . '/connect.php';

const DAY_S = 86400;

if ($_SERVER['REQUEST_URI'] === '/health') {
    answer('application/json', '{"status":"ok"}');
}

$id = $_POST['unique_id'] ?? '';
if (!hash_equals(sha1($id . getenv('EMP_API_PASSWORD')), $_POST['signature'] ?? '')) {
    http_response_code(401);
    answer('application/json', '{"error":"Invalid signature"}');
}

$redis = redis_of((string) getenv('REDIS_URL'));
$key = "seen:$id:{$_POST['status']}:" . ($_POST['event'] ?? '');
if ($redis->set($key, '1', ['nx', 'ex' => DAY_S])) {
    $redis->lPush('notifications', json_encode($_POST, JSON_THROW_ON_ERROR));
}
answer('application/xml', "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<notification_echo><unique_id>$id</unique_id></notification_echo>\n");

function answer(string $type, string $body): never
{
    header("Content-Type: $type");
    // Without it nginx sends the body in chunks.
    header('Content-Length: ' . strlen($body));
    exit($body);
}
