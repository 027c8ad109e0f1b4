# SPDX-License-Identifier: Apache-2.0
# Ensembles of commands in a step of real Slurm. All else of `dtask map` is in tests/e2e/map.bats.

bats_require_minimum_version 1.5.0

load lib

@test "an ensemble over two nodes: all nodes work, limits hold, the exit code is the step's" {
    step -N2 -n4 --cpus-per-task=1 --mem-per-cpu=300 dtask map --joblog log -k \
        sh -c 'echo "$1"; grep -E "^(memory|.*:memory)" /proc/self/cgroup >&2; sleep 0.2; exit "$1"' sh ::: 0 0 0 0 0 0 0 0 0 1
    expect_code 1
    expect_line "$out" '^0$' 9
    expect_line "$err" 'job 10 failed: exit code 1, on worker \S+: '
    (($(awk -F'\t' 'NR > 1 { print $2 }' log | sort -u | wc -l) == 2)) || fail "not both nodes worked"
    nothing_left
}

@test "a job that has more memory than the worker fails, and says so; the others do not" {
    step -N1 -n2 --mem-per-cpu=200 dtask map --env PYTHONPATH= python3 -S -c \
        'import sys; len(bytearray(int(sys.argv[1]) << 20))' ::: 1 400 2
    expect_code 1
    expect_line "$err" "job 2 failed: .*memory limit of 200.0 MiB|job 2 failed: .*memory limit of 200M"
    expect_line "$err" '3 jobs in [0-9.]+ s, 1 failed'
    nothing_left
}
