#!/usr/bin/env bash
# compare_versions.sh OLD NEW MODEL CONNECTIONS SECONDS ROUNDS: load two checkouts in turns, print a RESULT line each.
#
# OLD and NEW are checkouts with a .venv and with MODEL in their folder models/ (or untrained weights of its size). Both
# servers run; one at a time is loaded by wrk with ../shared/peers/load.lua, and the order changes every round. A server
# that is restarted for each round differs from itself by more than most changes do.
set -eu
here=$(cd "$(dirname "$0")/.." && pwd)
model=$3 connections=$4 seconds=$5 rounds=$6
export IMAGES=$here/tests/photos/chelsea.jpg FIELD=file
trap 'kill $(jobs -p) 2>/dev/null || true' EXIT
start() { # CHECKOUT PORT
  (cd "$1" && VGG_PORT=$2 VGG_MODELS=$model VGG_OFFLINE=true VGG_ON_MISSING_WEIGHTS=untrained \
    exec .venv/bin/python -m app serve 2>/dev/null) &
  until curl -sf "localhost:$2/readyz" >/dev/null; do sleep 0.2; done
}
load() { # PORT SECONDS
  wrk -t1 -c"$connections" -d"$2s" --timeout 60s -s "$here/../shared/peers/load.lua" "http://127.0.0.1:$1/predict" | grep RESULT
}
start "$1" 8391
start "$2" 8392
for port in 8391 8392; do load $port 3 >/dev/null; done
for round in $(seq "$rounds"); do
  ports="8391 8392"
  [ $((round % 2)) = 1 ] || ports="8392 8391"
  for port in $ports; do echo "$round $([ $port = 8391 ] && echo old || echo new) $(load $port "$seconds")"; done
done
