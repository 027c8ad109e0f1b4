# SPDX-License-Identifier: Apache-2.0
# kill -9 of each kind of process in the midst of a map of 2,000.

bats_require_minimum_version 1.5.0

load lib

# start_map [COUNT]: calls of 20 ms, 2,000 of them, under way.
start_map() {
    count=${1:-2000}
    start_step "${request[@]}" python3 "$clients/long_map.py" "$count" 20
    wait_for "the first results" 60 has_field started
}

kill_one() {
    victim=$(one_process "$@") || fail "no process: $*"
    kill -KILL "$victim"
}

all_right() {
    end_step 90
    expect_line "$out" "^right $count$"
    expect_line "$out" '^wrong 0$'
    nothing_left
}

@test "an executor" {
    start_map
    kill_one executor
    all_right
    expect_code 0
}

@test "a worker daemon" {
    start_map
    kill_one worker "$last_task"
    all_right
    expect_code 0
}

@test "a worker daemon comes back" {
    start_map 8000
    kill_one worker "$last_task"
    another_worker() { [[ $(one_process worker "$last_task") != "$victim" ]] && one_process worker "$last_task"; }
    wait_for "another worker in task $last_task" 15 another_worker
    all_right
}

@test "a worker's launcher" {
    start_map
    kill_one launcher "$last_task"
    all_right
}

@test "every executor, one after the other" {
    start_map
    local pid
    for pid in $(processes executor); do kill -KILL "$pid"; done
    all_right
    expect_code 0
}

@test "the scheduler: the step ends non-zero within 5 s and says so" {
    start_map 20000
    kill_one scheduler
    local killed
    killed=$(now)
    end_step 20
    below "$(since "$killed")" 5 || fail "took $(since "$killed") s"
    ((code != 0)) || fail "exit code 0"
    expect_line "$err" 'scheduler'
    nothing_left $((kill_wait + 2))
}

@test "the client's launcher: the step ends non-zero, nothing is left" {
    start_map 20000
    kill_one launcher 0
    end_step 20
    ((code != 0)) || fail "exit code 0"
    nothing_left $((kill_wait + 2))
}

@test "a function whose process dies each time: WorkerCrashed after three tries" {
    step "${request[@]}" python3 "$clients/crashes.py"
    expect_code 0
    expect_line "$out" '^tries 3$'
    expect_line "$out" '^signal 9$'
    expect_line "$out" '^exit_code 5$'
    expect_line "$out" '^right 100$'
    nothing_left
}

@test "a function that raises: the exception with its remote traceback, tried again by retries= alone" {
    step "${request[@]}" python3 "$clients/faults.py" errors 9
    expect_code 9
    expect_line "$out" '^once 1 ValueError raised in once True$'
    expect_line "$out" '^thrice 3 ValueError raised in thrice True$'
    expect_line "$out" '^right 200$'
    nothing_left
}

@test "values of a worker that is killed are made again from what they came of; it comes back" {
    start_step "${request[@]}" python3 "$clients/faults.py" lineage "$work/go"
    wait_for "values on all workers" 60 has_field made
    kill_one worker 3
    touch go
    end_step 90
    expect_code 0
    expect_line "$out" '^right 60$'
    (($(field again) > 0)) || fail "no value was lost"
    nothing_left
}
