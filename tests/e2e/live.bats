# SPDX-License-Identifier: Apache-2.0
# What one may ask a running cluster, and tell it: status, explain, logs, cancel, stop; and what each
# of these subcommands says where that makes no sense. `dtask top` is in test_top.py.

bats_require_minimum_version 1.5.0

load lib

setup() { setup_work; }
teardown() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do kill -KILL "$pid" 2>/dev/null || true; done
    teardown_work
}

# start COMMAND...: a cluster of two workers with that client; end it with `ended SECONDS`.
start() {
    env TEST_WORK="$work" dtask run -n 3 -- "$@" >"$work/cluster.out" 2>"$work/cluster.err" \
        </dev/null 3>&- &
    cluster=$!
}
cluster_ended() { ! kill -0 "$cluster" 2>/dev/null; }
ended() {
    wait_for "the end of the cluster" "$1" cluster_ended
    cluster_code=0
    wait "$cluster" || cluster_code=$?
}

# A client whose tasks wait for the file `go`: two that run, two that wait, one that has failed, and
# one that no worker suits.
functions() {
    cat >client.py <<'END'
import os, time, dtask

def solve(x):
    while not os.path.exists("go"):
        time.sleep(0.05)
    return x

def fail(x):
    raise ValueError("no solution for %d" % x)

client = dtask.Client()
client.wait_for_workers(2, 60)
failed = client.submit(fail, 7)
failed.exception(60)
futures = client.map(solve, range(4))
needs = client.submit(solve, 9, workers=["elsewhere"])
print(failed.key, *(future.key for future in futures), needs.key, flush=True)
open("ready", "w").close()
outcomes = dtask.wait(futures, 120)
print("cancelled", sum(future.cancelled() for future in futures + [needs]), flush=True)
END
    start python3 client.py
    wait_for "tasks" 60 test -e ready
}

@test "explain, status and cancel, by the names that futures have" {
    functions
    expect_line "$work/cluster.out" '^fail-1 solve-2 solve-3 solve-4 solve-5 solve-6$'
    invoke 20 dtask explain solve-2
    expect_code 0
    expect_line "$out" '^solve-2: running on worker \S+( for|, just begun)' 1
    invoke 20 dtask explain 1
    expect_code 0
    expect_line "$out" '^fail-1: failed [0-9.]+ s ago on worker \S+: ValueError: no solution for 7$' 1
    expect_line "$out" '^  ValueError: no solution for 7$' 1
    invoke 20 dtask explain --json solve-3
    expect_code 0
    [[ $(python3 -c 'import json, sys; t = json.load(open(sys.argv[1]))["tasks"]; print(t[0]["name"], len(t))' \
        "$out") == "solve-3 1" ]] || fail "$(<"$out")"
    invoke 20 dtask status
    expect_code 0
    expect_line "$out" '2 of 2 workers, 1 client; tasks: [0-9]+ waiting, 2 running, 0 done, [0-9]+ failed'
    expect_line "$out" ' solve-[0-9] [0-9.:]+' 2
    expect_line "$out" '^failed: fail-1 raised: ValueError: no solution for 7 \(\S+, .* ago\)$' 1
    invoke 20 dtask status --json
    python3 - "$out" <<'END'
import json, sys
info = json.load(open(sys.argv[1]))
assert info["tasks"]["running"] == 2 and info["failures"][0]["name"] == "fail-1", info
assert sorted(t["name"] for w in info["workers"] for t in w["current"]) == ["solve-2", "solve-3"]
assert all(w["memory"] <= w["peak"] and w["cpu"] >= 0 for w in info["workers"]), info
END
    invoke 20 dtask logs fail-1
    expect_code 0
    expect_line "$out" '^Traceback ' 1
    invoke 20 dtask logs -n 1 fail-1
    expect_line "$out" '' 1
    invoke 20 dtask logs solve-2
    expect_code 1
    expect_line "$err" '^dtask logs: solve-2 runs on worker \S+: what a function prints goes to' 1
    invoke 20 dtask cancel solve-4 solve-77
    expect_code 1
    expect_line "$out" '^1 task was cancelled$' 1
    expect_line "$err" '^dtask cancel: solve-77: no task of that name waits or runs$' 1
    invoke 20 dtask cancel --all
    expect_code 0
    expect_line "$out" '^[0-9]+ tasks were cancelled$' 1
    ended 60
    ((cluster_code == 0)) || fail "exit code $cluster_code"
    expect_line "$work/cluster.out" '^cancelled 4$'
}

