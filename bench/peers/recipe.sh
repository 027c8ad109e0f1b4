#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The manual recipe of bench/peers/manual.sh in an allocation that is there already: scheduler and
# client outside of the request, a dask-worker for each task, a scheduler file. Argument: the client.
# Ends with the client.
set -euo pipefail
place=$(mktemp -d)
file=$place/scheduler.json
end() {
    kill "$scheduler" "$workers" 2>/dev/null || true
    wait "$scheduler" "$workers" 2>/dev/null || true
    rm -rf "$place"
}
dask-scheduler --scheduler-file="$file" 2>/dev/null &
scheduler=$!
srun --quiet dask-worker --local-directory=/tmp --no-nanny --nthreads=1 --scheduler-file="$file" \
    --memory-limit=250M 2>/dev/null &
workers=$!
trap end EXIT
/usr/bin/python3 "$1" file "$file"
