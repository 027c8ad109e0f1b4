# SPDX-License-Identifier: Apache-2.0
# What the design promises "when things go wrong", each row of it, while the machine is busy with
# more than it can do: loops (DTASK_TEST_LOAD of them), memory that is touched, files that are
# synced. kills, ends, memory and strangers have the same on a quiet machine.

bats_require_minimum_version 1.5.0

load lib

setup_file() {
    setup_sandbox
    "$tree/tests/slurm/load" "${DTASK_TEST_LOAD:-3}" >"$BATS_FILE_TMPDIR/load" 3>&- &
    echo $! >"$BATS_FILE_TMPDIR/load.pid"
    wait_for "load" 30 grep -q busy "$BATS_FILE_TMPDIR/load"
}

teardown_file() {
    kill "$(<"$BATS_FILE_TMPDIR/load.pid")" || true
    teardown_sandbox
}

dask_request=(--dtask=dask -N2 -n4 --mem-per-cpu=250)

start_map() {
    start_step "${request[@]}" python3 "$clients/long_map.py" "$1" 20
    wait_for "the first results" 100 has_field started
}

start_dask_tasks() {
    start_step "${dask_request[@]}" python3 "$clients/dask_client.py" busy
    wait_for "running tasks" 150 has_field busy
}

# kill_some N ROLE: N of them, whichever they are, or as many as there are.
kill_some() {
    mapfile -t victims < <(processes "$2" | shuf -n "$1")
    ((${#victims[@]})) || fail "no process: $2"
    kill -KILL "${victims[@]}" || true # one may have ended by itself
}

# tell_recovery SECONDS: for whoever asks how soon it goes on.
tell_recovery() { [[ -z ${DTASK_TEST_TIMES:-} ]] || echo "# $BATS_TEST_DESCRIPTION: $1 s" >&3; }

within() { below "$(since "$1")" "$2" || fail "took $(since "$1") s, limit $2 s"; }

# of_limits SIZES: limits as they are said: SIZES, or below them on cgroup v2, where room is left.
of_limits() {
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then echo '[0-9.]+'; else echo "$1"; fi
}

@test "load: functions raise, crash, pass the limit: an error each, then the client's code" {
    step_limit=150
    step "${request[@]}" python3 "$clients/faults.py" errors 9
    expect_code 9
    expect_line "$out" '^once 1 ValueError raised in once True$'
    expect_line "$out" '^thrice 3 ValueError raised in thrice True$'
    expect_line "$out" '^signal True True$'
    expect_line "$out" '^signal message by_signal-.* signal 9 .*, tried 3 times, worker .* on node '
    expect_line "$out" '^exit True True$'
    expect_line "$out" '^exit message .*exited with code 5,'
    expect_line "$out" '^tries 3$'
    expect_line "$out" '^memory True True$' 3
    expect_line "$out" "^memory message .*limit of $(of_limits '(100|200)\.0') MiB \\(peak " 3
    expect_line "$out" '^right 200$'
    nothing_left 20
}

@test "load: executors and workers die at random, strangers knock: no result is lost, and 0" {
    local port how role ranks knocks=()
    start_step "${request[@]}" python3 "$clients/steady.py" "$work/go"
    wait_for "results" 100 has_field started
    kill_some 5 executor
    for role in scheduler "worker 3"; do
        # shellcheck disable=SC2086
        port=$(ports_of "$(one_process $role)" | head -n 1)
        for how in random wrong-token half; do
            timeout 60 python3 "$clients/stranger.py" "$port" "$how" &
            knocks+=("$!")
        done
    done
    mapfile -t ranks < <(shuf -n 2 -e 1 2 4 5 6 7) # strangers are at the third
    kill -KILL "$(one_process worker "${ranks[0]}")" "$(one_process worker "${ranks[1]}")"
    for how in "${knocks[@]}"; do wait "$how" || fail "a stranger"; done
    touch go
    end_step 60
    expect_code 0
    expect_line "$out" '^wrong 0$'
    expect_line "$out" '^lost 0$'
    expect_line "$out" '^twice 0$'
    tell_recovery "at most $(field most)"
    nothing_left 20
}

@test "load: values of workers that die are made again; the workers come back" {
    start_step "${request[@]}" python3 "$clients/faults.py" lineage "$work/go"
    wait_for "values on all workers" 100 has_field made
    kill_some 2 worker
    touch go
    end_step 120
    expect_code 0
    expect_line "$out" '^right 60$'
    (($(field again) > 0)) || fail "no value was lost: $(field again)"
    tell_recovery "$(field back)"
    nothing_left 20
}

@test "load: the scheduler dies: the step ends non-zero within 5 s and says so" {
    local killed
    start_map 8000
    kill_some 1 scheduler
    killed=$(now)
    end_step 60
    within "$killed" 15 # 5 on a quiet machine
    tell_recovery "$(since "$killed")"
    expect_code 70
    expect_line "$err" 'the scheduler was lost'
    nothing_left 20
}

@test "load: the client dies of SIGSEGV: 139" {
    step "${request[@]}" python3 "$clients/ends.py" segv
    expect_code 139
    tell_recovery "$(awk "BEGIN { print $ended - $(field end) }")"
    nothing_left 20
}

@test "load: scancel: the client sees SIGTERM, all is gone within KillWait" {
    local cancelled
    start_map 8000
    scancel "$job"
    cancelled=$(now)
    end_step 60
    ((code != 0)) || fail "exit code 0"
    within "$cancelled" $((3 * kill_wait))
    tell_recovery "$(since "$cancelled")"
    nothing_left $((4 * kill_wait))
}

@test "load: the time limit, with --signal before it: the client hears of both, all is gone within KillWait" {
    local told
    start_step "${request[@]}" -t 10 --signal=USR1@5 python3 "$clients/deep.py" "$work/saved" 23
    wait_for "work" 100 has_field started
    # Slurm looks each half a minute: the first time it sends the signal, the second one is the end.
    scontrol update jobid="$job" EndTime=now+35
    end_step 150
    expect_line saved '^signal 10 [0-9]+ '
    told=$(awk '$1 == "signal" && $2 == 15 { print $4 }' saved)
    [[ -n $told ]] || fail "the client was not told: $(<saved)"
    below "$(awk "BEGIN { print $ended - $told }")" $((6 * kill_wait)) || fail "srun ended $(since "$told") s after"
    tell_recovery "$(awk "BEGIN { print $ended - $told }")"
    ((code != 0)) || fail "exit code 0"
    wait_for "the end of job $job" $((4 * kill_wait)) job_ended
    [[ $(job_field "$job" JobState) == TIMEOUT ]] || fail "$(job_field "$job" JobState)"
    nothing_left $((4 * kill_wait))
}

@test "load: dask: functions raise, pass the limit: an error each, then the client's code" {
    run_srun 200 "${dask_request[@]}" python3 "$clients/faults.py" errors 9
    expect_code 9
    expect_line "$out" '^once 1 ValueError raised in once True$'
    expect_line "$out" '^thrice 3 ValueError raised in thrice True$'
    expect_line "$out" "^memory True .*passed the memory limit of $(of_limits 250)M"
    expect_line "$out" '^right 200$'
    nothing_left 20
}

@test "load: dask: values of workers that die are made again; the workers come back" {
    local victims
    start_step "${dask_request[@]}" python3 "$clients/faults.py" lineage "$work/go"
    wait_for "values on all workers" 150 has_field made
    kill_some 1 dask-worker
    kill_some 1 worker
    touch go
    end_step 150
    expect_code 0
    expect_line "$out" '^right 60$'
    (($(field again) > 0)) || fail "no value was lost: $(field again)"
    tell_recovery "$(field back)"
    nothing_left 20
}

@test "load: dask: the scheduler dies: the step ends with 70 and says so" {
    local killed
    start_dask_tasks
    kill_some 1 scheduler
    killed=$(now)
    end_step 60
    within "$killed" 20
    tell_recovery "$(since "$killed")"
    expect_code 70
    expect_line "$err" '^dtask: .*the scheduler was lost'
    nothing_left 20
}

@test "load: dask: a client that dies of SIGKILL: 137" {
    start_dask_tasks
    mapfile -t victims < <("$tree/tests/slurm/processes" "$job" |
        awk '/^[0-9]+ python3 .*dask_client/ { print $1 }')
    kill -KILL "${victims[@]}"
    end_step 60
    expect_code 137
    nothing_left 20
}
