# SPDX-License-Identifier: Apache-2.0
# One function passes its worker's memory limit among 200 good ones.

bats_require_minimum_version 1.5.0

load lib

@test "MemoryLimitExceeded for it alone, 200 right results, exit code 0, COMPLETED" {
    local limit
    limit=$(in_force "$worker_mb" $((2 * worker_mb)) 2)
    step_limit=90
    step "${request[@]}" --dtask-slots=dedicated python3 "$clients/memory_hog.py"
    expect_code 0
    expect_line "$out" '^right 200$'
    expect_line "$out" "^limit $limit$"
    expect_line "$out" '^task \S*hog'
    # The message names all of it for a person.
    for name in worker node; do
        [[ -n $(field "$name") && $(field "$name") != None ]] || fail "no $name"
        expect_line "$out" "^message .*$(field "$name")"
    done
    expect_line "$out" "^message .*hog.*$((limit >> 20))"
    local peak
    peak=$(field peak)
    ((peak > limit * 3 / 4 && peak <= limit * 21 / 20)) || fail "peak $peak"
    expect_state COMPLETED
    [[ $(job_field "$job" ExitCode) == 0:0 ]]
    nothing_left
}

@test "the same where scheduler and client share the worker's task" {
    step_limit=90
    step -N1 -n2 --cpus-per-task=2 --mem-per-cpu=100 --dtask-slots=overlap python3 "$clients/memory_hog.py"
    expect_code 0
    expect_line "$out" '^right 200$'
    expect_line "$out" '^limit [0-9]+$'
    nothing_left
}

@test "many hogs in a row do not wear the cluster out" {
    local hogs=$((20 / slowness))
    step_limit=120
    step "${request[@]}" python3 "$clients/many_hogs.py" "$hogs"
    expect_code 0
    expect_line "$out" "^exceeded $hogs$"
    expect_line "$out" '^right 200$'
    nothing_left
}
