# SPDX-License-Identifier: Apache-2.0
# The sandbox itself: what all other tests here stand on.

bats_require_minimum_version 1.5.0

needs_plugin=
load lib

up_fast() { below "$(since "$1")" 2; }

@test "up is quick when it is up, and says nothing" {
    local began
    began=$(now)
    run -0 "$sandbox" up
    [[ -z $output ]]
    up_fast "$began" || fail "took $(since "$began") s"
}

@test "run keeps exit code, stdin, arguments and directory" {
    run -7 "$sandbox" run -- sh -c 'exit 7'
    run -0 "$sandbox" run -- sh -c 'cat; pwd; printf "%s|" "$@"' sh 'a b' '' < <(echo in)
    [[ $output == "in"$'\n'"$PWD"$'\n'"a b||" ]] || fail "$output"
}

@test "run sets what Slurm, dtask and Python need" {
    run -0 env -u SLURM_CONF -u PYTHONPATH PATH=/bin "$sandbox" run -- \
        sh -c 'command -v python3; command -v srun; echo "$SLURM_CONF"; python3 -c "import dtask; print(dtask.__file__)"'
    [[ ${lines[0]} == /usr/bin/python3 || ${lines[0]} == /bin/python3 ]] || fail "${lines[0]}"
    [[ ${lines[2]} == "$SLURM_CONF" ]] || fail "${lines[2]}"
    [[ ${lines[3]} == "$tree/python/dtask/__init__.py" ]] || fail "${lines[3]}"
}

@test "four nodes of 8 CPUs and 8000 MB, whose names do not resolve" {
    run -0 sinfo -h -N -o '%N %c %m'
    [[ ${#lines[@]} == 4 ]]
    for line in "${lines[@]}"; do
        [[ $line == *' 8 8000' ]] || fail "$line"
        run -2 getent hosts "${line%% *}"
    done
}

@test "a step on all nodes, for root and for an ordinary user" {
    run -0 srun -N4 -n8 sh -c 'echo $SLURMD_NODENAME'
    [[ $(sort -u <<<"$output" | wc -l) == 4 && ${#lines[@]} == 8 ]] || fail "$output"
    run_srun 20 -N4 -n8 id -un
    expect_line "$out" "^$step_user$" 8
}

@test "a step starts in well under a second" {
    local began
    srun true
    began=$(now)
    srun -N4 -n8 true
    below "$(since "$began")" 1.5 || fail "took $(since "$began") s"
}

@test "Slurm's own cgroups: a memory limit for the step, none for a task" {
    [[ -e /sys/fs/cgroup/memory/tasks ]] || skip "cgroup v2"
    run_srun 20 -N1 -n1 --mem=300 sh -c '
        at=/sys/fs/cgroup/memory$(sed -n "s/.*:memory://p" /proc/self/cgroup)
        cat $at/memory.limit_in_bytes $at/../memory.limit_in_bytes'
    run -0 cat "$out"
    ((lines[0] > 1 << 50 && lines[1] == 300 << 20)) || fail "$output"
    nothing_left
}

@test "a second sandbox stands beside the first, and goes without a trace" {
    local second=$work/second
    export DTASK_SANDBOX=$second
    "$sandbox" up --nodes 2
    run -0 "$sandbox" run -- srun -N2 sh -c 'echo $SLURMD_NODENAME'
    [[ ${#lines[@]} == 2 ]]
    local other=$output
    run -0 env SLURM_CONF="${SLURM_CONF}" srun -N2 sh -c 'echo $SLURMD_NODENAME'
    [[ -z $(comm -12 <(sort <<<"$other") <(sort <<<"$output")) ]] || fail "they share node names"
    # Down in the midst of a job of its own.
    "$sandbox" run -- sbatch --wrap 'srun sleep 300' -o /dev/null
    run -0 "$sandbox" down
    [[ ! -e $second ]] || fail "its directory is left"
    run grep -salF "$second/" /proc/[0-9]*/cmdline
    [[ -z $output ]] || fail "left: $output"
    for node in $other; do
        run find /sys/fs/cgroup -maxdepth 2 -name "slurm_$node"
        [[ -z $output ]] || fail "left: $output"
    done
    # A second `down` is harmless, and the first sandbox still works.
    run -0 "$sandbox" down
    DTASK_SANDBOX='' run -0 srun hostname
}

@test "up mends what has died" {
    export DTASK_SANDBOX=$work/mended
    "$sandbox" up --nodes 2
    local pid
    for daemon in slurmctld munged; do
        kill -KILL "$(<"$DTASK_SANDBOX/run/$daemon.pid")"
        run -0 "$sandbox" run -- srun -N2 true
    done
    for pid in "$DTASK_SANDBOX"/run/slurmd-*.pid; do kill -KILL "$(<"$pid")"; done
    run -3 "$sandbox" status
    run -0 "$sandbox" run -- srun -N2 true
    run -0 "$sandbox" status
    # A daemon that was told to end has taken its pid file along.
    pid=$DTASK_SANDBOX/run/slurmctld.pid
    kill -TERM "$(<"$pid")"
    wait_for "the end of slurmctld" 20 test ! -e "$pid"
    run -0 "$sandbox" down
    [[ ! -e $DTASK_SANDBOX ]]
    run -3 "$sandbox" status
}

@test "bad arguments: one line, non-zero" {
    for words in "up --nodes 0" "up --nodes x" "up --nodes" "up twice" "run" "run --" "fly"; do
        # shellcheck disable=SC2086
        run --separate-stderr "$sandbox" $words
        ((status != 0)) || fail "$words was accepted"
        [[ ${stderr_lines[-1]} == sandbox:* ]] || fail "$words: $stderr"
    done
}

@test "a directory that is no sandbox is not touched" {
    mkdir theirs
    echo precious >theirs/file
    DTASK_SANDBOX=$work/theirs run -1 "$sandbox" up
    DTASK_SANDBOX=$work/theirs run -1 "$sandbox" down
    [[ $(<theirs/file) == precious ]]
}
