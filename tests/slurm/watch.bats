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
    expect_state COMPLETED
    nothing_left
}

@test "a Dask worker as well, with what its tasks have started" {
    run_srun 90 --dtask=dask -N2 -n3 --mem-per-cpu=250 python3 "$clients/dask_hog.py"
    expect_code 0
    expect_line "$out" '^KilledWorker .*passed the memory limit of 250M \(peak [0-9.]+M\) and was killed'
    expect_line "$out" '^after 42$'
    expect_line "$err" 'no cgroup holds the workers. limits' 1
    nothing_left
}

@test "a size that nobody can enforce is refused" {
    step -N1 -n2 --mem-per-cpu=100 --dtask-memory=80M touch started
    ((code != 0)) || fail "was accepted"
    expect_line "$err" '--dtask-memory=80M: cannot be enforced on this node; accepted: auto or none'
    [[ ! -e started ]] || fail "the command was started"
    nothing_left
}

# The tasks of such a node run the command as any other step would.
@test "a node without the plugin: a clear line, and an end" {
    local nodes
    mapfile -t nodes < <(nodes_of_sandbox)
    : >"$work/empty"
    node_with "${nodes[1]}" "mount --bind '$work/empty' '$DTASK_SANDBOX/plugstack.conf'"
    step -N2 --ntasks-per-node=2 -m cyclic --mem-per-cpu=50 --dtask-timeout=8 python3 "$clients/squares.py"
    expect_line "$out" '^squares 328350$'
    expect_line "$err" "plugin is missing on node ${nodes[1]}"
    expect_line "$err" 'for these tasks, which have not come: 1,3; where dtask.s plugin is missing' 1
    nothing_left

    # The node with scheduler and client: the others look for it in vain, no longer than told.
    node_with "${nodes[1]}" true
    node_with "${nodes[0]}" "mount --bind '$work/empty' '$DTASK_SANDBOX/plugstack.conf'"
    step -N2 --ntasks-per-node=2 -m cyclic --dtask-slots=dedicated --mem-per-cpu=50 --dtask-timeout=5 \
        python3 "$clients/squares.py"
    ((code != 0)) || fail "exit code 0"
    expect_line "$err" "plugin is missing on node ${nodes[0]}"
    expect_line "$err" "in task 0 on ${nodes[0]} did not answer in 5 s .*is dtask.s plugin missing on that node"
    nothing_left
    node_with "${nodes[0]}" true
}
