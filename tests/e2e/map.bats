# SPDX-License-Identifier: Apache-2.0
# `dtask map`: ensembles of commands, end to end, on a cluster of `dtask run`.

bats_require_minimum_version 1.5.0

load lib

setup() { setup_work; }
teardown() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do kill -KILL "$pid" 2>/dev/null || true; done
    teardown_work
}

# map ARGS...: `dtask map` as the client of a cluster of 3 tasks; nothing may be left of it.
map() { map_of 3 "$@"; }
map_of() {
    local tasks=$1
    shift
    invoke 120 env TEST_WORK="$work" dtask run -n "$tasks" -- dtask map "$@"
    wait_for "a clean end" 10 none_left ||
        fail "left: $(processes_with TEST_WORK "$work" | xargs) $(left_files)"
}
none_left() { [[ -z $(processes_with TEST_WORK "$work") && -z $(left_files) ]]; }

# The process id of the scheduler.
scheduler() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do
        ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q '^dtaskd scheduler' || echo "$pid"
    done
}

# expect_out TEXT...: what was written, one argument a line.
expect_out() { diff <(printf '%s\n' "$@") "$out" || fail "other output than expected"; }

@test "a job for each input: what it writes, in order where that is asked for" {
    map echo {} ::: 1 2 3
    expect_code 0
    sort -o "$out" "$out"
    expect_out 1 2 3
    expect_line "$err" '^dtask map: 3 jobs in [0-9.]+ s$'

    map -k sh -c 'sleep "$1"; echo "$1"; echo e >&2' sh ::: 0.4 0.2 0
    expect_code 0
    expect_out 0.4 0.2 0
    expect_line "$err" '^e$' 3
}

@test "inputs of files, columns by name, combinations; a line for the shell" {
    printf 'case,speed\n"a, b",1\nc,22\n' >table.csv
    map -k --csv -a table.csv echo '{speed}:{case}:{#}'
    expect_out '1:a, b:1' '22:c:2'
    map -k 'echo {1} {2} | tr a-z A-Z' ::: a 'b  c' ::: x y
    expect_out 'A X' 'A Y' 'B  C X' 'B  C Y'
    invoke 60 dtask run -n 3 -- dtask map -k echo got <table.csv
    expect_code 0
    # Standard input is the client's.
    printf 'echo one\necho two | tr t T\n' >lines
    map -k -a lines
    expect_out one Two
    map echo '[1,2]' '{x}' -k ::: a
    expect_out '[1,2] {x} -k a'
    map --dry-run prog {/.} ::: d/a.txt
    expect_out 'prog a'
}

@test "failures: reported with how and where, counted, in the job log; retries; the exit code" {
    map --joblog log sh -c 'echo "bad $1" >&2; exit "$1"' sh ::: 0 3 0
    expect_code 1
    expect_line "$err" '^bad 3$'
    expect_line "$err" '^dtask map: job 2 failed: exit code 3, on worker \S+: sh -c .* sh 3$'
    expect_line "$err" '^dtask map: 3 jobs in [0-9.]+ s, 1 failed$'
    expect_line log '^Seq	Host	Starttime	JobRuntime	Send	Receive	Exitval	Signal	Command$'
    expect_line log '^2	\S+	[0-9.]+	 *[0-9.]+	0	0	3	0	sh -c .*$'
    (($(wc -l <log) == 4)) || fail "the job log has other lines than one a job"

    map --progress none sh -c 'kill -SEGV $$' ::: 1
    expect_code 1
    expect_line "$err" 'job 1 failed: signal 11 \(Segmentation fault\)'
    map no-such-program ::: 1
    expect_code 1
    expect_line "$err" 'no-such-program: command not found'
    expect_line "$err" 'job 1 failed: exit code 127'

    map --retries 2 sh -c 'echo x >>tries; (($(wc -l <tries) == 3))' ::: 1
    (($(wc -l <tries) == 3)) || fail "$(wc -l <tries) tries, expected 3"
    map --max-fails 2 sh -c 'exit 1' ::: {1..500}
    expect_code 1
    expect_line "$err" '[2-9] jobs have failed \(--max-fails\)'
    map --timeout 0.5 sleep ::: 600
    expect_code 1
    expect_line "$err" 'job 1 failed: .*ran longer than 500 ms'
}

