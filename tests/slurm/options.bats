# SPDX-License-Identifier: Apache-2.0
# What srun and sbatch refuse, and which of several values counts.

bats_require_minimum_version 1.5.0

load lib

# refused OPTION VALUE ACCEPTED: exit code, and one line that names all three.
refused() {
    ((code != 0)) || fail "was accepted"
    local lines
    lines=$(grep -F -- "$1" "$err" | grep -F -- "$2" | grep -E -- "$3" || true)
    [[ $(grep -c . <<<"$lines") == 1 ]] || fail "no single line names $1, '$2' and /$3/:"$'\n'"$(<"$err")"
    (($(wc -l <"$err") <= 3)) || fail "more than three lines:"$'\n'"$(<"$err")"
    [[ ! -e $work/started ]] || fail "the command was started"
    [[ ! -s $out ]] || fail "output: $(<"$out")"
}

# unqueued COMMAND...: runs it; no job id may have been used.
unqueued() {
    local before
    before=$(next_job)
    invoke 20 as_user "$@"
    [[ $(next_job) == "$before" ]] || fail "a job was queued"
}

marker=(touch started)

@test "srun refuses an unknown slot mode before anything is queued" {
    unqueued srun --dtask --dtask-slots=pakced "${request[@]}" "${marker[@]}"
    refused --dtask-slots pakced 'packed.*dedicated.*overlap'
}

@test "srun refuses an unknown engine before anything is queued" {
    unqueued srun --dtask=spark "${request[@]}" "${marker[@]}"
    refused --dtask spark 'native.*dask.*off'
}

@test "srun refuses a size like 2X before anything is queued" {
    unqueued srun --dtask --dtask-memory=2X "${request[@]}" "${marker[@]}"
    refused --dtask-memory 2X 'auto.*none'
}

@test "srun refuses numbers that are none before anything is queued" {
    for option in timeout restarts concurrency wait; do
        unqueued srun --dtask --dtask-$option=1x "${request[@]}" "${marker[@]}"
        refused "--dtask-$option" 1x accepted
    done
}

@test "a wrong value in the environment is refused by its own name" {
    DTASK_SLOTS=nowhere unqueued srun --dtask "${request[@]}" "${marker[@]}"
    refused DTASK_SLOTS nowhere 'packed.*dedicated.*overlap'
}

@test "sbatch refuses the same, on its command line" {
    unqueued sbatch --dtask --dtask-slots=pakced --wrap 'touch started'
    refused --dtask-slots pakced 'packed.*dedicated.*overlap'
}

@test "sbatch refuses the same, in an #SBATCH line" {
    printf '#!/bin/sh\n#SBATCH --dtask\n#SBATCH --dtask-memory=2X\ntouch started\n' >job.sh
    unqueued sbatch job.sh
    refused --dtask-memory 2X 'auto.*none'
}

@test "salloc refuses the same" {
    unqueued salloc --dtask --dtask-cpus=some -n1 "${marker[@]}"
    refused --dtask-cpus some 'auto.*quota.*none'
}

@test "too few tasks for packed" {
    run_srun 20 --dtask -n1 "${marker[@]}"
    refused --dtask-slots packed '2'
}

@test "too few tasks for dedicated" {
    run_srun 20 --dtask --dtask-slots=dedicated -n2 "${marker[@]}"
    refused --dtask-slots dedicated '3'
}

@test "one task is enough for overlap, and for packed with 3 CPUs" {
    step -n1 --dtask-slots=overlap --mem-per-cpu=200 python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker ' 1
    step -n1 --cpus-per-task=3 --mem-per-cpu=100 python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" '^worker \S+ \S+ 1 ' 1
}

@test "an interface that does not exist" {
    run_srun 30 --dtask --dtask-interface=ib77 "${request[@]}" "${marker[@]}"
    ((code != 0)) || fail "was accepted"
    expect_line "$err" '--dtask-interface.*ib77.*(lo|accepted)'
    [[ ! -e $work/started ]] || fail "the command was started"
    [[ -z $job ]] || nothing_left
}

@test "--multi-prog" {
    printf '0-7 touch started\n' >programs
    run_srun 20 --dtask "${request[@]}" --multi-prog programs
    refused --multi-prog '' '(accepted|without|not)'
}

# mode_of ARGS...: counts workers to see which slot mode was in force.
workers_of() {
    step "${request[@]}" "$@" python3 "$clients/workers.py"
    expect_code 0
    grep -c '^worker ' "$out"
}

@test "the command line beats the environment" {
    export DTASK_SLOTS=dedicated
    [[ $(workers_of) == 6 ]]
    [[ $(workers_of --dtask-slots=overlap) == 8 ]]
}

@test "--dtask=off cancels" {
    run_srun 20 --dtask=off -n2 sh -c 'cat /proc/$PPID/comm'
    expect_code 0
    expect_line "$out" '^slurmstepd' 2
}

@test "the options are in srun's, sbatch's and salloc's help" {
    for command in srun sbatch salloc; do
        invoke 10 as_user "$command" --help
        for option in slots memory cpus interface scratch scheduler-file wait timeout restarts concurrency log; do
            expect_line "$out" "--dtask-$option"
        done
        expect_line "$out" '--dtask(=|\[| )'
    done
}
