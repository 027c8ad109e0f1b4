# SPDX-License-Identifier: Apache-2.0
# Steps on nodes where nobody makes a cgroup: no task/cgroup, and the plugin, which is optional,
# finds none either. The workers watch their memory themselves.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 2 --no-cgroups)
load lib

# limits_hold MIB: what `watched.py MIB` prints.
limits_hold() {
    local limit=$(($1 << 20)) node name peak
    expect_line "$out" '^forked \[0, 0, 0, 0, 0\]$'
    expect_line "$out" "^limit $limit\$"
    expect_line "$out" "^alone MemoryLimitExceeded alone-\S+: passed the memory limit of $1\.0 MiB "
    expect_line "$out" '^child MemoryLimitExceeded '
    for name in task worker node; do
        [[ -n $(field "$name") && $(field "$name") != None ]] || fail "no $name"
        expect_line "$out" "^alone MemoryLimitExceeded .*$(field "$name")"
    done
    peak=$(field peak)
    ((peak > limit && peak < 4 * limit)) || fail "peak $peak"
    # It is the process left behind that is killed: the function has done nothing wrong since.
    expect_line "$out" "^daemon b''\$"
    expect_line "$err" 'which a function had left behind, was killed' 1
    expect_line "$out" '^right 300$'
}

@test "MemoryLimitExceeded as with cgroups, said in one line at the start" {
    step -N2 -n4 --mem-per-cpu=100 python3 "$clients/watched.py" 100
    expect_code 0
    limits_hold 100
    expect_line "$err" '^dtask: warning: scheduler: no cgroup holds the workers. limits' 1
    [[ $(job_field "$job" JobState) == COMPLETED ]] || fail "$(job_field "$job" JobState)"
    nothing_left
}
