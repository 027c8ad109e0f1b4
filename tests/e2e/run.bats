# SPDX-License-Identifier: Apache-2.0
# `dtask run`: the same cluster on one machine, without Slurm.

bats_require_minimum_version 1.5.0

load lib
clients=$tree/tests/slurm/clients

# A name in the environment of all that a test starts finds what it left behind.
setup() { setup_work; }
teardown() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do kill -KILL "$pid" 2>/dev/null || true; done
    teardown_work
}

# cluster ARGS...: `dtask run`; nothing of it may be left when it has returned.
cluster() {
    invoke 60 env TEST_WORK="$work" dtask run "$@"
    wait_for "a clean end" 3 none_left || fail "left: $(processes_with TEST_WORK "$work" | xargs) $(left_files)"
}
none_left() { [[ -z $(processes_with TEST_WORK "$work") && -z $(left_files) ]]; }

@test "a map on a cluster of 4 tasks" {
    cluster -n 4 -- python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker ' 3
    expect_line "$out" '^squares 328350$'
}

@test "slots, as with srun" {
    cluster -n 4 --slots dedicated -- python3 "$clients/workers.py"
    expect_line "$out" '^worker ' 2
    cluster -n 4 --slots overlap -- python3 "$clients/workers.py"
    expect_line "$out" '^worker ' 4
    cluster -n 3 -c 3 -- python3 "$clients/workers.py"
    expect_line "$out" '^worker ' 3
    expect_line "$out" '^worker \S+ \S+ 1 ' 1
}

@test "the client's exit code, and 128 and the signal" {
    cluster -n 2 -- python3 "$clients/ends.py" exit 7
    expect_code 7
    cluster -n 2 -- python3 "$clients/ends.py" segv
    expect_code 139
    cluster -n 2 -- python3 "$clients/ends.py" raise
    expect_code 1
    expect_line "$err" "ValueError: the client's own error"
    cluster -n 2 -- python3 "$clients/ends.py" busy
    expect_code 0
    cluster -n 2 -- true
    expect_code 0
}

@test "functions that end their process: WorkerCrashed after three tries" {
    cluster -n 3 --log log -- python3 "$clients/crashes.py"
    expect_code 0
    expect_line log '^dtask: info: scheduler: by_signal-101 is tried again: on worker \S+: .*signal 9' 2
    expect_line "$out" '^tries 3$'
    expect_line "$out" '^signal 9$'
    expect_line "$out" '^exit_code 5$'
    expect_line "$out" '^right 100$'
}

@test "stdin reaches the client, print in a function reaches stdout" {
    printf 'import sys, dtask\nprint(dtask.Client().submit(print, sys.stdin.read()).result(30))\n' >ask.py
    code=0
    timeout 30 env TEST_WORK="$work" dtask run -n 2 -- python3 ask.py >"$out" 2>"$err" <<<'from stdin' || code=$?
    expect_code 0
    expect_line "$out" '^from stdin$'
    expect_line "$out" '^None$'
}

@test "wrong use: one line that names option, value and what is accepted" {
    invoke 10 dtask run -n 4 --slots pakced -- true
    expect_code 2
    expect_line "$err" 'slots.*pakced.*packed.*dedicated.*overlap' 1
    invoke 10 dtask run -n 1 -- true
    ((code != 0)) || fail "one task was accepted for packed"
    expect_line "$err" 'packed.*2' 1
    invoke 10 dtask run -n 0 -- true
    ((code != 0)) || fail "-n 0 was accepted"
    invoke 10 dtask run -n 2
    ((code != 0)) || fail "no command was accepted"
    invoke 10 dtask fly
    ((code != 0)) || fail "a command 'fly' was accepted"
}

@test "a command that does not exist gives 127" {
    cluster -n 2 -- no-such-command
    expect_code 127
    expect_line "$err" 'no-such-command'
}

@test "status shows the workers of a running cluster" {
    env TEST_WORK="$work" dtask run -n 3 -- \
        python3 "$clients/workers.py" hold "$work/go-on" >"$out" 2>"$err" </dev/null 3>&- &
    local run=$!
    wait_for "the workers" 30 grep -q '^job ' "$out"
    run -0 --separate-stderr dtask status --json
    [[ $(python3 -c 'import json, sys; print(len(json.load(sys.stdin)["workers"]))' <<<"$output") == 2 ]] ||
        fail "$output"
    run -0 dtask status
    [[ $output == *worker* ]] || fail "$output"
    touch go-on
    wait "$run"
    run -2 dtask status
}

