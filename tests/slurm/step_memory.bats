# SPDX-License-Identifier: Apache-2.0
# All memory that the step has on a node is used up, while each worker is below its limit. With cgroup
# v1, that is: on v2 limits stay below the step's (tests/vm/crowding.bats).

bats_require_minimum_version 1.5.0

load lib

@test "a large client beside workers that all get to their limits: executors die, COMPLETED" {
    local mb=$((2 * mb_per_cpu)) tasks=4
    local limit="${mb}M"
    step -N1 -n"$tasks" --mem-per-cpu="$mb" --dtask-slots=overlap --dtask-wait=all \
        python3 "$clients/large_client.py" $((mb * tasks * 5 / 8)) 3
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then # a client has its task's share
        expect_code 137
        expect_line "$err" '^dtask: the client is killed: its task has used up its memory of ' 1
        nothing_left
        return 0
    fi
    expect_code 0
    expect_line "$out" "^exceeded $((3 * tasks)) of $((3 * tasks))$"
    expect_line "$out" "^hog-\S+: had [0-9.]+M of the worker's $limit when the step's tasks had used up .*, worker \S+ on node "
    expect_line "$out" '^right 200$'
    expect_state COMPLETED
    nothing_left
}
