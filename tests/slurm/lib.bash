# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC1091,SC2034,SC2154
#
# What the tests on real Slurm share. Steps run as an ordinary user where that user can read the
# tree, for root may do what no user may; DTASK_TEST_USER=root says otherwise.
#
# step ARGS...            srun --dtask ARGS..., waits: $out, $err, $code, $job
# start_step ARGS...      the same in the background; end it with `end_step SECONDS`
# batch SECONDS SCRIPT... sbatch SCRIPT..., waits for the job's end: $out, $err, $code, $job
# nothing_left SECONDS    no process, cgroup, file or shared memory of $job remains
# node_with NODE COMMANDS what the steps of a node see of files, changed
#
# What a file may set before it loads this: needs_plugin= (empty), if its tests need none; and
# sandbox_shape=(--hosts --nodes 2 ...), to have a sandbox of that shape for itself while it runs.
# DTASK_TEST_KEEP=1 leaves such a sandbox up. A file with a setup, teardown, setup_file or
# teardown_file of its own calls setup_step, teardown_step, setup_sandbox or teardown_sandbox there.

source "$(dirname "${BASH_SOURCE[0]}")/../e2e/lib.bash"
clients=$tree/tests/slurm/clients
sandbox=$tree/tests/slurm/sandbox
kill_wait=5 # KillWait of the sandbox
[[ -v sandbox_shape ]] || sandbox_shape=()

# Hosts have shared memory of their own; this machine's is nothing to them.
if [[ " ${sandbox_shape[*]} " == *" --hosts "* ]]; then
    shared_memory() {
        local node
        for node in $(sinfo -h -N -o %N | sort -u); do
            "$sandbox" on "$node" find /dev/shm -mindepth 1 -printf "$node:%p\n"
        done | sort
    }
fi