@test "files for output, working directories, variables, slots" {
    mkdir d
    map -o 'results/{#}.txt' sh -c 'echo "$1"; echo "to $1" >&2; exit "$1"' sh ::: 0 1
    expect_code 1
    [[ ! -s $out ]] || fail "written to the client, too"
    diff <(printf '1\nto 1\n') results/2.txt
    expect_line "$err" '^  to 1$'
    map -w d --env A=x{} --env B=b sh -c 'echo "$PWD $A $B ${HOME-none}"' ::: 1
    expect_out "$work/d x1 b $HOME"
    map --env NOT_THERE sh -c 'echo "${NOT_THERE-unset}"' ::: 1
    expect_out unset
    # What is set for the interpreters of functions is no command's.
    map sh -c 'env | grep -cE "^(MALLOC_|DTASK_EXECUTOR|DTASK_STORE)"; test -n "$DTASK_WORKER" -a -n "$DTASK_MEMORY_LIMIT"' ::: 1
    expect_code 0
    expect_out 0
    # A worker of 4 CPUs has 4 slots.
    invoke 60 dtask run -n 1 -c 4 --slots overlap -- dtask map sh -c 'echo slot $1; sleep 1' sh {%} ::: 1 2 3 4
    sort -o "$out" "$out"
    expect_out 'slot 1' 'slot 2' 'slot 3' 'slot 4'
}

@test "a journal: what is done is not run again" {
    map --journal journal sh -c 'echo "$1" >>ran; [ "$1" != 2 ] || [ -e mended ]' sh ::: 1 2 3
    expect_code 1
    (($(wc -l <ran) == 3)) || fail "not each ran once"
    map --journal journal echo ::: 1
    expect_code 2
    expect_line "$err" '^dtask map: journal: journal has 2 jobs already; accepted: --resume'
    touch mended
    # Torn, and with an input more in front.
    truncate -s -1 journal
    map --journal journal --resume sh -c 'echo "$1" >>ran; [ "$1" != 2 ] || [ -e mended ]' sh ::: 0 1 2 3
    expect_code 0
    expect_line "$err" '^dtask map: 3 jobs in [0-9.]+ s, 1 were done before$'
    (($(wc -l <ran) == 6)) || fail "$(wc -l <ran) runs, expected 6"
    map --journal journal --resume sh -c 'echo "$1" >>ran; [ "$1" != 2 ] || [ -e mended ]' sh ::: 0 1 2 3
    expect_line "$err" '^dtask map: 0 jobs in [0-9.]+ s, 4 were done before$'
}

@test "the scheduler is killed: exit code 70; the journal has what was told" {
    TEST_WORK="$work" dtask run -n 3 -- dtask map --journal journal \
        sh -c 'echo "$1" | tee -a "ran.$1"; sleep 0.2' sh ::: {1..60} >first 2>"$err" &
    local run=$!
    wait_for "some jobs" 60 test -e ran.5
    kill -KILL "$(scheduler)"
    code=0
    wait "$run" || code=$?
    expect_code 70
    wait_for "a clean end" 20 none_left
    map --journal journal --resume sh -c 'echo "$1" | tee -a "ran.$1"; sleep 0.2' sh ::: {1..60}
    expect_code 0
    # What a job wrote is told once, though it may have ended when nobody could be told.
    diff <(seq 60) <(sort -n first "$out")
    [[ -z $(compgen -G 'journal.from-*') ]] || fail "left: $(compgen -G 'journal.from-*')"
    (($(find . -name 'ran.*' | wc -l) == 60)) || fail "not all ran"
    # Only what was running then has run twice.
    local twice
    twice=$(for file in ran.*; do (($(wc -l <"$file") < 2)) || echo "$file"; done | wc -l)
    ((twice <= 8)) || fail "$twice jobs ran twice"
}

