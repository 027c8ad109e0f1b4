# SPDX-License-Identifier: Apache-2.0
# Tasks that are clients themselves: their slots are free while they wait, their limit stays.

bats_require_minimum_version 1.5.0

load lib

@test "a recursion on two workers under a memory limit, and one that passes it" {
    step_limit=120
    step -N2 -n3 --cpus-per-task=1 --mem-per-cpu=600 python3 "$clients/recursion.py"
    expect_code 0
    expect_line "$out" '^fib 21$'
    expect_line "$out" '^limit 629145600$'
    expect_line "$out" '^after 2$'
    expect_line "$out" '^workers 2$'
    expect_state COMPLETED
    nothing_left
}
