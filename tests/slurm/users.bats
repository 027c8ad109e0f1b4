# SPDX-License-Identifier: Apache-2.0
# Another user of the same machine, made for this: he gets into nobody's cluster, and sees no token,
# no key and no connection file.

bats_require_minimum_version 1.5.0

load lib

setup_file() {
    local slot
    setup_sandbox
    [[ $step_user != root ]] || skip "the steps run as root, who may do anything"
    read -r slot _ <"${SLURM_CONF%/*}/dtask-sandbox"
    export other=dtask-other$slot
    id "$other" >/dev/null 2>&1 || useradd --system --no-create-home --no-user-group \
        --gid nogroup --shell /usr/sbin/nologin "$other"
}

teardown_file() {
    [[ -z ${other:-} ]] || userdel "$other"
    teardown_sandbox
}

as_other() { setpriv --reuid="$other" --regid="$(id -g "$other")" --init-groups env HOME=/tmp "$@"; }

# All ports on which processes of the step listen.
listening() {
    local pids
    pids=$("$tree/tests/slurm/processes" "$job" | sed -E 's/^([0-9]+).*/pid=\1,/')
    ss -Htlnp | grep -F "$pids" | awk '{ n = split($4, part, ":"); print part[n] }' | sort -un
}

# start_victim ENGINE
start_victim() {
    start_step --dtask="$1" -N1 -n3 --mem-per-cpu=250 --dtask-wait=all \
        python3 "$clients/where.py" hold "$work/go"
    wait_for "the victim's cluster" 120 has_field host
}

end_victim() {
    : >"$work/go"
    end_step 60
    expect_code 0
    expect_line "$out" '^squares 328350$' 1
    nothing_left 20
}

# intrude ENGINE WAYS: a step of the other user, whose client tries WAYS ways at each port.
intrude() {
    local ports own=$work/own refused
    mapfile -t ports < <(listening)
    ((${#ports[@]} >= 3)) || fail "the victim listens at ${ports[*]} only"
    mkdir -m 1777 "$own"
    # shellcheck disable=SC2034 # expect_code looks at it
    code=0
    (cd "$own" && TMPDIR=$own as_other timeout 150 srun -J "$name-other" --dtask="$1" -N1 -n3 \
        --mem-per-cpu=250 python3 "$clients/intruder.py" "${ports[@]}") \
        >"$own/out" 2>"$own/err" </dev/null || code=$?
    cat "$own/out" "$own/err"
    expect_line "$own/out" '^own native '
    [[ $1 == native ]] || expect_line "$own/out" '^own tls ' 3
    expect_line "$own/out" '^IN ' 0
    refused=$(($2 * ${#ports[@]}))
    expect_line "$own/out" "^refused $refused of $refused$"
    expect_code 0
}

# Nothing of the victim's can be read: files on disk, in shared memory, and what /proc shows.
closed_to_others() {
    local pid file token found=0
    token=$(tr '\0' '\n' <"/proc/$(one_process launcher 1)/environ" | grep -oE '[0-9a-f]{64}' | head -n 1)
    [[ -n $token ]] || fail "the token of the step is not known"
    while read -r file; do
        found=$((found + 1))
        as_user test -r "$file" || fail "$file: its own user cannot read it"
        ! as_other cat "$file" >/dev/null 2>&1 || fail "another user reads $file"
    done < <(find "$TMPDIR" "$work/.dtask" /dev/shm -user "$step_user" -type f)
    ((found >= ${1})) || fail "only $found files: there is nothing to look at"
    for pid in $(processes); do
        for file in environ mem maps; do
            ! as_other head -c 1 "/proc/$pid/$file" >/dev/null 2>&1 ||
                fail "another user reads /proc/$pid/$file"
        done
        ! as_other ls "/proc/$pid/fd" >/dev/null 2>&1 || fail "another user sees /proc/$pid/fd"
    done
    # Command lines are there for everybody.
    run as_other grep -salF -- "$token" /proc/[0-9]*/cmdline
    [[ -z $output ]] || fail "the token is in a command line: $output"
    run as_other scontrol -dd show job "$job"
    [[ $output == *"JobId=$job "* && $output != *"$token"* ]] || fail "scontrol: $output"
}

@test "native: another user neither connects nor reads" {
    start_victim native
    closed_to_others 1
    intrude native 2
    end_victim
}

@test "dask: another user neither connects, by TLS of his own or without, nor reads" {
    start_victim dask
    closed_to_others 7 # three tasks' certificates and keys, and the scheduler file
    intrude dask 4
    end_victim
}

@test "a function neither raises its limit nor leaves its group" {
    step -N1 -n2 --cpus-per-task=2 --mem-per-cpu=100 --dtask-slots=overlap python3 "$clients/escape.py"
    expect_code 0
    expect_line "$out" '^limit [1-9][0-9]*$' 1
    expect_line "$out" '^OUT ' 0
    # Nothing is shown where nothing was tried.
    (($(field tried) >= 6)) || fail "only $(field tried) ways were tried"
    [[ $(field user) == "$(id -u "$step_user")" ]] || fail "runs as $(field user)"
    nothing_left
}
