# SPDX-License-Identifier: Apache-2.0
# The user's own Dask by --dtask=dask: what the slots promise, and complaints about other ways to
# start Dask under Slurm, each shown to be impossible here.

bats_require_minimum_version 1.5.0

load lib
client=$clients/dask_client.py
squares=2470 # sum of x² below 20

# dask ARGS...: a step of the dask engine.
dask() { run_srun 90 --dtask=dask "$@"; }
start_dask() { start_step --dtask=dask "$@"; }

# Field N of the lines `worker ...`, sorted: 2 name, 3 threads, 4 MiB, 5 directory, 6 address,
# 7 Python, 8 TMPDIR, 9 OMP_NUM_THREADS, 10 hosts, 11 number of ports.
of_workers() { awk -v n="$1" '$1 == "worker" { print $n }' "$out" | sort | paste -sd' '; }
silent() { [[ ! -s $err ]] || fail "said: $(<"$err")"; }
# Not more than that: a traceback or a complaint of Dask's would be a second line.
one_line() { (($(wc -l <"$err") == 1)) || fail "said: $(<"$err")"; }

@test "packed, 4 CPUs a task: workers, threads, limits, names, scratch, one port each" {
    # By a script's first line, found by PATH: its Python is everybody's.
    printf '#!/usr/bin/env python3\n' | cat - "$client" >by-itself
    chmod 755 by-itself
    dask -N2 -n3 --cpus-per-task=4 --mem-per-cpu=200 ./by-itself report
    expect_code 0
    [[ $(of_workers 3) == "2 4 4" && $(of_workers 9) == "2 4 4" ]] || fail "$(<"$out")"
    [[ $(of_workers 4) == "400 800 800" ]] || fail "limits: $(of_workers 4)"
    [[ $(of_workers 2) =~ ^[a-z]+1\.0\ [a-z]+1\.1\ [a-z]+2\.2$ ]] || fail "names: $(of_workers 2)"
    [[ $(of_workers 11) == "1 1 1" ]] || fail "ports: $(of_workers 11)"
    expect_line "$out" "^worker .* $TMPDIR/dtask-$job\.0-2-\S+/\S+ tls://" 1
    expect_line "$out" "^scheduler tls://\S+ /usr $TMPDIR/dtask-$job\.0-0-\S+ .* 1$"
    expect_line "$out" "^squares $squares$"
    silent
    nothing_left
}

@test "dedicated, without TLS, with a dashboard: a venv's python for scheduler and workers" {
    mkdir -p venv/bin
    ln -s /usr/bin/python3 venv/bin/python
    printf 'home = /usr/bin\ninclude-system-site-packages = true\n' >venv/pyvenv.cfg
    chmod -R a+rX venv
    dask -N2 -n4 --mem-per-cpu=250 --dtask-slots=dedicated --dtask-tls=off --dtask-dashboard \
        --dtask-interface=lo venv/bin/python "$client" report
    expect_code 0
    expect_line "$out" '^workers 2$'
    expect_line "$out" "^worker .* tcp://\S+ $work/venv " 2
    expect_line "$out" "^scheduler tcp://\S+ $work/venv .*\['127.0.0.1'\] 2$"
    expect_line "$out" "^client $work/venv$"
    expect_line "$err" '^dtask: dashboard: http://127\.0\.0\.1:[0-9]+/status$' 1
    nothing_left
}

@test "a script for dask_mpi.initialize: one CPU of four is set aside, not two" {
    dask -N1 -n4 -c1 --mem-per-cpu=250 python3 "$clients/dask_mpi_script.py"
    expect_code 0
    expect_line "$out" '^workers 3$'
    expect_line "$out" "^squares $squares$"
    silent
    nothing_left
}

@test "complaint: exit code 0 after an exception" {
    dask -n3 --mem-per-cpu=250 python3 "$client" raise
    expect_code 1
    expect_line "$err" "^ValueError: the client's own error" 1
    expect_line "$err" '^Traceback' 1
    nothing_left
}

@test "complaints: the client ends and the job hangs; noise at clean exit" {
    dask -n3 --mem-per-cpu=250 python3 "$client" exit 3
    expect_code 3
    ended_within 15
    # Of Slurm: "srun: error: n1: task 0: Exited with exit code 3".
    ! grep -v '^srun: ' "$err" || fail "said: $(<"$err")"
    nothing_left
    dask -n3 --mem-per-cpu=250 python3 "$client" exit 0
    expect_code 0
    ended_within 15
    silent
    nothing_left
}

@test "complaints: one dead worker kills the job; workers die with no reason given" {
    dask -N2 -n4 --mem-per-cpu=250 --dtask-slots=dedicated python3 "$client" hog
    expect_code 0
    # Dask tries it four times; each death is told with its limit, and KilledWorker tells of all.
    local death='passed the memory limit of 250M \(peak [0-9.]+M\) and was killed'
    expect_line "$err" "^dtask: worker \S+: its Dask worker $death; it is restarted$" 4
    expect_line "$out" "^killed .*How the workers died: (\S+ $death(; |\.)){4}$"
    expect_line "$out" "^squares $squares$"
    expect_state COMPLETED
    nothing_left
}

