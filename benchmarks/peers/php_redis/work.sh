#!/bin/sh
# work.sh: a PHP process does one job at a time, so four of them, as a supervisor would start.
set -eu
for _ in 1 2 3 4; do
    php -d opcache.enable_cli=1 "$(dirname "$0")/worker.php" &
done
wait
