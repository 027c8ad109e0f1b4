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
    expect_line "$err" "job 2 failed: .*memory limit of 200M"
    expect_line "$err" '3 jobs in [0-9.]+ s, 1 failed'
    nothing_left
}

@test "a job's memory limit is a group's of its own within the worker's, whatever the job does" {
    [[ -e /sys/fs/cgroup/memory ]] || skip "no groups below a task's on cgroup v2: the worker looks at its jobs"
    cat >job.sh <<'END'
group=/sys/fs/cgroup/memory$(sed -n 's/^[0-9]*:[^:]*memory[^:]*://p' /proc/self/cgroup)
hog() { "$python" -S -c 'import sys; len(bytearray(int(sys.argv[1]) << 20))' "$1"; }
case $1 in
where) echo "$group $(cat "$group/memory.limit_in_bytes")" ;;
hog) hog 120 ;;
child) hog 120; exit 0 ;; # its child's death is its own
raise)
    swap=$group/memory.memsw.limit_in_bytes
    [ ! -e "$swap" ] || echo 4000000000 >"$swap"
    echo 4000000000 >"$group/memory.limit_in_bytes" && hog 400
    ;;
make) ! mkdir "$group/more" 2>/dev/null || echo "made a group" ;;
leave) ! { echo $$ >"$group/../../cgroup.procs"; } 2>/dev/null || echo "left" ;;
esac
END
    step -N1 -n2 --mem-per-cpu=300 dtask map -k --memory 60M --env python="$(command -v python3)" \
        sh "$PWD/job.sh" ::: where hog child raise make leave where
    expect_code 1
    expect_line "$out" '/task_1/dtask/command_0 62914560$' 2
    expect_line "$out" '^(made|left)' 0
    expect_line "$err" 'job [23] failed: sh-[23]: passed its own memory limit of 60M ' 2
    expect_line "$err" 'job 4 failed: .*\(peak (29|30)[0-9][.0-9]*M\)' # the worker's limit binds
    expect_line "$err" '7 jobs in [0-9.]+ s, 3 failed'
    nothing_left
}
