#!/bin/sh
# serve.sh PORT: nginx and php-fpm from Debian's packages, with OPcache, connections to Redis that are kept, and as many
# processes as are busy on two cores.
set -eu
here=$(dirname "$0")
folder=$(mktemp -d)
chmod 755 "$folder"
fpm=$(ls /usr/sbin/php-fpm* | tail -n 1)
cat > "$folder/fpm.conf" <<END
[global]
error_log = /dev/stderr
log_level = warning
daemonize = no
[www]
user = $(id -un)
group = $(id -gn)
listen = $folder/fpm.sock
listen.backlog = 1024
pm = static
pm.max_children = 8
pm.max_requests = 0
clear_env = no
END
cat > "$folder/nginx.conf" <<END
daemon off;
user $(id -un) $(id -gn);
worker_processes 1;
pid $folder/nginx.pid;
error_log stderr warn;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $folder/body;
    proxy_temp_path $folder/proxy;
    fastcgi_temp_path $folder/fastcgi;
    uwsgi_temp_path $folder/uwsgi;
    scgi_temp_path $folder/scgi;
    upstream fpm { server unix:$folder/fpm.sock; keepalive 8; }
    server {
        listen 127.0.0.1:$1;
        keepalive_requests 1000000;
        location / {
            include /etc/nginx/fastcgi_params;
            fastcgi_keep_conn on;
            fastcgi_param SCRIPT_FILENAME $here/webhook.php;
            fastcgi_pass fpm;
        }
    }
}
END
"$fpm" --allow-to-run-as-root --fpm-config "$folder/fpm.conf" -d opcache.enable=1 -d opcache.validate_timestamps=0 &
# php-fpm leaves the process group, so it would outlive a kill of it.
setsid sh -c 'while kill -0 "$1" 2>/dev/null; do sleep 0.2; done; kill -KILL -- "-$2"; rm -rf "$3"' - $$ $! "$folder" &
nginx -c "$folder/nginx.conf" &
wait
