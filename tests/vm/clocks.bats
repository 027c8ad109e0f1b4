# SPDX-License-Identifier: Apache-2.0
# Somebody sets the clock of a node on which a step runs. Root may do that to the machine of
# tests/vm/run, and nowhere else.
#
# Last in tests/vm/list: slurmctld's periodic work stands still for as long as its clock went back.

bats_require_minimum_version 1.5.0

load ../slurm/lib

in_a_machine_of_our_own() { grep -q '^vendor_id.*User Mode Linux' /proc/cpuinfo; }

setup_file() {
    in_a_machine_of_our_own || fail "this sets the clock: run tests/vm/run tests/vm/clocks.bats"
    setup_sandbox
}

# jump HOURS: the clock, and what is left to put it right again.
jump() {
    in_a_machine_of_our_own || fail "not the clock of this machine"
    date -s "$1 hour" >/dev/null
    jumped=$((jumped + $1))
}

setup() {
    jumped=0
    setup_step
}

teardown() {
    ((jumped == 0)) || jump $((-jumped))
    teardown_step
}

under_way() { grep -qx "under way $1" "$out"; }

@test "the clock is set an hour on and an hour back: no call is lost, timed out or told twice" {
    local bound
    # Slurm itself goes by the clock of slurmctld's node: a job that has less time than the jump is
    # ended at once. Ours has five hours; the other one tells that Slurm has seen the jump.
    bound=$(sbatch --parsable -J "$name-bound" -t 30 -n1 --mem=10 -o /dev/null --wrap 'sleep 600')
    start_step -t 300 -N2 -n4 --cpus-per-task=2 --mem-per-cpu=48 --dtask-slots=overlap \
        python3 "$clients/jumps.py" "$work" 2 9
    wait_for "calls under way" 60 under_way 1
    jump +1
    touch 1
    wait_for "calls under way" 60 under_way 2
    timed_out() { [[ $(job_field "$bound" JobState) == TIMEOUT ]]; }
    wait_for "the end of a job of half an hour" 60 timed_out
    jump -1
    touch 2
    end_step 60
    expect_code 9
    expect_line "$out" '^long 1$' 2
    expect_line "$out" '^again 2$' 2
    # Not before its 5 s, and not an hour late.
    expect_line "$out" '^doomed TaskTimeout (4[.]9|[5-9][.]|[1-9][0-9][.])' 2
    expect_line "$out" '^wrong 0$'
    expect_line "$out" '^lost 0$'
    expect_line "$out" '^twice 0$'
    expect_line "$out" '^workers 4$'
    (($(field right) >= 600)) || fail "$(field right) results"
    # Nobody was taken for silent, lost or late.
    ! grep '^dtask' "$err" || fail "dtask said something"
    [[ $(job_field "$job" JobState) == FAILED ]] || fail "$(job_field "$job" JobState)" # of its 9
    nothing_left 20
}
