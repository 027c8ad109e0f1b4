# SPDX-License-Identifier: Apache-2.0
# What is left where slurmstepd itself is killed, which removes its step's cgroups else.

bats_require_minimum_version 1.5.0

load lib

# Slurm's own groups of the job stay for good, for nobody is left who knows them.
teardown() {
    local tree
    [[ -z $job ]] || for tree in /sys/fs/cgroup/*/slurm_*/uid_*/job_"$job"; do
        [[ ! -d $tree ]] || find "$tree" -depth -type d -exec rmdir {} \; 2>/dev/null || true
    done
    teardown_step
}

our_cgroups() {
    find /sys/fs/cgroup -type d \( -path "*/job_$job/*/task_*/dtask" -o -path "*/dtask/job_$job*" \) 2>/dev/null
}
ours_gone() { [[ -z $(our_cgroups) ]]; }

@test "the job's epilog removes the cgroups of a slurmstepd that was killed" {
    start_step -N2 -n4 --cpus-per-task=4 --mem-per-cpu=50 --dtask-memory=100M --dtask-cpus=quota \
        python3 "$clients/long_map.py" 2000 20
    wait_for "the first results" 60 has_field started
    # On cgroup v2 there are none of our own.
    [[ ! -d /sys/fs/cgroup/memory || $(our_cgroups | wc -l) -ge 6 ]] || fail "too few: $(our_cgroups)"

    local launcher
    launcher=$(one_process launcher 3) || fail "no launcher in task 3"
    kill -KILL "$(awk '$1 == "PPid:" { print $2 }' "/proc/$launcher/status")"
    scancel "$job"
    wait_for "the end of job $job" 90 job_ended
    wait_for "no cgroups of ours" 30 ours_gone || fail "left: $(our_cgroups)"
    wait_for "idle nodes" 30 nodes_idle
    step_ended || kill "$step_pid"
    step_pid=''
}
nodes_idle() { ! sinfo -h -o %t | grep -qv '^idle$'; }

# Alone on its node: no launcher is left there to clear up after it.
alone() {
    start_step -N1 -n1 --mem-per-cpu=200 --dtask-slots=overlap \
        python3 "$clients/faults.py" lineage "$work/go"
    wait_for "values" 60 has_field made
    launcher=$(one_process launcher) || fail "no launcher"
    [[ -n $(find "$TMPDIR" -name "dtask-$job.*") ]] || fail "no scratch directory"
    (($(find /dev/shm/dtask-"$job".* -type f -size +200k | wc -l) > 10)) || fail "no values in shared memory"
}
directories() { find "$TMPDIR" /dev/shm -maxdepth 1 -name "dtask-$job.*"; }
no_directories() { [[ -z $(directories) ]]; }

@test "a launcher that is killed, alone on its node: its directories go when its step ends" {
    alone
    kill -KILL "$launcher"
    end_step 30
    ((code != 0)) || fail "exit code 0"
    nothing_left 20
}

@test "all processes of a step are killed: the directories go when it ends, and no others" {
    local other
    alone
    # Another step's, by its name.
    other=$(dirname "$(find "$TMPDIR" -path "*/dtask-$job.*/.dtask-scratch")")
    other=${other%/dtask-*}/dtask-$job.77-0-abcdef
    as_user mkdir -m 700 "$other"
    as_user touch "$other/.dtask-scratch"
    processes | xargs kill -KILL
    end_step 30
    ((code != 0)) || fail "exit code 0"
    [[ -e $other/.dtask-scratch ]] || fail "removed: $other"
    rm -r "$other"
    wait_for "no directories" 20 no_directories || fail "left: $(directories)"
}
