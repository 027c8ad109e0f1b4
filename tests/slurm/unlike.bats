# SPDX-License-Identifier: Apache-2.0
# Nodes that differ in their memory: 800 MB and 400 MB.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 2 --memory "800,400")
load lib

# all_of_it ENGINE: two workers on each node, which have all of its memory.
all_of_it() {
    run_srun 150 --dtask="$1" -N2 -n4 --ntasks-per-node=2 --mem=0 --dtask-slots=overlap --dtask-wait=all \
        python3 "$clients/own_limits.py"
    expect_code 0
    mapfile -t on < <(nodes_of_sandbox)
    large=$(in_force 400 800 2) small=$(in_force 200 400 2)
}

# each WORD: the client has printed the workers' own limits.
each() {
    expect_line "$out" "^$1 ${on[0]}\.[01] $large${2:-}\$" 2
    expect_line "$out" "^$1 ${on[1]}\.[23] $small${2:-}\$" 2
}

@test "each worker has its own node's share, is told it, and a function is killed at it" {
    all_of_it native
    each told
    each status
    each sees
    each hog ' True'
    expect_line "$out" "^client $large$"
    nothing_left
}

@test "dask: each worker has its own node's share" {
    all_of_it dask
    each told
    nothing_left
}
