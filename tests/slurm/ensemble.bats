# SPDX-License-Identifier: Apache-2.0
# An ensemble of 10,000 jobs of a compiled program, one in a hundred of which fails: whole; over
# a scheduler that is killed three times; over a time limit.

bats_require_minimum_version 1.5.0

load lib

jobs=${DTASK_TEST_JOBS:-10000}
failing=$((jobs / 100))

setup() {
    setup_step
    # It works for some µs, says that it has by one write to a file that all have, and ends well;
    # each hundredth fails before that. Those above $LAST wait for the file `go`.
    cat >simulate.c <<'END'
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

int main(int argc, char **argv) {
    int number = argc == 3 ? atoi(argv[1]) : 0;
    const char *last = getenv("LAST");
    while (last && number > atoi(last) && access("go", F_OK) < 0) usleep(10000);
    double x = number;
    for (int i = 0; i < 1000; i++) x = x / 2 + 1 / x;
    if (x < 1 || number % 100 == 0) {
        fprintf(stderr, "no convergence of case %d\n", number);
        return 3;
    }
    int file = open(argv[2], O_WRONLY | O_CREAT | O_APPEND, 0666);
    return dprintf(file, "%d\n", number) > 0 ? 0 : 1;
}
END
    cc -O1 -o simulate simulate.c
    seq "$jobs" >cases
}

options=(-N"$nodes" -n"$nodes" --cpus-per-task=4 --mem-per-cpu="$mb_per_cpu")
map=(dtask map --joblog log --journal journal --resume -a cases ./simulate {} "ran")

# The journal's records are of one length, behind a head.
journalled() { echo $((($(stat -c %s journal 2>/dev/null || echo 16) - 16) / 25)); }
has_journalled() { (($(journalled) >= $1)); }

# Each case once in the job log, with the exit code that it should have; one line in `ran` for each
# that ended well, but for so many that had not quite ended when they were killed.
all_there() {
    local most_twice=$1 twice
    expect_code 1
    awk -F'\t' 'NR > 1 && $7 == 0 { print $9 }' log | sort | uniq -c >good
    (($(wc -l <good) == jobs - failing)) || fail "$(wc -l <good) jobs ended well"
    [[ -z $(awk '$1 > 1' good) ]] || fail "twice in the job log: $(awk '$1 > 1' good | head -n 3)"
    awk -F'\t' 'NR > 1 && $7 == 3 { print $9 }' log | sort -u >bad
    (($(wc -l <bad) == failing)) || fail "$(wc -l <bad) jobs failed"
    sort ran | uniq -c >"times"
    (($(wc -l <"times") == jobs - failing)) || fail "$(wc -l <"times") cases ran"
    twice=$(awk '$1 > 1' times | wc -l)
    echo "# $twice ran twice"
    ((twice <= most_twice)) || fail "$twice ran twice"
    [[ -z $(compgen -G 'journal.from-*') ]] || fail "left: $(compgen -G 'journal.from-*')"
}

@test "10,000 jobs, of which 100 fail: the job log is whole, failures are told, the exit code is 1" {
    step_limit=300 step "${options[@]}" "${map[@]}"
    all_there 0
    (($(wc -l <log) == jobs + 1)) || fail "$(wc -l <log) lines in the job log"
    expect_line "$err" "^dtask map: job [0-9]+ failed: exit code 3, on worker \S+: ./simulate [0-9]+00 ran$" "$failing"
    expect_line "$err" '^no convergence of case [0-9]+00$' "$failing"
    expect_line "$err" "^dtask map: $jobs jobs in .*, $failing failed$"
    nothing_left
}

@test "the scheduler is killed three times: what had ended is not run again" {
    local part
    export LAST=$((jobs * 9 / 10)) # so that none has ended when it is to be killed
    for part in 1 4 7; do
        start_step "${options[@]}" "${map[@]}"
        wait_for "$part/10 of the jobs" 200 has_journalled $((jobs * part / 10))
        kill -KILL "$(one_process scheduler)"
        end_step 60
        expect_code 70
        expect_line "$err" '^dtask map: the cluster was lost'
        nothing_left
    done
    touch go
    step_limit=300 step "${options[@]}" "${map[@]}"
    # At each end those that ran then were killed: one a CPU, of which few had said that they ran.
    all_there $((3 * 4 * nodes))
    expect_line "$err" "[0-9]+ were done before$"
    nothing_left
}

@test "the time limit: what had ended is not run again" {
    # Slurm looks for it each half a minute: half of the jobs are not to end before.
    export LAST=$((jobs / 2))
    start_step "${options[@]}" -t 10 "${map[@]}"
    wait_for "4/10 of the jobs" 200 has_journalled $((jobs * 4 / 10))
    scontrol update jobid="$job" EndTime=now+5seconds # a time that has passed when Slurm hears of it is refused
    end_step 150
    ((code != 0)) || fail "exit code 0"
    wait_for "the end of job $job" 30 job_ended
    [[ $(job_field "$job" JobState) == TIMEOUT ]] || fail "$(job_field "$job" JobState)"
    nothing_left 30
    has_journalled $((jobs * 4 / 10)) || fail "$(journalled) jobs in the journal"
    touch go
    step_limit=300 step "${options[@]}" "${map[@]}"
    all_there $((4 * nodes))
    nothing_left
}
