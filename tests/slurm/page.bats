# SPDX-License-Identifier: Apache-2.0
# A user guide's page on Dask (tests/fixtures/sulis/dask.md), its scripts run as they are printed:
# nodes of the page's size that are hosts of their own, with ib0.
#
# DTASK_TEST_TASKS=256 runs as many tasks as the page does; 8 by default, since each is a Python
# that imports Dask, and they share this machine.

bats_require_minimum_version 1.5.0

sandbox_shape=(--hosts --nodes 2 --cpus 128 --memory 512000)
work_below=/var/tmp # which the hosts share, as the page's nodes share the home directory
load lib

tasks=${DTASK_TEST_TASKS:-8}
# The page's second job has 21 tasks at most.
file_tasks=$((DTASK_TEST_TASKS > 21 ? 21 : ${DTASK_TEST_TASKS:-4}))
seconds=$((180 + 3 * tasks))

# The four blocks with a label, each a file of that name. What the site's generator and its modules
# would need is taken out, and nothing else.
cut_page() {
    awk '
        /^<p class="codeblock-label">/ { name = $0; gsub(/^[^>]*>|<[^<]*$/, "", name); next }
        /^```/ { inside = name != "" && !inside; if (!inside) name = ""; next }
        inside && !/^module / { print > name }
    ' "$tree/tests/fixtures/sulis/dask.md"
}

setup() {
    setup_step
    cut_page
    # The page's Python has this name; Debian's has not.
    mkdir bin
    ln -s /usr/bin/python3 bin/python
    export PATH=$work/bin:$PATH
    # TMPDIR is the test's own, and the page's cluster sets none.
    unset TMPDIR
}

teardown() {
    TMPDIR=$work/tmp
    teardown_step
}

# ready N: the script said so, the step has its values, and the end was quiet.
ready() {
    expect_code 0
    expect_line "$out" "^$1 workers available and ready$" 1
    expect_line "$out" . 1
    expect_line "$err" '(Traceback|CommClosed|KilledWorker|dask_mpi)' 0
    TMPDIR=$work/tmp
    nothing_left 20
}

@test "the page has its four scripts, whole" {
    local file
    for file in dask_{mpi,file}{_init.py,.slurm}; do [[ -s $file ]] || fail "no $file"; done
    head -n 1 dask_*.slurm | grep -c '^#!/bin/bash$' | grep -qx 2
    ! grep -n '[{}]{' dask_* || fail "the generator's braces are left"
    [[ $(cat dask_* | wc -l) == "$(($(sed -n '/^```[a-z]/,/^```/p' "$tree/tests/fixtures/sulis/dask.md" | grep -cvE '^(```|module )')))" ]]
    run -0 python3 -m py_compile dask_mpi_init.py dask_file_init.py
}

@test "dask_mpi.slurm, packed: one CPU is set aside, where dask-mpi takes two" {
    batch "$seconds" --dtask=dask --dtask-interface=ib0 --dtask-wait=all \
        --ntasks-per-node=$((tasks / 2)) dask_mpi.slurm
    ready $((tasks - 1))
}

@test "dask_mpi.slurm, dedicated: the slots of dask-mpi" {
    batch "$seconds" --dtask=dask --dtask-slots=dedicated --dtask-interface=ib0 --dtask-wait=all \
        --ntasks-per-node=$((tasks / 2)) dask_mpi.slurm
    ready $((tasks - 2))
}

@test "dask_mpi.slurm at 6 CPUs a task: a worker in each task" {
    batch "$seconds" --dtask=dask --dtask-interface=ib0 --dtask-wait=all \
        --nodes=1 --ntasks-per-node="$file_tasks" --cpus-per-task=6 dask_mpi.slurm
    ready "$file_tasks"
}

@test "dask_file_init.py by one srun, in the request of dask_file.slurm" {
    {
        grep '^#' dask_file.slurm | grep -E '^#(!|SBATCH)'
        echo 'srun --dtask=dask --dtask-scheduler-file=%j.sched python dask_file_init.py'
    } >one_srun.slurm
    batch "$seconds" --ntasks-per-node="$file_tasks" one_srun.slurm
    ready "$file_tasks"
    [[ -z $(find . -name '*.sched') ]] || fail "the scheduler file is left"
}

@test "dask_file.slurm as it stands, below --dtask=dask: its own cluster, and a line that says so" {
    batch "$seconds" --dtask=dask --ntasks-per-node="$file_tasks" dask_file.slurm
    expect_code 0
    expect_line "$out" "^$file_tasks workers available and ready$" 1
    expect_line "$err" '--dtask: dask-worker brings up a cluster of its own: this step runs without' 1
}