setup_sandbox() {
    if ((${#sandbox_shape[@]})); then
        eval "$("$sandbox" env)"
        export DTASK_SANDBOX=$DTASK_SANDBOX.${BATS_TEST_FILENAME##*/}
    fi
    "$sandbox" up "${sandbox_shape[@]}"
    eval "$("$sandbox" env)"
    [[ -z ${needs_plugin-yes} ]] || grep -q dtask.so "${SLURM_CONF%/*}/plugstack.conf" || {
        echo "the plugin is not built: no dtask.so in $build/spank" >&2
        return 1
    }
    step_user=${DTASK_TEST_USER:-nobody}
    if ! setpriv --reuid="$step_user" --clear-groups --regid=65534 test -r "$tree/python/dtask/__init__.py"; then
        echo "# $step_user cannot read $tree: the steps run as root" >&3
        step_user=root
    fi
    export step_user
}

teardown_sandbox() {
    [[ ${#sandbox_shape[@]} == 0 || -n ${DTASK_TEST_KEEP:-} ]] || "$sandbox" down
}

setup_step() {
    setup_work
    name=dt-$BATS_SUITE_TEST_NUMBER-$$
    job='' step_pid=''
}

teardown_step() {
    [[ -z $(jobs_named "$name") ]] || jobs_named "$name" | xargs -r scancel
    [[ -z $step_pid ]] || kill "$step_pid" 2>/dev/null || true
    teardown_work
}

setup_file() { setup_sandbox; }
teardown_file() { teardown_sandbox; }
setup() { setup_step; }
teardown() { teardown_step; }

# as_user COMMAND...: as the user whose steps these are.
as_user() {
    if [[ $step_user == root ]]; then
        "$@"
    else
        setpriv --reuid="$step_user" --regid="$(id -g "$step_user")" --init-groups env HOME=/tmp "$@"
    fi
}

jobs_named() { squeue -h -n "$1" -o %A; }
# Of a job that runs or ran lately.
job_of() { scontrol -o show jobs | sed -n "s/^JobId=\([0-9]*\) .*JobName=$1 .*/\1/p" | tail -n 1; }
job_ended() { [[ $(job_field "$job" JobState) != @(PENDING|RUNNING|COMPLETING) ]]; }
job_field() { scontrol -o show job "$1" | grep -oP "(?<=\b$2=)\S+" | head -n 1; }
# Slurm's verdict on $job, once it is past COMPLETING.
expect_state() {
    wait_for "the verdict on job $job" 20 job_ended
    [[ $(job_field "$job" JobState) == "$1" ]] || fail "$(job_field "$job" JobState), expected $1"
}
next_job() { scontrol show config | awk '$1 == "NEXT_JOB_ID" { print $3 }'; }

# The request of most tests: 8 tasks of 4 CPUs on 4 nodes, two on each; DTASK_TEST_NODES has less.
# A worker of 4 CPUs has worker_mb, and DTASK_TEST_MB of each CPU has less.
nodes=${DTASK_TEST_NODES:-4}
mb_per_cpu=${DTASK_TEST_MB:-50}
worker_mb=$((4 * mb_per_cpu))
last_task=$((2 * nodes - 1))
request=(-N"$nodes" -n$((2 * nodes)) --cpus-per-task=4 --mem-per-cpu="$mb_per_cpu")

# in_force MB STEP_MB TASKS: bytes of the limit of a worker that was given MB, where the step has
# STEP_MB on the node for so many tasks: on cgroup v2 room is left below Slurm's own.
in_force() {
    local bytes=$(($1 << 20)) step=$(($2 << 20)) room share
    room=$((step / 50 > 16 << 20 ? step / 50 : 16 << 20))
    share=$(((step - room) / $3 / 4096 * 4096))
    if [[ -e /sys/fs/cgroup/cgroup.controllers ]] && ((share < bytes)); then bytes=$share; fi
    echo "$bytes"
}

# run_srun SECONDS ARGS...: a plain srun, as the user.
run_srun() {
    local limit=$1
    shift
    invoke "$limit" as_user srun -J "$name" "$@"
    ended=$(now)
    job=$(job_of "$name")
}

# `sbatch --wait` looks but every 10 s.
batch() {
    local limit=$1
    shift
    invoke 20 as_user sbatch --parsable -J "$name" -o "$work/job.out" -e "$work/job.err" "$@"
    expect_code 0
    job=$(<"$out")
    wait_for "the end of job $job" "$limit" job_ended
    code=$(job_field "$job" ExitCode)
    code=${code%:*}
    cat "$work/job.out" >"$out"
    cat "$work/job.err" >>"$err"
}

step() { run_srun "${step_limit:-60}" --dtask "$@"; }

start_step() {
    as_user srun -J "$name" --dtask "$@" >"$out" 2>"$err" </dev/null 3>&- &
    step_pid=$!
    wait_for "a running job" 30 running_job
    job=$(jobs_named "$name")
}
running_job() { [[ -n $(squeue -h -t running -n "$name" -o %A) ]]; }

step_ended() { ! kill -0 "$step_pid" 2>/dev/null; }
end_step() {
    wait_for "the end of srun" "$1" step_ended
    ended=$(now)
    code=0
    wait "$step_pid" || code=$?
    step_pid=''
}

# A step whose client ends in a way of its own; see the script.
client_ends() { step "${request[@]}" python3 "$clients/ends.py" "$@"; }

# ended_within SECONDS: srun was no later than that after the client, which printed `end TIME`.
ended_within() {
    local took
    took=$(awk "BEGIN { printf \"%.3f\", $ended - $(field end) }")
    below "$took" "$1" || fail "srun ended $took s after the client, limit $1 s"
}

# ---- the nodes of a sandbox that this file has for itself ---------------------------------------

# node_with NODE COMMANDS: its slurmd starts again in a mount namespace of its own, in which the
# shell has run COMMANDS; so do the steps on that node, until it is called once more.
node_with() {
    local pid
    pid=$(<"$DTASK_SANDBOX/run/slurmd-$1.pid")
    kill "$pid"
    wait_for "the end of slurmd on $1" 20 process_ended "$pid"
    env -i PATH="${DTASK_SLURM:+$DTASK_SLURM/sbin:$DTASK_SLURM/bin:}/usr/sbin:/usr/bin:/sbin:/bin" \
        HOME=/root SLURM_CONF="$SLURM_CONF" \
        unshare --mount --propagation private \
        sh -euc "$2; exec slurmd -N $1 -f '$SLURM_CONF'" </dev/null 3>&-
    wait_for "another slurmd on $1" 20 another_slurmd "$1" "$pid"
    wait_for "node $1 to take a step" 30 timeout 5 srun -Q -w "$1" -N1 -n1 true
}
process_ended() { ! kill -0 "$1" 2>/dev/null; }
another_slurmd() {
    local pid
    pid=$(cat "$DTASK_SANDBOX/run/slurmd-$1.pid" 2>/dev/null) && [[ $pid != "$2" ]] && kill -0 "$pid"
}
# The nodes' names, in their order.
nodes_of_sandbox() { sinfo -h -N -o %N | sort -u; }

# ---- the processes of a step ------------------------------------------------------------------

# processes ROLE [RANK]: process ids of launcher, scheduler, worker or executor; see the script.
processes() { "$tree/tests/slurm/processes" "$job" "$@" | cut -d' ' -f1; }
# The first of them; fails where there is none.
one_process() {
    local found
    found=$(processes "$@" | head -n 1)
    [[ -n $found ]] && printf '%s\n' "$found"
}

# ports_of PID: the TCP ports on which it listens.
ports_of() { ss -Htlnp | grep -F "pid=$1," | awk '{ n = split($4, part, ":"); print part[n] }'; }

# ---- what is left -----------------------------------------------------------------------------

left_cgroups() { find /sys/fs/cgroup -type d \( -path "*/slurm_*/job_$job" -o -path "*/dtask/*job_$job" -o -path "*_slurmstepd.scope/job_$job" \) 2>/dev/null; }

left() {
    "$tree/tests/slurm/processes" "$job" | sed 's/^/process /'
    left_cgroups
    # Other sandboxes of this machine have jobs, too.
    left_files | awk -v own="/dev/shm/dtask-$job." '!/\/dev\/shm\/dtask-/ || index($0, own)'
}
none_left() { [[ -z $(left) ]]; }

nothing_left() {
    [[ -n $job ]] || fail "no job of this test is known"
    wait_for "a clean end of job $job" "${1:-3}" none_left || fail "left behind:"$'\n'"$(left)"
}
