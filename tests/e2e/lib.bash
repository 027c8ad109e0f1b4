# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash
#
# What the tests of whole programs share: where things are, bounded waits, and a count of what a
# cluster may leave behind. `load lib` in tests/e2e; tests/slurm/lib.bash builds on it.
#
# Every test has a directory of its own, $work, which is its current directory and open to all
# users, and a scratch directory, $TMPDIR, which must be empty when its cluster has ended. A file
# may set `work_below` to have them below another directory than /tmp.

#
# DTASK_TEST_SLOW=N says that this machine is N times slower than the bounds are made for: each of
# wait_for, invoke and below is N times as long then.

tree=$(cd "$(dirname "${BASH_SOURCE[0]}")/../.." && pwd -P)
build=${DTASK_BUILD:-$tree/build}
export PATH=$build:${DTASK_SLURM:+$DTASK_SLURM/sbin:$DTASK_SLURM/bin:}/usr/sbin:/usr/bin:/sbin:/bin:$PATH
export PYTHONPATH=$tree/python PYTHONDONTWRITEBYTECODE=1 LC_ALL=C.UTF-8

slowness=${DTASK_TEST_SLOW:-1}
[[ $slowness =~ ^[1-9][0-9]?$ ]] || {
    echo "DTASK_TEST_SLOW='$slowness': accepted is a number from 1 to 99" >&2
    exit 2
}

# Nothing of a cluster that the tests themselves might run in.
for variable in $(compgen -v DTASK_ || true); do
    [[ $variable == @(DTASK_SANDBOX|DTASK_BUILD|DTASK_SLURM|DTASK_TEST_*) ]] || unset "$variable"
done
unset variable

setup_work() {
    work=$(mktemp -d "${work_below:-/tmp}/dtask-test.XXXXXXXX")
    chmod 1777 "$work"
    mkdir -m 1777 "$work/tmp"
    export TMPDIR=$work/tmp
    cd "$work" || return 1
    out=$work/out err=$work/err
    : >"$out"
    : >"$err"
    chmod 666 "$out" "$err"
    shm_before=$(shared_memory)
}

# What the cluster said is shown where the test failed.
teardown_work() {
    local file
    if [[ -z ${BATS_TEST_COMPLETED:-} ]]; then
        for file in "$out" "$err"; do
            echo "--- ${file##*/}"
            tail -n 30 "$file"
        done
    fi
    cd /
    rm -rf "$work"
}

# fail MESSAGE: ends the test.
fail() {
    printf '%s\n' "$*" >&2
    return 1
}

# wait_for "what" SECONDS COMMAND...: polls every 50 ms until COMMAND succeeds.
wait_for() {
    local what=$1 limit=$((${2%.*} * slowness)) deadline
    shift 2
    deadline=$((${EPOCHREALTIME/./} + limit * 1000000))
    until "$@" >/dev/null 2>&1; do
        ((${EPOCHREALTIME/./} < deadline)) || {
            fail "after $limit s: $what did not happen ($*)"
            return 1
        }
        sleep 0.05
    done
}

# Moments and spans in seconds, with fractions: `since MOMENT`, `below SPAN LIMIT`, where LIMIT is
# what a machine of usual speed may take.
now() { printf '%s' "$EPOCHREALTIME"; }
since() { awk "BEGIN { printf \"%.3f\", $EPOCHREALTIME - $1 }"; }
below() { awk "BEGIN { exit !($1 < $2 * $slowness) }"; }

# invoke SECONDS COMMAND...: output in $out and $err, exit code in $code. COMMAND may begin with
# the function as_user, where there is one.
invoke() {
    local limit=$(($1 * slowness)) prefix=()
    shift
    if [[ $1 == as_user ]]; then
        prefix=(as_user)
        shift
    fi
    code=0
    "${prefix[@]}" timeout --kill-after=5 "$limit" "$@" >"$out" 2>"$err" </dev/null || code=$?
    ((code != 124)) || fail "not done in $limit s: $*"
}

# expect_code N
expect_code() { ((code == $1)) || fail "exit code $code, expected $1"; }

# expect_line FILE REGEX [TIMES]: FILE has a line (TIMES lines) that matches.
expect_line() {
    local found
    found=$(grep -cE -- "$2" "$1" || true)
    if [[ -n ${3:-} ]]; then
        ((found == $3)) || fail "${1##*/}: $found lines match '$2', expected $3"
    else
        ((found > 0)) || fail "${1##*/}: no line matches '$2'"
    fi
}

# field NAME: the value of a line `NAME VALUE` that a test's client printed.
field() { awk -v name="$1" '$1 == name { sub(/^[^ ]+ /, ""); print; exit }' "$out"; }
has_field() { [[ -n $(field "$1") ]]; }

# Process ids whose environment has the line NAME=VALUE, but for zombies and for bats itself.
processes_with() {
    local file pid
    while read -r file; do
        pid=${file#/proc/} pid=${pid%/environ}
        [[ $pid != "$$" && -e /proc/$pid/exe ]] || continue
        printf '%s\n' "$pid"
    done < <(grep -lzxF -- "$1=$2" /proc/[0-9]*/environ 2>/dev/null)
}

shared_memory() { find /dev/shm -mindepth 1 | sort; }

# Files that are left in the scratch directory, connection files, shared memory.
left_files() {
    find "$TMPDIR" -mindepth 1
    find "$work/.dtask" -type f 2>/dev/null
    comm -13 <(printf '%s\n' "$shm_before") <(shared_memory)
}