@test "logs of workers, of the scheduler, and of commands while they run" {
    start dtask map --progress none sh -c 'echo "begun $1"; echo "problem $1" >&2
        while ! test -e go; do sleep 0.05; done; exit "$1"' sh ::: 3 0
    written() { dtask logs sh-1 2>/dev/null | grep -q 'problem 3'; }
    wait_for "what the job has written" 60 written
    invoke 20 dtask logs sh-1
    expect_line "$out" '^begun 3$' 1
    expect_line "$out" '^problem 3$' 1
    worker=$(dtask status --json | python3 -c 'import json, sys; print(json.load(sys.stdin)["workers"][0]["name"])')
    invoke 20 dtask logs "$worker"
    expect_code 0
    expect_line "$out" '^[0-9:]{8} info: serves the scheduler at ' 1
    invoke 20 dtask logs scheduler
    expect_line "$out" '^[0-9:]{8} info: serving at ' 1
    expect_line "$out" ' has come$' 2
    invoke 20 dtask cancel 2
    expect_code 0
    touch go
    ended 60
    ((cluster_code == 1)) || fail "exit code $cluster_code"
    expect_line "$work/cluster.err" 'job 2 failed: cancelled by dtask cancel'
}

@test "stop ends the client, and the step with its code" {
    functions
    invoke 60 dtask stop
    expect_code 0
    expect_line "$out" '^cluster 0\.[0-9]+ has ended$' 1
    ended 30
    ((cluster_code == 143)) || fail "exit code $cluster_code"
    expect_line "$work/cluster.err" 'the step was told to end by dtask stop' 1
    wait_for "that nothing is left" 10 nothing_of_it
    [[ ! -e .dtask ]] || fail "left: $(ls .dtask)"
    # A client that ends as it wants to.
    start sh -c 'trap "exit 7" TERM; touch trapped; while :; do sleep 0.05; done'
    wait_for "the client" 60 test -e trapped
    invoke 60 dtask stop
    expect_code 0
    ended 30
    ((cluster_code == 7)) || fail "exit code $cluster_code"
}
nothing_of_it() { [[ -z $(processes_with TEST_WORK "$work") ]]; }

@test "no cluster, and wrong use: one line each, exit code 2" {
    local words
    for words in status top 'explain f-1' 'logs f-1' 'cancel f-1' stop; do
        # shellcheck disable=SC2086
        invoke 20 dtask $words
        expect_code 2
        expect_line "$err" "^dtask ${words%% *}: .*scheduler file|^dtask ${words%% *}: .*\.dtask" 1
        # shellcheck disable=SC2086
        invoke 20 dtask $words --scheduler-file nowhere.json
        expect_code 2
        expect_line "$err" "^dtask ${words%% *}: .*nowhere\.json" 1
    done
    invoke 20 dtask explain
    expect_code 2
    invoke 20 dtask explain solve
    expect_code 2
    expect_line "$err" '"solve" is no name of a task; accepted: FUNCTION-NUMBER or NUMBER' 1
    invoke 20 dtask cancel
    expect_code 2
    expect_line "$err" '^dtask cancel: accepted are names of tasks, or --all$' 1
    invoke 20 dtask cancel --all f-1
    expect_code 2
    expect_line "$err" 'not both' 1
    for words in 'top --delay 0' 'top -d x' 'stop --timeout 0' 'logs -n 0 f-1' 'logs -n -1 f-1'; do
        # shellcheck disable=SC2086
        invoke 20 dtask $words
        expect_code 2
        expect_line "$err" '^dtask: ' 1
    done
}

@test "no such task or worker: one line, exit code 1" {
    functions
    invoke 20 dtask explain solve-99
    expect_code 1
    expect_line "$err" '^dtask explain: no task is called solve-99' 1
    invoke 20 dtask logs nobody
    expect_code 1
    expect_line "$err" "^dtask logs: no worker is called nobody; accepted: a worker's name" 1
    invoke 20 dtask logs solve-99
    expect_code 1
    invoke 20 dtask cancel 99
    expect_code 1
    expect_line "$out" '^0 tasks were cancelled$' 1
    invoke 20 dtask cancel 5
    expect_code 0
    touch go
    ended 60
    ((cluster_code == 0)) || fail "exit code $cluster_code"
}
