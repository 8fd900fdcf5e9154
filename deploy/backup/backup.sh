#!/bin/sh
# Take a base backup of the running Postgres, verify it, and remove the oldest beyond a number.
#
#   backup.sh FOLDER
#
# The connection is libpq's: PGHOST, PGPORT, PGUSER (with REPLICATION) and PGPASSFILE. KEEP is how many backups stay (default 7).
# METRIC_FILE, where set, gets the time of success for the alert BackupIsOld. docs/guides/backup.md says how to restore.
set -eu
umask 077

folder=${1:?give the folder of the backups}
keep=${KEEP:-7}
case $keep in '' | *[!0-9]* | 0) echo "backup: KEEP must be a whole number from 1" >&2; exit 2 ;; esac
[ -d "$folder" ] || { echo "backup: $folder is not a folder; create it first" >&2; exit 2; }

name=base-$(date -u +%Y%m%dT%H%M%SZ)
unfinished=$folder/.unfinished-$name
trap 'rm -rf "$unfinished"' EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

pg_basebackup --pgdata="$unfinished" --wal-method=stream --checkpoint=fast --manifest-checksums=SHA256 --no-password
pg_verifybackup --quiet "$unfinished"
mv "$unfinished" "$folder/$name"

# Only after the new one is whole. Names sort by time.
for old in $(cd "$folder" && printf '%s\n' base-* | sort -r | tail -n "+$((keep + 1))"); do
    rm -rf "${folder:?}/$old"
done

if [ -n "${METRIC_FILE:-}" ]; then
    printf 'tether_backup_success_timestamp_seconds %s\n' "$(date +%s)" > "$METRIC_FILE.part"
    chmod 644 "$METRIC_FILE.part"
    mv "$METRIC_FILE.part" "$METRIC_FILE"
fi
echo "$folder/$name"
