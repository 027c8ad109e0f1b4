# SPDX-License-Identifier: Apache-2.0
# Jobs that make way for more urgent ones, with all workers busy and a deep queue.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 2 --preempt)
load lib

# All CPUs of both nodes.
all=(-N2 -n4 --cpus-per-task=4 --mem-per-cpu=60)

# Needs a node that is taken, and waits until it has had it.
urgent_job() {
    invoke 100 srun -Q -J "$name-urgent" -p urgent -N1 -n1 --cpus-per-task=8 --mem=10 true
    expect_code 0
}

# How much was done when the client heard, for the first time, that it had to end.
saved_at() { awk '$1 == "signal" && $2 == 15 { print $3; exit }' saved; }

@test "preempted and requeued: the client is told, nothing is left, and it runs again" {
    printf '%s\n' '#!/bin/bash' "#SBATCH --dtask ${all[*]} -p requeued --requeue --open-mode=append" \
        "srun python3 $clients/deep.py $work/saved 21" >job.sh
    invoke 20 as_user sbatch --parsable -J "$name" -o "$work/job.out" -e "$work/job.err" job.sh
    expect_code 0
    job=$(<"$out")
    works() { [[ $(grep -cs '^started' job.out) == "$1" ]]; }
    wait_for "work" 90 works 1
    urgent_job
    (($(saved_at) >= 500)) || fail "the client was not told: $(<saved)"
    expect_line job.err "JOB $job ON .* DUE TO PREEMPTION"
    pending() { [[ $(job_field "$job" JobState) == PENDING ]]; }
    wait_for "a requeued job" 60 pending
    nothing_left 20
    scontrol update jobid="$job" StartTime=now # it waits for two minutes otherwise
    wait_for "work of the second run" 120 works 2
    expect_line saved "^begin 1 $(saved_at)$"
    ! grep '^dtask' job.err || fail "dtask said something"
    scancel "$job"
    wait_for "the end of job $job" 60 job_ended
    nothing_left 20
}

@test "preempted with a grace time: the client is told at once and ends with its code" {
    start_step "${all[@]}" -p cancelled python3 "$clients/deep.py" "$work/saved" 22
    wait_for "work" 90 has_field started
    out=$work/urgent.out err=$work/urgent.err urgent_job
    end_step 60
    expect_code 22
    (($(saved_at) >= 500)) || fail "the client was not told: $(<saved)"
    ! grep '^dtask' "$err" || fail "dtask said something"
    nothing_left 20
}