@test "complaints: stale or half-written scheduler file; ~ in the file's path" {
    # The user of these steps is at home in /tmp.
    local home_file=${work##*/}.sched path=$HOME
    [[ $step_user == root ]] || path=/tmp
    path=$path/$home_file
    printf '{"type": "Scheduler", "addre' >"$path"
    chmod 666 "$path"
    [[ $step_user == root ]] || chown "$step_user" "$path"
    dask -n3 --mem-per-cpu=250 --dtask-scheduler-file="~/$home_file" python3 "$client" file
    expect_code 0
    expect_line "$out" "^path $path$"
    expect_line "$out" '^mode 0o600$'
    expect_line "$out" '^members address dtask id services started type workers$'
    expect_line "$out" '^same True$'
    expect_line "$out" "^squares $squares$"
    silent
    [[ ! -e $path ]] || fail "left behind: $path"
    nothing_left
}

@test "complaint: two steps of one job that read each other's file" {
    local step="srun --dtask=dask -N1 -n2 --exact --mem-per-cpu=250"
    cat >two.sh <<SCRIPT
$step --dtask-scheduler-file=%j.sched python3 $client hold $work/go >one.out &
until grep -qs ^held one.out; do kill -0 \$! || exit 1; sleep 0.1; done
code=0
$step --dtask-scheduler-file=%j.sched python3 $client file >two.out 2>two.err || code=\$?
echo refused \$code \$(wc -l <two.out)
$step python3 $client file >three.out || echo third \$?
touch $work/go
wait \$! || echo first \$?
SCRIPT
    invoke 150 as_user salloc -Q -J "$name" -N1 -n4 --mem-per-cpu=250 bash two.sh
    job=$(job_of "$name")
    expect_code 0
    expect_line "$out" '^refused 2 0$'
    [[ $(grep -vc '^srun: ' two.err) == 1 ]] || fail "$(<two.err)"
    expect_line two.err "^dtask: .*$work/$job\.sched is of step $job\.0, which is running on [a-z]+[0-9]+"
    expect_line three.out '^same True$'
    expect_line one.out "^squares $squares$"
    [[ ! -e $work/$job.sched ]] || fail "left behind: $job.sched"
    nothing_left
}

@test "complaint: scheduler and worker on different interfaces" {
    local other host
    read -r other host < <(ip -o -4 addr show up scope global | awk '{ sub("/.*", "", $4); print $2, $4 }')
    other=${other:-lo} host=${host:-127.0.0.1}
    dask -N2 -n3 --mem-per-cpu=250 --dtask-interface="sched=lo,worker=$other" python3 "$client" report
    expect_code 0
    expect_line "$out" '^scheduler tls://127\.0\.0\.1:[0-9]+ '
    expect_line "$out" "^worker \S+ .* tls://${host//./\\.}:[0-9]+ " 2
    expect_line "$out" "^squares $squares$"
    silent
    nothing_left
}

@test "complaint: a worker that waits forever for a dead scheduler" {
    start_dask -N2 -n3 --mem-per-cpu=250 python3 "$client" lost
    wait_for "a running client" 60 has_field pid
    kill -KILL "$(field pid)"
    end_step 30
    expect_code 70
    # The client had the time to see it.
    expect_line "$out" '^loss '
    expect_line "$err" "^dtask: scheduler: Dask's scheduler ended with signal 9" 1
    nothing_left 10
}

@test "workers come back after Client.restart, stay away when retired, and end with Client.shutdown" {
    dask -N2 -n4 --mem-per-cpu=250 --dtask-slots=overlap python3 "$client" leave
    expect_code 0
    expect_line "$out" '^restarted 4 0$'
    expect_line "$out" '^retired 1$'
    expect_line "$out" '^left -1$'
    expect_line "$out" '^shut down$'
    ! grep -E 'CommClosed|is restarted' "$err" || fail "said: $(<"$err")"
    # Dask's workers may speak once more to a scheduler that has dismissed them, on a busy machine.
    local others
    others=$(sed '/Scheduler was unaware of this worker/,/CancelledError/d' "$err")
    [[ $others != *Traceback* ]] || fail "said: $(<"$err")"
    nothing_left
}

@test "scancel: client, scheduler and workers are gone" {
    start_dask -N2 -n3 --mem-per-cpu=250 python3 "$client" busy
    wait_for "running tasks" 60 has_field busy
    scancel "$job"
    end_step 30
    ((code != 0)) || fail "exit code 0"
    nothing_left $((kill_wait + 10))
}

@test "a Python without distributed: one line that says so" {
    printf '#!/bin/sh\nexec /usr/bin/python3 -S "$@"\n' >python3
    chmod 755 python3
    dask -N2 -n3 --mem-per-cpu=250 ./python3 "$client" report
    expect_code 2
    [[ $(grep -vc '^srun: ' "$err") == 1 ]] || fail "said: $(<"$err")"
    expect_line "$err" "^dtask: .*cannot import distributed .*accepted: a Python with dask.distributed"
    nothing_left
}

@test "a worker dies: its values are made again, and it comes back" {
    local pid
    start_dask -N2 -n4 --mem-per-cpu=250 python3 "$clients/faults.py" lineage "$work/go"
    wait_for "values on all workers" 120 has_field made
    pid=$(one_process dask-worker 2) || fail "no worker of Dask's in task 2"
    kill -KILL "$pid"
    touch go
    end_step 120
    expect_code 0
    expect_line "$out" '^right 60$'
    (($(field again) > 0)) || fail "no value was lost"
    expect_line "$err" '^dtask: worker \S+: its Dask worker ended with signal 9.*; it is restarted$' 1
    nothing_left 10
}
