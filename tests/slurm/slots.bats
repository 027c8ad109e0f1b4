# SPDX-License-Identifier: Apache-2.0
# Who works in each slot mode, as the client sees it and as the kernel holds the limits.

bats_require_minimum_version 1.5.0

load lib

MiB=1048576

# count_workers MODE CPUS EXPECTED: all of them come, and compute.
count_workers() {
    step -N4 -n8 --cpus-per-task="$2" --mem-per-cpu=50 --dtask-slots="$1" python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" "^expected $3$"
    expect_line "$out" '^worker ' "$3"
    expect_line "$out" '^squares 328350$'
}

@test "packed, 4 CPUs a task: 8 workers, one of them of 2 CPUs" {
    count_workers packed 4 8
    expect_line "$out" '^worker \S+ \S+ 4 ' 7
    expect_line "$out" '^worker \S+ \S+ 2 ' 1
    nothing_left
}

@test "packed is the default" {
    step "${request[@]}" python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker ' 8
    expect_line "$out" '^worker \S+ \S+ 2 ' 1
}

@test "dedicated, 4 CPUs a task: 6 workers" {
    count_workers dedicated 4 6
    expect_line "$out" '^worker \S+ \S+ 4 ' 6
}

@test "overlap, 4 CPUs a task: 8 workers, all whole" {
    count_workers overlap 4 8
    expect_line "$out" '^worker \S+ \S+ 4 ' 8
}

@test "packed, 1 CPU a task: 7 workers" { count_workers packed 1 7; }
@test "dedicated, 1 CPU a task: 6 workers" { count_workers dedicated 1 6; }
@test "overlap, 1 CPU a task: 8 workers" { count_workers overlap 1 8; }

@test "the workers are on all four nodes, two on each" {
    step "${request[@]}" python3 "$clients/workers.py"
    expect_code 0
    run -0 awk '$1 == "worker" { count[$3]++ } END { for (n in count) print count[n] }' "$out"
    [[ $output == $'2\n2\n2\n2' ]] || fail "workers a node: $output"
}

@test "the step of an administrator works like a user's" {
    step_user=root
    step "${request[@]}" python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker ' 8
    nothing_left
}

limit_lines() { "$tree/tests/slurm/limits" "$job" >"$work/limits" && (($(wc -l <"$work/limits") >= $1)); }

# hold_and_read WORKERS ARGS...: the limits that the kernel holds, in $work/limits.
hold_and_read() {
    local workers=$1
    shift
    start_step "$@" python3 "$clients/workers.py" hold "$work/go-on"
    wait_for "limits of $workers workers" 30 limit_lines "$workers"
    touch "$work/go-on"
    end_step 20
    expect_code 0
}

# limits_are COUNT MEMORY CPUS
limits_are() {
    local found
    found=$(awk -v memory="$2" -v cpus="$3" '$4 == memory && $5 == cpus' "$work/limits" | wc -l)
    ((found == $1)) || fail "$found workers have $2 bytes and $3 CPUs, expected $1:"$'\n'"$(<"$work/limits")"
}

@test "each worker is under the limits of its request, read back from its cgroup" {
    hold_and_read 8 "${request[@]}"
    limits_are 7 $((200 * MiB)) 4
    limits_are 1 $((100 * MiB)) 2
    run -0 awk '$4 == 104857600 { print $1 }' "$work/limits"
    [[ $output == 0 ]] || fail "the smaller worker is in task $output"
    run -0 awk -F'\t' '{ print $6 }' "$work/limits"
    [[ $(sort -u <<<"$output" | wc -l) == 8 ]] || fail "workers share a cgroup: $output"
    # The client was told the same.
    expect_line "$out" "^worker \S+ \S+ 4 $((200 * MiB))$" 7
    nothing_left
}

@test "--dtask-memory=80M and --dtask-cpus=none" {
    hold_and_read 6 "${request[@]}" --dtask-slots=dedicated --dtask-memory=80M --dtask-cpus=none
    limits_are 6 $((80 * MiB)) 0
}

@test "a limit above the share of the task is cut to it" {
    hold_and_read 6 "${request[@]}" --dtask-slots=dedicated --dtask-memory=5G
    limits_are 6 $((200 * MiB)) 4
}
