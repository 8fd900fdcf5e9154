#!/bin/sh
# Prepare a data directory from a base backup and the archived log; Postgres must be stopped, or be another one.
#
#   restore.sh BACKUP DATA_DIRECTORY ARCHIVE [TIME]
#
# BACKUP is what backup.sh printed, ARCHIVE the folder that archive_command fills. With TIME ("2026-11-30 04:00:00+00") the restore ends there,
# otherwise with the last archived record. DATA_DIRECTORY must be absent or empty: an old one is moved away by a person, never removed here.
set -eu
umask 077

backup=${1:?give the backup}
data=${2:?give the data directory}
archive=${3:?give the folder of the archived log}
time=${4:-}

[ -f "$backup/backup_manifest" ] || { echo "restore: $backup is no backup; backup.sh prints the path of one" >&2; exit 2; }
[ -d "$archive" ] || { echo "restore: $archive is not a folder; it is what archive_command fills" >&2; exit 2; }
if [ -e "$data" ] && [ -n "$(ls -A "$data")" ]; then
    echo "restore: $data is not empty; move it away first, and keep it until the books agree" >&2
    exit 2
fi
case "$archive$time" in *\'*) echo "restore: write the archive and the time without apostrophes" >&2; exit 2 ;; esac

pg_verifybackup --quiet "$backup"
mkdir -p "$data"
cp -a "$backup/." "$data/"
chmod 700 "$data"
{
    echo "restore_command = 'cp \"$archive/%f\" \"%p\"'"
    echo "recovery_target_timeline = 'latest'"
    echo "recovery_target_action = 'promote'"
    [ -z "$time" ] || echo "recovery_target_time = '$time'"
} >> "$data/postgresql.auto.conf"
touch "$data/recovery.signal"
echo "restore: start Postgres on $data; it replays the log and then opens a new timeline"
