#!/bin/sh
# Write the secrets that deploy/compose.yaml mounts: deploy/make-secrets.sh
# Those that can be made are random. Those of the gateway are left empty for you to fill in. Nothing that exists is changed.
set -eu
cd "$(dirname "$0")"
mkdir -p secrets
# Containers read the files as another user, so the folder keeps strangers out and the files are readable.
chmod 700 secrets

keep() {  # NAME VALUE
    if [ -e "secrets/$1" ]; then
        echo "kept     secrets/$1"
    else
        printf '%s' "$2" > "secrets/$1"
        chmod 444 "secrets/$1"
        echo "written  secrets/$1"
    fi
}

random() { openssl rand -hex "$1"; }

keep postgres_password "$(random 24)"
keep database_url "postgresql://tether:$(cat secrets/postgres_password)@postgres:5432/tether"
# The owner's address is for the migration alone; web and worker connect as roles of their own.
for program in web worker; do
    keep "${program}_role_password" "$(random 24)"
    keep "database_url_$program" "postgresql://tether_$program:$(cat "secrets/${program}_role_password")@postgres:5432/tether"
done
keep tether_api_keys "admin:$(random 24)"
keep tether_fingerprint_key "$(random 32)"
# As `tether-worker accounts new-key` makes it.
keep tether_secrets_key "$(openssl rand -base64 32 | tr '+/' '-_')"
keep aws_access_key_id "tether"
keep aws_secret_access_key "$(random 24)"
keep seaweedfs.env "AWS_ACCESS_KEY_ID=$(cat secrets/aws_access_key_id)
AWS_SECRET_ACCESS_KEY=$(cat secrets/aws_secret_access_key)
"
missing=""
for name in emp_api_login emp_api_password emp_terminal_token; do
    [ -s "secrets/$name" ] || { : > "secrets/$name"; chmod 644 "secrets/$name"; missing="$missing secrets/$name"; }
done
[ -z "$missing" ] || echo "Fill in what the gateway gave you:$missing"
echo "Keep copies of secrets/tether_fingerprint_key and secrets/tether_secrets_key apart from the machine: without the first the blacklist cannot be"
echo "matched, without the second no stored password, second factor or refused notification can be read."
