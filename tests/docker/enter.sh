#!/bin/sh
# Runs a command in an image as docker-compose.yml has it run: read-only, a small /tmp, its own user, no capability,
# no new privilege. In a mount namespace: unshare --mount sh enter.sh ROOT MODELS TMPFS_OPTIONS USER FOLDER [NAME=VALUE ...] COMMAND...
set -eu
root=$1 models=$2 tmpfs=$3 user=$4 folder=$5
shift 5
mount --make-rprivate /
mount --bind "$root" "$root"
mount -o remount,bind,ro "$root"
mount -t tmpfs -o "$tmpfs" tmpfs "$root/tmp"
mount -t proc proc "$root/proc"
mount --bind /dev "$root/dev"
mount --bind "$models" "$root/models"
exec chroot "$root" setpriv --reuid="${user%:*}" --regid="${user#*:}" --clear-groups \
  --no-new-privs --bounding-set=-all --inh-caps=-all env --chdir="$folder" --ignore-environment "$@"