@test "lines are written while their job runs where that is asked for" {
    TEST_WORK="$work" dtask run -n 3 -- dtask map --line-buffer --tag \
        sh -c 'echo begun; until [ -e go ]; do sleep 0.01; done; echo "not $1" >&2; echo done; printf end; test "$1" = a' \
        sh ::: a b >"$out" 2>"$err" &
    local run=$!
    wait_for "the first line of both" 60 eval '(($(grep -c "begun$" "$out") == 2))'
    touch go
    code=0
    wait "$run" || code=$?
    expect_code 1
    diff <(printf '%s\t%s\n' a begun a "done" a end b begun b "done" b end) <(sort "$out")
    diff <(printf '%s\t%s\n' a "not a" b "not b") <(grep -P '^.\tnot' "$err" | sort)
    expect_line "$err" 'job 2 failed: exit code 1'
    invoke 20 dtask map --line-buffer -k echo ::: 1
    expect_code 2
    expect_line "$err" 'does not go with --keep-order'
}

@test "a second client by the scheduler file; SIGINT stops it, and its jobs" {
    TEST_WORK="$work" dtask run -n 3 -- sleep 300 >"$out" 2>"$err" &
    local run=$! client
    wait_for "a scheduler file" 60 eval 'compgen -G ".dtask/*.json"'
    env -u DTASK_ADDRESS dtask map -k echo {} ::: a b >mapped 2>mapped.err
    diff <(printf 'a\nb\n') mapped
    # Shells ignore SIGINT for what they start behind.
    python3 -c 'import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execvp(sys.argv[1], sys.argv[1:])' \
        dtask map sh -c 'touch begun; exec sleep 61803' ::: 1 2 3 4 2>interrupted &
    client=$!
    wait_for "a job" 60 test -e begun
    kill -INT "$client"
    code=0
    wait "$client" || code=$?
    expect_code 130
    expect_line interrupted '^dtask map: interrupted'
    wait_for "the end of its jobs" 20 eval '! pgrep -f "^sleep 61803"'
    kill -TERM "$run"
    wait "$run" || true
}

@test "bad input: one line that says what is accepted, and exit code 2" {
    local cases=(
        '--memory|x|--memory=x: accepted is a size'
        '--timeout|-1|--timeout=-1: accepted is a number of seconds'
        '--header|x|--header=x: accepted is :'
        '--progress|x|--progress: x not in'
        '--env|=x|--env==x: accepted is NAME'
        '--journal|/no/such/dir/j|journal: /no/such/dir/j'
        '-a|/no/such/file|/no/such/file: No such file'
    )
    local case option value message
    for case in "${cases[@]}"; do
        IFS='|' read -r option value message <<<"$case"
        invoke 20 env DTASK_ADDRESS=127.0.0.1:1 DTASK_TOKEN="$(printf '%064d' 0)" \
            dtask map "$option" "$value" echo ::: 1
        expect_code 2
        grep -qF -- "$message" "$err" || fail "no '$message' in: $(cat "$err")"
        (($(wc -l <"$err") == 1)) || fail "more than a line: $(cat "$err")"
    done
    invoke 20 dtask map echo {3} ::: 1 ::: 2
    expect_code 2
    expect_line "$err" '\{3\}: the inputs have 2 values'
    invoke 20 dtask map --resume echo ::: 1
    expect_code 2
    expect_line "$err" '--journal=FILE'
    invoke 20 dtask map echo ::: 1
    expect_code 2
    expect_line "$err" 'no running cluster found.*srun --dtask dtask map'
    invoke 20 dtask map --help
    expect_code 0
    expect_line "$out" '--joblog'
}
