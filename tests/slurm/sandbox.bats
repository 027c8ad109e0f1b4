# SPDX-License-Identifier: Apache-2.0
# The sandbox itself: what all other tests here stand on.

bats_require_minimum_version 1.5.0

needs_plugin=
load lib

# A test that fails leaves no sandbox of its own behind.
teardown() {
    local mark
    for mark in "$work"/*/dtask-sandbox; do
        [[ ! -f $mark ]] || DTASK_SANDBOX=${mark%/*} "$sandbox" down || true
    done
    teardown_step
}

up_fast() { below "$(since "$1")" 5; }

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

@test "a step starts without delay" {
    local began
    srun true
    began=$(now)
    srun -N4 -n8 true
    below "$(since "$began")" 5 || fail "took $(since "$began") s"
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
    # slurmctld may not have heard of a node for a moment yet, though it runs steps.
    wait_for "a sandbox that is up" 60 "$sandbox" status
    # A daemon that was told to end has taken its pid file along.
    pid=$DTASK_SANDBOX/run/slurmctld.pid
    kill -TERM "$(<"$pid")"
    wait_for "the end of slurmctld" 20 test ! -e "$pid"
    run -0 "$sandbox" down
    [[ ! -e $DTASK_SANDBOX ]]
    run -3 "$sandbox" status
}

@test "a shape of its own: so many nodes, CPUs and memory" {
    export DTASK_SANDBOX=$work/shaped
    "$sandbox" up --nodes 2 --cpus 128 --memory=512000
    run -0 "$sandbox" run -- sinfo -h -N -o '%c %m'
    [[ $output == "128 512000"$'\n'"128 512000" ]] || fail "$output"
    # More than this machine has.
    run -0 "$sandbox" run -- srun -n1 -c100 --mem-per-cpu=3850 sh -c 'echo $SLURM_CPUS_PER_TASK'
    [[ $output == 100 ]] || fail "$output"
    # What is not given stays.
    "$sandbox" up --memory 6000,500
    run -0 "$sandbox" run -- sinfo -h -N -o '%c %m'
    [[ $output == "128 6000"$'\n'"128 500" ]] || fail "$output"
    run -0 "$sandbox" down
}

@test "hosts: two interfaces, their own /tmp, names that do not resolve, and no trace after" {
    export DTASK_SANDBOX=$work/hosts
    local nodes slot link pid spaces
    "$sandbox" up --hosts --nodes 2
    read -r slot _ <"$DTASK_SANDBOX/dtask-sandbox"
    link=/sys/class/net/dtsb$slot
    [[ -e $link ]]
    run -0 "$sandbox" run -- srun -N2 sh -c 'hostname; getent hosts "$(hostname)"; ip -4 -br addr; : >/tmp/mine; ls -d /tmp/mine "$0"; true' "$work/out"
    [[ $output == *"10.77.$slot.1/24"* && $output == *"10.77.$slot.2/24"* ]] || fail "$output"
    [[ $output == *"10.78.$slot.1/24"* && $output == *"10.78.$slot.2/24"* ]] || fail "$output"
    [[ $(grep -c '^/tmp/mine$' <<<"$output") == 2 && ! -e /tmp/mine ]] || fail "/tmp is shared: $output"
    ! grep -qx "$work/out" <<<"$output" || fail "/tmp is this machine's"
    nodes=$(grep -xE '[a-z][0-9]' <<<"$output" | sort)
    [[ $(wc -w <<<"$nodes") == 2 ]] || fail "names: $output"

    # From host to host, by both networks, and not from outside by the fast one.
    # shellcheck disable=SC2086 # a word each
    set -- $nodes
    run -0 timeout 20 "$sandbox" on "$1" bash -c 'exec 3<>/dev/tcp/$0/$1' "10.77.$slot.2" "$((17002 + 100 * slot))"
    run -0 timeout 20 "$sandbox" on "$1" bash -c 'exec 3<>/dev/tcp/$0/$1' "10.78.$slot.2" "$((17002 + 100 * slot))"
    run ip route get "10.78.$slot.2"
    [[ $output != *"dtsb$slot"* ]] || fail "$output"

    # Without the switch there is no network, and a host may die with all that is in it.
    for pid in switch "host-$1"; do
        kill -KILL "$(<"$DTASK_SANDBOX/run/$pid.pid")"
        run -3 "$sandbox" status
        run -0 "$sandbox" run -- srun -N2 sh -c 'ip -4 -br addr show ib0'
        [[ $output == *"10.78.$slot.1/24"* && $output == *"10.78.$slot.2/24"* ]] || fail "$output"
    done

    spaces=$(for pid in "$DTASK_SANDBOX"/run/{switch,host-*}.pid; do stat -Lc %i "/proc/$(<"$pid")"/ns/net; done)
    [[ $(wc -w <<<"$spaces") == 3 ]] || fail "namespaces: $spaces"
    run -0 "$sandbox" down
    [[ ! -e $DTASK_SANDBOX && ! -e $link ]] || fail "left: $(ls -d "$DTASK_SANDBOX" "$link")"
    run grep -salF "$work/hosts/" /proc/[0-9]*/cmdline
    [[ -z $output ]] || fail "left: $output"
    no_namespaces() { ! lsns -n -t net -o NS | grep -qwF "$spaces"; }
    wait_for "the end of the namespaces" 20 no_namespaces
}

@test "a mark that names another sandbox's slot: another slot is taken, the other goes on" {
    export DTASK_SANDBOX=$work/stale
    local slot
    read -r slot _ <"${SLURM_CONF%/*}/dtask-sandbox"
    srun -J "$name" sleep 300 &
    wait_for "a running job" 30 running_job
    mkdir "$DTASK_SANDBOX"
    echo "$slot 2 8 8000 no" >"$DTASK_SANDBOX/dtask-sandbox"
    run -0 "$sandbox" down
    running_job || fail "down ended another sandbox's job"

    mkdir "$DTASK_SANDBOX"
    echo "$slot 2 8 8000 no" >"$DTASK_SANDBOX/dtask-sandbox"
    "$sandbox" up
    run -0 "$sandbox" run -- sinfo -h -N -o %N
    [[ $output != "$(sinfo -h -N -o %N)"* ]] || fail "the same names: $output"
    run -0 "$sandbox" down
    running_job || fail "the job of the other sandbox has ended"
    scancel -n "$name"
}

@test "bad arguments: one line, non-zero" {
    for words in "up --nodes 0" "up --nodes x" "up --nodes" "up --nodes 65" "up twice" \
        "up --cpus=0" "up --cpus 4096" "up --memory 8G" "up --memory 8,x" "up --hosts=2" "on" "on n1" "run" "run --" "fly"; do
        # shellcheck disable=SC2086
        run --separate-stderr "$sandbox" $words
        ((status != 0)) || fail "$words was accepted"
        [[ ${stderr_lines[-1]} == sandbox:* ]] || fail "$words: $stderr"
    done
    [[ ${#stderr_lines[@]} -gt 0 ]]
    run --separate-stderr "$sandbox" up --memory 8G
    [[ $stderr == "sandbox: up: --memory '8G': accepted is a number from 1 to 16000000, or several with commas" ]] || fail "$stderr"
}

@test "a directory that is no sandbox is not touched" {
    mkdir theirs
    echo precious >theirs/file
    DTASK_SANDBOX=$work/theirs run -1 "$sandbox" up
    DTASK_SANDBOX=$work/theirs run -1 "$sandbox" down
    [[ $(<theirs/file) == precious ]]
}
