# SPDX-License-Identifier: Apache-2.0
# The page of a step, and its report.

bats_require_minimum_version 1.5.0

load lib

# page PATH [CURL ARGS...]: the status and then the body.
page() { curl -sS -m 60 -w '%{stderr}%{http_code}\n' "${@:2}" "${url%%\?*}${1#/}" 2>"$work/status"; }
status_is() { [[ $(<"$work/status") == "$1" ]] || fail "status $(<"$work/status"), expected $1"; }
announced() { grep -q '^dtask: dashboard: ' "$err"; }
one_done() {
    page /metrics -H "Authorization: Bearer $key" >metrics
    status_is 200
    grep -qE '^dtask_tasks_ended_total\{outcome="done"\} [1-9]' metrics
}

@test "a page for who has its key, whose numbers are dtask status's; a report in a file and in words" {
    local url key token
    start_step -N2 -n3 --cpus-per-task=2 --mem-per-cpu=150 --dtask-dashboard \
        --dtask-report=report-%J.html --dtask-wait=all python3 "$clients/where.py" hold "$work/go"
    wait_for "the page's address" 60 announced
    expect_line "$err" '^dtask: dashboard: http://[0-9.]+:[0-9]+/\?token=[0-9a-f]{32}$' 1
    url=$(sed -n 's/^dtask: dashboard: //p' "$err")
    key=${url##*=}
    wait_for "tasks" 60 one_done
    grep -qF "\"dashboard\": \"$url\"" .dtask/"$job".0.json
    token=$(sed -n 's/.*"token": "\(.*\)",/\1/p' .dtask/"$job".0.json)

    for wrong in "${key//[0-9]/a}" "$token"; do
        page /status -H "Authorization: Bearer $wrong" >answer
        status_is 401
        page "/?token=$wrong" >answer
        status_is 401
    done
    page / >answer
    status_is 401
    curl -sS -m 60 -L -c jar "$url" >answer
    grep -q '<title>dtask</title>' answer
    page /status -b jar >status.json
    status_is 200
    as_user dtask status --json --scheduler-file .dtask/"$job".0.json >said.json
    as_user dtask status --scheduler-file .dtask/"$job".0.json >said
    expect_line said "^page: ${url//\?/\\?}$" 1
    python3 - said.json status.json "$key" <<'END'
import json, sys
said, shown = (json.load(open(name)) for name in sys.argv[1:3])
for name in ("id", "engine", "address", "expected"):
    assert said[name] == shown[name], name
assert said["dashboard"].endswith(sys.argv[3])
assert said["tasks"]["done"] == shown["tasks"]["done"]
names = lambda state: [(w["name"], w["node"], w["memory_limit"]) for w in state["workers"]]
assert names(said) == names(shown) and len(names(said)) == 2
END
    grep -qE '^dtask_worker_memory_limit_bytes\{worker="\S+",node="\S+2"\} [1-9]' metrics

    : >"$work/go"
    end_step 60
    expect_code 0
    expect_line "$err" "^dtask: step $job\.0 took [0-9.:]+( s)?: [0-9]+ tasks done, 0 failed$" 1
    expect_line "$err" '^dtask: efficiency [0-9]+ %: [0-9.]+ of 6 CPUs were used on average$' 1
    expect_line "$err" '^dtask: memory: the largest peak was [0-9.]+M of the limit of ' 1
    expect_line "$err" '^dtask: next time: --mem-per-cpu=[0-9]+M would have been enough' 1
    grep -qF "\"id\":\"$job.0\"" "report-$job.0.html"
    nothing_left 20
}

@test "a wrong switch is refused by srun, and a report that has nowhere to be by the step" {
    step --dtask-dashboard=maybe -N1 -n2 true
    ((code != 0)) || fail "was accepted"
    expect_line "$err" '--dtask-dashboard=maybe: neither on nor off; accepted: on or off' 1
    step --dtask-report=nowhere/r.html -N1 -n2 true
    expect_code 2
    expect_line "$err" '--dtask-report=nowhere/r.html: .*No such file or directory' 1
    nothing_left 20
}
