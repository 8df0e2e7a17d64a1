#!/bin/sh
# Upgrades the services behind a proxy, one after the other, while the others serve; see docs/operate.md.
#
#   rolling-upgrade.sh MIGRATE RESTART READYZ RESTART READYZ...
#
# MIGRATE is the command that upgrades the tables, with the new version. For each service, RESTART is the command that
# ends it and starts the new version in its place, and READYZ is the URL where it tells whether it is ready.
# Where something goes wrong, it says so and ends with status 1; services that it had not come to run on as they were.
set -eu

SETTLE=${SETTLE:-5}      # how many seconds the proxy may take to learn that a service is ready
PATIENCE=${PATIENCE:-120} # how many seconds a service may take to be ready

fail() {
    echo "$1" >&2
    exit 1
}

is_ready() {
    curl --silent --fail --max-time 15 --output /dev/null "$1"
}

all_ready() {
    while [ $# -gt 0 ]; do
        is_ready "$2" || fail "Nothing more was done: $2 does not say that its service is ready."
        shift 2
    done
}

await_ready() {
    end=$(($(date +%s) + PATIENCE))
    until is_ready "$1"; do
        [ "$(date +%s)" -lt "$end" ] || fail "The new version is not ready after $PATIENCE seconds: ask $1 why."
        sleep 1
    done
    sleep "$SETTLE"
}

if [ $# -lt 5 ] || [ $(($# % 2)) -eq 0 ]; then
    fail "Usage: rolling-upgrade.sh MIGRATE RESTART READYZ RESTART READYZ..., for two services or more."
fi
migrate=$1
shift

all_ready "$@"
echo "Upgrading the tables."
sh -c "$migrate" || fail "The tables were not upgraded, and nothing more was done."
count=$(($# / 2))
while [ "$count" -gt 0 ]; do
    all_ready "$@"
    echo "Restarting the service of $2."
    sh -c "$1" || fail "It was not restarted: $1"
    await_ready "$2"
    set -- "$@" "$1" "$2" # the next one first; the others are still asked whether they are ready
    shift 2
    count=$((count - 1))
done
echo "All services run the new version."
