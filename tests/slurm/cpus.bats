# SPDX-License-Identifier: Apache-2.0
# The CPUs that a worker gets: no more than it has, whatever runs in it, and its neighbour loses
# nothing. What is compared was measured in the same step, for other work on this machine takes its
# part of everything.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 1 --cpus 4)
load lib

pair=(-N1 -n2 --dtask-slots=overlap --mem-per-cpu=300)
burn=(python3 "$clients/burn.py")

# at_most A FACTOR B, at_least A FACTOR B: of fields of $out; B may be a number.
value() { if [[ $1 == [0-9]* ]]; then echo "$1"; else field "$1"; fi; }
at_most() { awk "BEGIN { exit !($(value "$1") <= $2 * $(value "$3")) }" || fail "$1 is $(value "$1"), more than $2 * $3 ($(value "$3"))"; }
at_least() { awk "BEGIN { exit !($(value "$1") >= $2 * $(value "$3")) }" || fail "$1 is $(value "$1"), less than $2 * $3 ($(value "$3"))"; }

# share ENGINE: with workers of 1 CPU each, by quota.
share() {
    run_srun 90 --dtask="$1" "${pair[@]}" --dtask-cpus=quota "${burn[@]}" share
    expect_code 0
    cat "$out"
    at_most wide 1.25 1
    at_most alone 1.25 1
    # Without the quota it would have a ninth of one CPU, or two.
    at_least beside 0.6 before
    nothing_left
}

@test "quota: a worker that burns 8 threads has its CPU, its neighbour loses nothing" {
    share native
}

@test "the same for Dask's workers" {
    share dask
}

@test "none: whatever is free" {
    step "${pair[@]}" --dtask-cpus=none "${burn[@]}" share
    expect_code 0
    cat "$out"
    (($(nproc) == 1)) || at_least alone 1.3 single
    step "${pair[@]}" --dtask-cpus=none "${burn[@]}" where
    expect_line "$out" "^worker \S+ \S+ 1 0\$" 2
    nothing_left
}

# bound ENGINE: each worker is where Slurm has bound its task, with all that it starts.
bound() {
    # A core of two threads is more than one CPU of the request.
    local bind=cores
    grep -qx 1 /sys/devices/system/cpu/smt/active 2>/dev/null && bind=map_cpu:0,1
    run_srun 60 --dtask="$1" "${pair[@]}" --cpu-bind="$bind" "${burn[@]}" where
    expect_code 0
    cat "$out"
    if (($(nproc) == 1)); then
        # One CPU of one: bound or not is the same, so it has a quota all the same.
        expect_line "$out" '^worker \S+ 0 1 1$'
        return 0
    fi
    expect_line "$out" '^worker \S+\.[01] [0-9]+ 1 0$' 2
    [[ $(awk '$1 == "worker" { print $3 }' "$out" | sort -u | wc -l) == 2 ]] || fail "they share a CPU"
    diff <(awk '$1 == "worker" { print $2, $3 }' "$out") <(awk '$1 == "child" { print $2, $3 }' "$out")
}

@test "auto where Slurm binds: its CPUs and no quota besides" {
    (($(nproc) > 1)) || pair[1]=-n1
    bound native
    bound dask
    # Without a binding, the same option means the quota.
    step -N1 -n1 --dtask-slots=overlap --cpus-per-task=2 --mem-per-cpu=300 "${burn[@]}" where
    expect_line "$out" '^worker \S+ \S+ 2 2$' 1
    nothing_left
}

@test "packed task 0: the worker has the CPUs of the task less two, with all of its executors" {
    step -N1 -n1 --cpus-per-task=3 --mem-per-cpu=300 --dtask-concurrency=2 "${burn[@]}" pair
    expect_code 0
    cat "$out"
    # On v2 the group is the whole task's, and the worker is not kept from the others' CPUs.
    local limit=1
    [[ -e /sys/fs/cgroup/cpu ]] || limit=3
    at_most pair 1.25 "$limit"
    step -N1 -n1 --cpus-per-task=4 --mem-per-cpu=300 "${burn[@]}" where
    expect_line "$out" "^worker \S+ \S+ 2 $((limit == 1 ? 2 : 4))\$" 1
    if (($(nproc) >= 4)); then
        step -N1 -n1 --cpus-per-task=4 --mem-per-cpu=300 --cpu-bind=mask_cpu:0xf "${burn[@]}" where
        [[ $(awk '$1 == "worker" { print $3 }' "$out") == 2,3 ]]
        [[ $(awk '$1 == "child" { print $3 }' "$out") == 2,3 ]]
        expect_line "$out" '^client 0,1$'
    fi
    nothing_left
}
