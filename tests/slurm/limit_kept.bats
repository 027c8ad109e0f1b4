# SPDX-License-Identifier: Apache-2.0
# A worker is not killed below its memory limit, and does not live far above it, in whatever way it
# gets there. Looked at from outside, by the group's own counters.

bats_require_minimum_version 1.5.0

load lib

# The memory group of the worker, as soon as it has an executor.
find_group() { group=$("$tree/tests/slurm/limits" "$job" | cut -f6 | head -n 1) && [[ -n $group ]]; }

@test "slow, at once, in a child, in shared memory: each over the limit fails alone; 95 % lives" {
    local shape sampler
    start_step -N1 -n3 --mem-per-cpu=100 --dtask-slots=dedicated python3 "$clients/shapes.py" "$work/go"
    wait_for "the worker" 60 has_field limit
    wait_for "the worker's group" 30 find_group
    "$tree/tests/slurm/sample_memory" "/sys/fs/cgroup/$group" "$(field limit)" >"$work/samples" 3>&- &
    sampler=$!
    wait_for "the first sample" 30 test -s "$work/samples"
    touch "$work/go"
    end_step 120
    wait "$sampler"
    cat "$work/samples"
    expect_code 0
    for shape in slow at-once shared; do
        expect_line "$out" "^$shape MemoryLimitExceeded " 1
    done
    # On v1 the kernel takes the child, and leaves it to the function what that means.
    expect_line "$out" '^child (MemoryLimitExceeded |-9$)' 1
    expect_line "$out" '^stay done$'
    expect_line "$out" '^right 20$'
    # An executor that was killed had the limit; memory is counted in batches of 64 pages.
    awk -v limit="$(field limit)" '$2 == "MemoryLimitExceeded" && $3 < limit * 0.97 { exit 1 }' "$out" ||
        fail "killed below the limit of $(field limit): $(<"$out")"
    below "$(awk '$1 == "above" { print $2 }' "$work/samples")" 1 || fail "too long above the limit"
    # What Slurm would take for its own.
    expect_line "$work/samples" '^oom-kills-of-step 0$'
    expect_state COMPLETED
    expect_line "$err" '[Oo]ut [Oo]f [Mm]emory|oom' 0
    nothing_left
}
