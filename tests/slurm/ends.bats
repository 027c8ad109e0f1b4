# SPDX-License-Identifier: Apache-2.0
# How steps end, by themselves and by others, how soon, and that nothing is left.

bats_require_minimum_version 1.5.0

load lib

@test "the client's exit code is srun's" {
    client_ends exit 7
    expect_code 7
    ended_within 3
    nothing_left
}

@test "a client that ends while its map is under way" {
    client_ends busy
    expect_code 0
    ended_within 3
    nothing_left
}

@test "scancel during a map: gone within KillWait" {
    local cancelled
    start_step "${request[@]}" python3 "$clients/long_map.py" 20000 10
    wait_for "results" 60 has_field started
    cancelled=$(now)
    scancel "$job"
    end_step 20
    below "$(since "$cancelled")" $((kill_wait + 1)) || fail "took $(since "$cancelled") s"
    ((code != 0)) || fail "exit code 0"
    nothing_left $((kill_wait + 2))
}

@test "scancel --signal=TERM --full of the step ends it" {
    start_step "${request[@]}" python3 "$clients/long_map.py" 20000 10
    wait_for "results" 60 has_field started
    scancel --signal=TERM "$job.0"
    end_step 20
    ((code != 0)) || fail "exit code 0"
    nothing_left $((kill_wait + 2))
}

@test "the time limit ends a step as scancel does" {
    # Limits are whole minutes; a job can be given less by moving its end. One that has passed by the
    # time that a slow machine hears of it is refused.
    start_step "${request[@]}" -t 10 python3 "$clients/long_map.py" 2000 300
    wait_for "results" 60 has_field started
    scontrol update jobid="$job" EndTime=now+5seconds
    end_step 90
    ((code != 0)) || fail "exit code 0"
    wait_for "the end of job $job" $((kill_wait + 2)) job_ended
    [[ $(job_field "$job" JobState) == TIMEOUT ]] || fail "$(job_field "$job" JobState)"
    nothing_left $((kill_wait + 2))
}

@test "many steps of one job leave nothing" {
    printf '%s\n' '#!/bin/bash' "#SBATCH --dtask -N$nodes -n$((2 * nodes)) --mem-per-cpu=50" \
        "for i in {1..$((20 / slowness))}; do srun true || echo \"step \$i: \$?\"; done" >job.sh
    invoke 20 as_user sbatch --parsable -J "$name" -o "$work/job.out" job.sh
    expect_code 0
    job=$(<"$out")
    wait_for "the end of job $job" 120 job_ended
    # A step may have to wait for the nodes of the one before it, and srun says so.
    ! grep -v '^srun: \(Job .* temporarily disabled\|Step created\)' "$work/job.out" >&2 ||
        fail "the job said more than that it waited"
    nothing_left
}
