# SPDX-License-Identifier: Apache-2.0
# Client.map(journal=) on a cluster: the client, or the scheduler, is killed in the midst; a second
# run makes the calls that are missing. The file is one of `dtask map`, too.

bats_require_minimum_version 1.5.0

load lib

setup() {
    setup_work
    # Each call appends its number to `ran`, those from 150 on where `all` is; every tenth result is too large to travel with its
    # report, so that it stays on the worker. The client tells of each result that it has.
    cat >client.py <<'END'
import os
import sys
import time

import dtask


def call(number, work):
    time.sleep(0.02)
    while number >= 150 and not os.path.exists(os.path.join(work, "all")):
        time.sleep(0.02)
    file = os.open(os.path.join(work, "ran"), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o666)
    os.write(file, b"%d\n" % number)
    os.close(file)
    return [number] * (20_000 if number % 10 == 0 else 1)


with dtask.Client() as client:
    work = os.getcwd()
    futures = client.map(call, range(200), [work] * 200, journal="journal", progress=False)
    for number, future in enumerate(futures):
        result = future.result(100)
        assert result[0] == number and len(result) == (20_000 if number % 10 == 0 else 1)
        with open("told", "a") as file:
            file.write(f"{number}\n")
END
}
teardown() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do kill -KILL "$pid" 2>/dev/null || true; done
    teardown_work
}

# The processes whose command line begins with this.
of_ours() {
    local pid
    for pid in $(processes_with TEST_WORK "$work"); do
        ! tr '\0' ' ' <"/proc/$pid/cmdline" | grep -q "$1" || echo "$pid"
    done
}
none_of_ours() { [[ -z $(processes_with TEST_WORK "$work") ]]; }
so_many() { [[ -e $1 ]] && (($(wc -l <"$1") >= $2)); }

# killed PATTERN COUNT RUN: a run in which that process is killed when COUNT results are told. Leaves
# what ran in it, and what its client was told, in ran.RUN and told.RUN.
killed() {
    TEST_WORK="$work" dtask run -n 3 -- python3 client.py >"$out" 2>"$err" &
    local run=$!
    wait_for "$2 results" 100 so_many told "$2"
    # shellcheck disable=SC2046
    kill -KILL $(of_ours "$1")
    code=0
    wait "$run" || code=$?
    ((code != 0)) || fail "exit code 0"
    wait_for "the end of it all" 30 none_of_ours
    mv ran "ran.$3"
    mv told "told.$3"
}
# none_again RUN EARLIER...: what a client had is in the journal before it has it, so that no later
# run makes it again.
none_again() {
    local again
    again=$(sort -u "ran.$1" | comm -12 - <(sort -u "${@:2}") | wc -l)
    ((again == 0)) || fail "run $1: $again calls ran again after their results were told"
}

@test "killed and run again: what was told is not run again, and all results are right" {
    killed '^python3 client.py' 50 1
    killed '^dtaskd scheduler' 120 2
    touch all
    invoke 100 env TEST_WORK="$work" dtask run -n 3 -- python3 client.py
    expect_code 0
    diff <(seq 0 199) told
    mv ran ran.3
    diff <(seq 0 199) <(sort -nu ran.1 ran.2 ran.3)
    none_again 2 told.1
    none_again 3 told.1 told.2

    # It is the commands' form of file, and nothing of it is theirs.
    invoke 60 dtask run -n 2 -- dtask map --journal journal --resume echo ::: 1
    expect_code 0
    expect_line "$out" '^1$'
    # A run in which nothing is left to do.
    invoke 100 env TEST_WORK="$work" dtask run -n 3 -- python3 client.py
    expect_code 0
    [[ ! -e ran ]] || fail "$(wc -l <ran) calls ran again"
}
