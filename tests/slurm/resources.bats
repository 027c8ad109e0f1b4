# SPDX-License-Identifier: Apache-2.0
# What a step does where its nodes have little: shared memory, disk, processes. Descriptors and logs
# are in tests/e2e/run.bats.

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

@test "no room for a value on its reader's node: an error that names disk and node; no value is lost" {
    small_places 16 64
    step "${tasks[@]}" --dtask-scratch="$disk" python3 "$clients/no_room.py" 72
    cat "$out"
    expect_code 0
    expect_line "$out" "^there OSError .*len-[0-9]+: no room for the 75497[0-9]+ bytes of its input make-[0-9]+: /dev/shm/\S+ has [0-9.]+ of 16.0 MiB free, $disk/\S+ has [0-9.]+ of 64.0 MiB free, worker $node\.0 on node $node\$"
    expect_line "$out" "^free $((72 << 20))\$"
    expect_line "$out" '^again 1$'
    expect_line "$out" '^after 42$'
    nothing_left

    # A scratch directory that is memory as well is no second place, and the error says so.
    mkdir -m 1777 memory
    node_with "$node" "mount -t tmpfs -o size=16M,mode=1777 shm /dev/shm; mount -t tmpfs -o size=64M,mode=1777 more '$work/memory'"
    step "${tasks[@]}" --dtask-scratch="$work/memory" python3 "$clients/full.py" 40
    cat "$out"
    expect_line "$out" "^big OSError .*: No space left on device: /dev/shm/\S+ has [0-9.]+ of 16.0 MiB free; $work/memory/\S+ has [0-9.]+ of 64.0 MiB free, and is memory, too: --dtask-scratch on a disk would be used\$"
    expect_line "$out" '^after 42$'
    nothing_left
}

@test "a worker that cannot start processes; a work directory that cannot be written" {
    mkdir -m 555 closed
    cd closed
    start_step -N2 -n3 --mem-per-cpu=100 python3 "$clients/long_map.py" 600 10
    wait_for "the first results" 60 has_field started
    # Of what the user has on this machine one process more is too many.
    as_user prlimit --nproc=1:1 --pid "$(one_process worker 2)"
    as_user prlimit --nproc=1:1 --pid "$(pgrep -P "$(one_process worker 2)" -f dtask._nursery)"
    kill -KILL "$(one_process executor 2)"
    end_step 90
    expect_code 0
    expect_line "$out" '^right 600$'
    cat "$err"
    expect_line "$err" 'task 2 on \S+ cannot serve: .*fork: Resource temporarily unavailable' 1
    expect_line "$err" 'scheduler file: .*Permission denied' 1
    cd "$work"
    nothing_left
}
