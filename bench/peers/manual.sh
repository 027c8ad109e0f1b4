#!/bin/bash
# SPDX-License-Identifier: Apache-2.0
#
# The manual recipe of a cluster's documentation: scheduler and client outside of the request, a
# dask-worker for each task, a scheduler file in the job's directory. Arguments: those of
# bench/clients/start.py, or of CLIENT there, after its kind. SCHED_FILE, SLURM_* and MEM are the job's.
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
dask-scheduler --scheduler-file="$SCHED_FILE" &
srun dask-worker --local-directory=/tmp --no-nanny --nthreads="$SLURM_CPUS_PER_TASK" \
    --scheduler-file="$SCHED_FILE" --memory-limit="${MEM}M" &
/usr/bin/python3 "$here/../clients/${CLIENT:-start.py}" file "$@"
