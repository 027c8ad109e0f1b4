# SPDX-License-Identifier: Apache-2.0
# On cgroup v2 a task that has client, scheduler and worker is one group with one limit, at which the
# kernel slows all of it down. What is no function's fault ends with a line, and does not hang.

bats_require_minimum_version 1.5.0

load ../slurm/lib

setup_file() {
    [[ -e /sys/fs/cgroup/cgroup.controllers ]] || fail "needs cgroup v2: run tests/vm/run tests/vm/crowding.bats"
    setup_sandbox
}

request=(-N1 -n2 --mem-per-cpu=80 --dtask-slots=overlap)
holds='client [0-9.]+M, scheduler [0-9.]+M, functions [0-9.]+M\); .*--mem-per-cpu'

@test "the client outgrows its task: a line, 137, nothing is left" {
    step "${request[@]}" python3 "$clients/large_client.py" 1000 1
    expect_code 137
    expect_line "$err" "^dtask: the client is killed: its task has used up its memory of [0-9.]+M \($holds" 1
    expect_line "$out" '^holds' 0
    nothing_left
}

@test "the scheduler outgrows its task: a line, 70, nothing is left" {
    step "${request[@]}" python3 "$clients/large_arguments.py" 1000
    expect_code 70
    expect_line "$err" "^dtask: the scheduler is killed: its task has used up its memory of [0-9.]+M \($holds" 1
    expect_line "$out" '^lost$'
    nothing_left
}
