# SPDX-License-Identifier: Apache-2.0
# What Slurm does with whole jobs: several clusters at a time in one, arrays, requeue, signals and
# the time limit, suspend and resume.

bats_require_minimum_version 1.5.0

load lib

# The request of job scripts here, small enough that four fit.
small="-N2 -n3 --mem-per-cpu=100"

write_job() { printf '%s\n' '#!/bin/bash' "#SBATCH --dtask $small" "$@" >job.sh; }

submit() {
    invoke 20 as_user sbatch --parsable -J "$name" -o "$work/job.%a.out" -e "$work/job.%a.err" \
        "$@" job.sh
    expect_code 0
    job=$(<"$out")
}

@test "two clusters at a time in one job have nothing in common" {
    local field
    # On one node, so that they could meet.
    write_job "for n in 1 2; do" \
        "srun -N1 -n3 --exact python3 $clients/apart.py $work/go >\$n.out &" "done" wait
    sed -i 's/-N2 -n3/-N1 -n6/' job.sh
    submit
    both() { grep -qs '^held' 1.out && grep -qs '^held' 2.out; }
    wait_for "two clusters" 90 both
    for field in address file token scratch group; do
        [[ -n $(awk -v f="$field" '$1 == f' 1.out) ]] || fail "no $field: $(<1.out)"
        ! grep -qxF "$(awk -v f="$field" '$1 == f' 1.out)" 2.out || fail "both have one $field"
    done
    touch go
    wait_for "the end of job $job" 60 job_ended
    [[ $(job_field "$job" ExitCode) == 0:0 ]] || fail "$(job_field "$job" ExitCode)"
    expect_line 1.out '^right 50$'
    expect_line 2.out '^right 50$'
    nothing_left
}

@test "an array: each of its jobs is a cluster of its own, and their files do not collide" {
    local n
    write_job "srun python3 $clients/apart.py $work/go"
    submit --array=0-3
    all_hold() { [[ $(cat job.[0-3].out 2>/dev/null | grep -c '^held') == 4 ]]; }
    wait_for "four clusters" 120 all_hold
    # By the default, which is %J.
    [[ $(cat job.[0-3].out | grep '^file' | sort -u | wc -l) == 4 ]] || fail "$(cat job.?.out)"
    [[ $(cat job.[0-3].out | grep '^token' | sort -u | wc -l) == 4 ]] || fail "$(cat job.?.out)"
    touch go
    array_ended() { [[ -z $(jobs_named "$name") ]]; }
    wait_for "the end of the array" 60 array_ended
    for n in 0 1 2 3; do expect_line "job.$n.out" '^right 50$'; done
    nothing_left
}

@test "a job that is requeued runs anew: nothing is left of its first run, a stale file is no matter" {
    write_job "#SBATCH --requeue" "#SBATCH --dtask-scheduler-file=%j.sched" \
        "echo run \$SLURM_RESTART_COUNT" "srun python3 $clients/apart.py $work/go"
    submit --open-mode=append
    mv_out() { grep -qs '^held' job.*.out; }
    wait_for "a cluster" 90 mv_out
    [[ -s $job.sched ]] || fail "no file"
    cp -p "$job.sched" stale
    scontrol requeue "$job"
    not_running() { [[ $(job_field "$job" JobState) == PENDING ]]; }
    wait_for "a requeued job" 60 not_running
    nothing_left 20
    # As after a crash: a file of a run that is over.
    cp -p stale "$job.sched"
    scontrol update jobid="$job" StartTime=now # it waits for two minutes otherwise
    twice() { [[ $(grep -c '^held' job.*.out) == 2 ]]; }
    wait_for "the second run" 120 twice
    touch go
    wait_for "the end of job $job" 60 job_ended
    [[ $(job_field "$job" ExitCode) == 0:0 ]] || fail "$(job_field "$job" ExitCode)"
    expect_line "$(echo job.*.out)" '^right 50$' 1
    [[ ! -e $job.sched ]] || fail "left behind: $job.sched"
    nothing_left
}

@test "--signal: the client has time to save and end with its code before the time limit" {
    # Slurm sends it within a minute of what was asked for: N is from when it may come.
    start_step "${request[@]}" -t 1 --signal=USR1@60 python3 "$clients/saves.py" "$work/saved" 21
    end_step 120
    expect_code 21
    expect_line saved '^signal 10, [0-9]+ done$'
    expect_line "$out" '^saved$'
    nothing_left
}

@test "scancel --signal, as preemption sends it, of the job or the batch script alone" {
    local how
    write_job "trap 'kill -USR1 \$step' USR1" \
        "srun python3 $clients/saves.py $work/saved 22 & step=\$!" \
        "until wait \$step; code=\$?; [ \$code != 138 ]; do :; done" "exit \$code"
    for how in --full --batch; do
        rm -f saved
        submit
        saving() { grep -qs '^started' job.*.out; }
        wait_for "work" 90 saving
        scancel --signal=USR1 "$how" "$job"
        wait_for "the end of job $job" 60 job_ended
        [[ $(job_field "$job" ExitCode) == 22:0 ]] || fail "$how: $(job_field "$job" ExitCode)"
        expect_line saved '^signal 10, [0-9]+ done$'
        nothing_left
        rm job.*.out
    done
}

@test "suspend and resume: no worker and no result is lost" {
    # Longer than the silence after which a worker would count as lost.
    local silence=4 pause=10
    local -a counts
    [[ -z ${DTASK_TEST_LONG:-} ]] || silence=60 pause=150
    DTASK_SILENCE=$silence start_step "${request[@]}" python3 "$clients/steady.py" "$work/go" 3
    wait_for "results" 60 has_field started
    scontrol suspend "$job"
    suspended() { [[ $(job_field "$job" JobState) == SUSPENDED ]]; }
    wait_for "a suspended job" 20 suspended
    sleep "$pause" # that long it is suspended
    scontrol resume "$job"
    touch go
    end_step 60
    expect_code 3
    # Some may not be there when the client begins; none is gone later.
    mapfile -t counts < <(sed -n 's/^workers //p' "$out")
    [[ ${counts[-1]} == 8 ]] && printf '%s\n' "${counts[@]}" | sort -nC || fail "workers: ${counts[*]}"
    expect_line "$out" '^wrong 0$'
    expect_line "$out" '^lost 0$'
    expect_line "$out" '^twice 0$'
    nothing_left
}
