#!/bin/sh
# Archive one directory and keep only the newest few archives.
#
# usage: rotate_backups.sh [-n] [-k COUNT] SOURCE DESTINATION
#
#   -k COUNT  how many archives to keep (default 7)
#   -n        only name the archives that would be removed

set -eu

keep=7
dry_run=no

usage() {
    echo "usage: ${0##*/} [-n] [-k COUNT] SOURCE DESTINATION" >&2
    exit 2
}

die() {
    echo "${0##*/}: $*" >&2
    exit 1
}

while getopts k:n option; do
    case $option in
        k) keep=$OPTARG ;;
        n) dry_run=yes ;;
        *) usage ;;
    esac
done
shift $((OPTIND - 1))
[ $# -eq 2 ] || usage

case $keep in
    '' | *[!0-9]* | 0) die "COUNT must be a positive number, not '$keep'" ;;
esac

source=${1%/}
target=${2%/}
[ -d "$source" ] || die "no such directory: $source"
mkdir -p "$target"

# mkdir either makes the lock or fails, so two runs can never both get it.
lock=$target/.lock
mkdir "$lock" 2>/dev/null || die "another backup is running (or remove $lock)"

name=$(basename "$source")
archive=$target/$name-$(date -u +%Y%m%dT%H%M%SZ).tar.gz
partial=$archive.partial

cleanup() {
    rm -f "$partial"
    rmdir "$lock"
}
trap cleanup EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

# Write under a temporary name first: a file called .tar.gz is then complete.
if [ "$dry_run" = no ]; then
    tar -C "$(dirname "$source")" -czf "$partial" "$name"
    gzip -t "$partial" || die "the new archive is damaged"
    mv "$partial" "$archive"
    echo "wrote $archive"
fi

# The time stamp sorts by age, so the shell's own ordering is enough.
set -- "$target/$name"-[0-9]*Z.tar.gz
while [ $# -gt "$keep" ]; do
    echo "removing $1"
    [ "$dry_run" = yes ] || rm -f "$1"
    shift
done
