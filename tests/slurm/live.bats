# SPDX-License-Identifier: Apache-2.0
# From a second terminal into a step of real Slurm, by its scheduler file: status, top, explain, logs,
# cancel and stop. What each says otherwise is in tests/e2e/live.bats and test_top.py.

bats_require_minimum_version 1.5.0

load lib

# What the step writes is in $work/step.out and step.err, what is answered in $out and $err.
second_terminal() {
    out=$work/step.out err=$work/step.err
    start_step --dtask-scheduler-file="$work/step.json" "$@"
    out=$work/out err=$work/err
}
# ask WORDS...: dtask WORDS, as the step's user.
ask() { invoke 30 as_user dtask "$@" --scheduler-file step.json; }

@test "a step is looked at, asked about, and stopped, from outside" {
    second_terminal -N2 -n3 --cpus-per-task=2 --mem-per-cpu=100 \
        dtask map --progress none sh -c 'echo "begun $1"; [ "$1" != bad ] || { echo "no $1" >&2; exit 3; }
            while ! test -e "$1.go"; do sleep 0.1; done' sh ::: bad a b c d e f
    begun() { [[ -e step.json ]] && ask status && grep -q 'failed: sh-1 raised: exit code 3 (' "$out"; }
    wait_for "jobs that run" 60 begun
    expect_line "$out" '^cluster [0-9]+\.[0-9]+ \(native\) at ' 1
    expect_line "$out" ', 4 running, |, 5 running, ' 1
    expect_line "$out" ' sh-[0-9]+ [0-9.:]+ ' 2
    ask top
    expect_code 0
    expect_line "$out" '^cluster ' 1
    ask explain 2
    expect_code 0
    expect_line "$out" '^sh-2: running on worker '
    ask explain sh-7
    expect_line "$out" '^sh-7: (queued|running)'
    ask logs sh-2
    expect_code 0
    expect_line "$out" '^begun a$' 1
    ask logs 1
    expect_line "$out" '^no bad$' 1
    ask logs scheduler
    expect_line "$out" ' has come$'
    ask cancel 2
    expect_code 0
    wait_for "that it is told" 30 grep -q 'job 2 failed: cancelled by dtask cancel' "$work/step.err"
    ask stop
    expect_code 0
    expect_line "$out" ' has ended$' 1
    end_step 30
    ((code == 143)) || fail "exit code $code, expected 143"
    nothing_left
}

@test "a step of the engine dask: what is Dask's one line says, the rest is done" {
    second_terminal -N1 -n2 --dtask=dask \
        sh -c 'touch ready; while :; do sleep 0.1; done'
    wait_for "the client" 90 test -e ready
    ask status
    expect_code 0
    expect_line "$out" '^cluster [0-9]+\.[0-9]+ \(dask\) at ' 1
    local words
    for words in 'explain f-1' 'cancel f-1' 'logs f-1'; do
        # shellcheck disable=SC2086
        ask $words
        expect_code 2
        expect_line "$err" "^dtask ${words%% *}: the engine of cluster \S+ is dask, whose tasks only Dask knows" 1
    done
    ask stop
    expect_code 0
    end_step 60
    nothing_left
}