@test "top and pgrep know scheduler and workers by their program's name" {
    # shellcheck disable=SC2016
    cluster -n 3 -- sh -c 'for pid in $(cat /proc/$PPID/task/*/children); do cat "/proc/$pid/comm"; done'
    expect_code 0
    expect_line "$out" '^dtaskd$' 1 # of this task: the workers have launchers of their own
    expect_line "$out" '^sh$' 1
}

@test "--memory: the workers watch it themselves, said once" {
    cluster -n 3 --memory 100M -- python3 "$clients/watched.py" 100
    expect_code 0
    expect_line "$out" '^forked \[0, 0, 0, 0, 0\]$'
    expect_line "$out" '^alone MemoryLimitExceeded alone-\S+: passed the memory limit of 100\.0 MiB '
    expect_line "$out" '^child MemoryLimitExceeded '
    expect_line "$out" "^daemon b''\$"
    expect_line "$out" '^right 300$'
    expect_line "$err" 'no cgroup holds the workers. limits on \S+: each worker watches the memory' 1
    expect_line "$err" 'CPUs' 0
}

@test "a log that cannot be made is refused at once; one that has no room stops nobody" {
    cluster -n 3 --log none/log -- touch started
    expect_code 2
    expect_line "$err" '--dtask-log=none/log: log: .*/none/log: No such file or directory'
    [[ ! -e started ]] || fail "the command was started"
    [[ -c /dev/full ]] || fail "no /dev/full"
    cluster -n 3 --log /dev/full -- python3 "$clients/squares.py"
    expect_code 0
    expect_line "$out" '^squares 328350$'
}

@test "a small limit of descriptors is the user's, not ours" {
    ulimit -Sn 64
    cluster -n 3 -- python3 -c 'if True:
        import resource, dtask
        limit = resource.RLIMIT_NOFILE
        print("limits", dtask.Client().submit(resource.getrlimit, limit).result(60)[0], resource.getrlimit(limit)[0])'
    expect_code 0
    expect_line "$out" '^limits 64 64$'
}

@test "more workers than descriptors: one line says so, and all comes to an end" {
    ulimit -n 24
    cluster -n 30 --wait all --timeout 6 -- touch started
    ((code != 0)) || fail "exit code 0"
    [[ ! -e started ]] || fail "the command was started"
    expect_line "$err" '(only [0-9]+ of 29 workers were ready|scheduler .* did not answer)' 1
    expect_line "$err" 'connections cannot be accepted and wait: Too many open files, of 24 descriptors' 1
}

@test "without HOME, and in a directory that cannot be written" {
    mkdir -m 555 closed
    invoke 60 env -u HOME -C closed TEST_WORK="$work" dtask run -n 3 -- python3 "$clients/squares.py"
    expect_code 0
    expect_line "$out" '^squares 328350$'
    wait_for "a clean end" 3 none_left
}

# One that stops makes the scheduler wait for it, and Slurm may kill what waits.
@test "the launcher of the scheduler dies: its file goes before all else" {
    local pid launcher workers=()
    TEST_WORK=$work dtask run -n 2 -- sleep 60 >"$out" 2>"$err" </dev/null 3>&- &
    file_is_there() { [[ -n $(find "$work/.dtask" -type f 2>/dev/null) ]]; }
    client_runs() { processes_with TEST_WORK "$work" | xargs -rn1 ps -o args= -p | grep -q '^sleep 60'; }
    wait_for "the scheduler file" 60 file_is_there
    wait_for "the client" 60 client_runs
    for pid in $(processes_with TEST_WORK "$work"); do
        case $(ps -o args= -p "$pid") in
            *"dtaskd scheduler"*) launcher=$(ps -o ppid= -p "$pid") ;;
            *"dtaskd worker"*) workers+=("$pid") ;;
        esac
    done
    kill -STOP "${workers[@]}"
    kill -KILL "$launcher"
    wait_for "the scheduler's last words" 30 grep -q "the scheduler's launcher was lost" "$err"
    ! file_is_there || fail "the scheduler file is still there"
    kill -CONT "${workers[@]}"
    wait_for "a clean end" 30 none_left || fail "left: $(processes_with TEST_WORK "$work" | xargs) $(left_files)"
}
