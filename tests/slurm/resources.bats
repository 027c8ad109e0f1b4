# SPDX-License-Identifier: Apache-2.0
# What a step does where its nodes have little: shared memory, disk, descriptors, processes; and where
# the clock jumps.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 2)
load lib

# Two nodes; the first has the client's task and, with `overlap`, a worker as well.
tasks=(-N2 -n2 --mem-per-cpu=300 --dtask-slots=overlap)

# small_places MEMORY DISK: of the first node, in MiB: shared memory, and the file system $disk. That is
# an overlay, for a tmpfs would be memory to a worker.
small_places() {
    node=$(nodes_of_sandbox | head -n 1)
    disk=$work/disk
    mkdir -m 1777 "$disk"
    mkdir "$work/layers"
    node_with "$node" "
        mount -t tmpfs -o size=$1M,mode=1777 shm /dev/shm
        mount -t tmpfs -o size=$2M layers '$work/layers'
        mkdir '$work'/layers/lower '$work'/layers/upper '$work'/layers/work
        chmod 1777 '$work'/layers/upper
        mount -t overlay -o 'lowerdir=$work/layers/lower,upperdir=$work/layers/upper,workdir=$work/layers/work' \
            disk '$disk'"
}

@test "shared memory full: values go to disk at once; disk full too: one error, and all goes on" {
    small_places 16 64
    step "${tasks[@]}" --dtask-scratch="$disk" python3 "$clients/full.py" 40
    expect_code 0
    expect_line "$out" '^small 500010$'
    expect_line "$out" "^big $((40 << 20)) $((40 << 20))\$"
    expect_line "$out" '^after 42$'
    nothing_left

    step "${tasks[@]}" --dtask-scratch="$disk" python3 "$clients/full.py" 100
    expect_code 0
    cat "$out"
    expect_line "$out" "^big OSError .*the value of make\(\) of 104857[0-9]+ bytes could not be written to the worker's store: No space left on device: /dev/shm/\S+ has [0-9.]+ of 16.0 MiB free, $disk/\S+ has [0-9.]+ of 64.0 MiB free\$"
    expect_line "$out" '^after 42$'
    expect_line "$out" '^left *$'
    nothing_left
}
