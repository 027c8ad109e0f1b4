# SPDX-License-Identifier: Apache-2.0
# Nodes that stand still, are cut off, die, or come late. Four hosts with two networks each; the
# tasks travel by ib0, and Slurm by eth0.
#
# DTASK_TEST_LONG=1 waits out what takes a minute or more: real bounds instead of DTASK_SILENCE.

bats_require_minimum_version 1.5.0

sandbox_shape=(--hosts --nodes 4)
load lib

long() { [[ -n ${DTASK_TEST_LONG:-} ]]; }
silence=4 # seconds: the least that DTASK_SILENCE takes
long && silence=60
export DTASK_SILENCE=$silence

setup() {
    setup_step
    mapfile -t hosts < <(sinfo -h -N -o %N | sort)
    hosted=$DTASK_SANDBOX/hosts # /tmp of a host is $hosted/HOST/tmp
    before=$(files_on_hosts)
}

teardown() {
    local i
    [[ -z $job ]] || pause CONT "${hosts[2]}"
    for i in 1 2 3 4; do
        network "$i" fast up
        network "$i" slow up
    done
    rm -f "$hosted"/*/tmp/go
    teardown_step
}

files_on_hosts() { find "$hosted"/*/tmp -mindepth 1 | sort; }

# The step has left nothing, on its hosts either.
clean() {
    nothing_left 30
    diff <(echo "$before") <(files_on_hosts) || fail "left on a host"
}

# network I fast|slow up|down: the cable of the I-th host.
network() {
    local pid
    pid=$(<"$DTASK_SANDBOX/run/switch.pid")
    nsenter --target "$pid" --net ip link set "$2$1" "$3"
}

# Processes of the step on a host.
on_host() {
    local pid
    for pid in $(processes); do
        ! grep -qzxF "SLURMD_NODENAME=$1" "/proc/$pid/environ" 2>/dev/null || echo "$pid"
    done
}

# pause STOP|CONT HOST: again, for what was started meanwhile.
pause() {
    local round
    for round in 1 2; do on_host "$2" | xargs -r kill "-$1" 2>/dev/null || true; done
}

# ports_on HOST PID: the TCP ports on which it listens there.
ports_on() {
    "$sandbox" on "$1" ss -Htlnp | grep -F "pid=$2," |
        awk '{ n = split($4, part, ":"); print part[n] }'
}

# Two tasks on each host.
request=(-N4 -n8 --ntasks-per-node=2 --mem-per-cpu=250 --dtask-interface=ib0)

# steady ARGS... [-- CODE]: seven workers that work until end_steady.
steady() {
    local code=0
    if [[ ${*: -2:1} == -- ]]; then
        code=${*: -1}
        set -- "${@:1:$#-2}"
    fi
    start_step "${request[@]}" --dtask-wait=all "$@" python3 "$clients/steady.py" /tmp/go "$code"
    wait_for "results" 120 has_field started
}

end_steady() {
    touch "$hosted/${hosts[0]}/tmp/go"
    end_step "$1"
    rm -f "$hosted/${hosts[0]}/tmp/go"
    [[ -z ${DTASK_TEST_TIMES:-} ]] ||
        echo "# $BATS_TEST_DESCRIPTION: longest without a result $(field most) s" >&3
    expect_line "$out" '^wrong 0$'
    expect_line "$out" '^lost 0$'
    expect_line "$out" '^twice 0$'
}

# workers_are N SECONDS: the client's last word on it.
told_workers() { [[ $(awk '$1 == "workers" { n = $2 } END { print n }' "$out") == "$1" ]]; }
workers_are() {
    local began
    began=$(now)
    wait_for "$1 workers" "$2" told_workers "$1"
    [[ -z ${DTASK_TEST_TIMES:-} ]] ||
        echo "# $BATS_TEST_DESCRIPTION: $1 workers after $(since "$began") s" >&3
}
never_fewer() { expect_line "$out" '^workers' 1; }

@test "a node that stands still for 3 s, and a network that is cut for 1 s: no worker is lost" {
    DTASK_SILENCE=60 steady
    pause STOP "${hosts[2]}"
    network 4 fast down
    sleep 1 # that long is the cut, and the stop
    network 4 fast up
    sleep 2
    pause CONT "${hosts[2]}"
    if long; then
        network 4 fast down
        sleep 10
        network 4 fast up
        sleep 20 # TCP has waited longer and longer between its tries
    fi
    end_steady 60
    expect_code 0
    never_fewer
    clean
}

@test "a node that stands still for long is lost; when it goes on it comes back" {
    steady
    pause STOP "${hosts[2]}"
    workers_are 5 $((3 * silence + 20))
    pause CONT "${hosts[2]}"
    workers_are 7 60
    end_steady 60
    expect_code 0
    clean
}


@test "a network that is cut for good: tasks run elsewhere, the step ends with the client's code" {
    local ended_at
    steady -- 7
    network 3 fast down
    workers_are 5 $((3 * silence + 20))
    ended_at=$(now)
    end_steady $((4 * silence + 40))
    [[ -z ${DTASK_TEST_TIMES:-} ]] || echo "# srun ended after $(since "$ended_at") s" >&3
    expect_code 7
    clean
}

@test "dask: a node that stands still and a network that is cut for 1 s: no worker is lost" {
    request+=(--dtask=dask)
    steady -- 7
    pause STOP "${hosts[2]}"
    network 4 fast down
    sleep 1 # that long is the cut, and the stop
    network 4 fast up
    pause CONT "${hosts[2]}"
    if long; then # Dask has a bound of its own, 30 s
        network 3 fast down
        workers_are 5 120
    else
        never_fewer
    fi
    end_steady $((4 * silence + 60))
    expect_code 7
    clean
}

@test "a host that is gone: with --no-kill the step goes on and ends with the client's code" {
    local pid
    steady --no-kill -- 7
    # As a machine that loses power: whatever ran on it is gone, and says no word.
    network 3 fast down
    network 3 slow down
    kill -KILL "$(<"$DTASK_SANDBOX/run/slurmd-${hosts[2]}.pid")"
    on_host "${hosts[2]}" | xargs kill -KILL
    workers_are 5 $((3 * silence + 20))
    scontrol update nodename="${hosts[2]}" state=down reason=test # as after SlurmdTimeout
    end_steady 60
    expect_code 7
    network 3 fast up
    network 3 slow up
    "$sandbox" up
    # What a host that died has kept is cleared up with the user's next step there.
    run_srun 60 --dtask --dtask-slots=overlap -w "${hosts[2]}" true
    expect_code 0
    clean
}

@test "a worker that starts late joins; a scheduler that does is found, at another port too" {
    local late=4 squatter
    long && late=60
    printf '%s\n' '#!/bin/sh' "[ \$SLURM_PROCID != 5 ] || sleep $late" >"$DTASK_SANDBOX/late"
    chmod 755 "$DTASK_SANDBOX/late"
    start_step "${request[@]}" --task-prolog="$DTASK_SANDBOX/late" \
        python3 "$clients/steady.py" /tmp/go
    workers_are 6 60
    workers_are 7 $((late + 60))
    wait_for "results" 60 has_field started
    end_steady 60
    expect_code 0
    expect_line "$out" '^on 5 [1-9]'
    clean

    # Two ports to choose from, and on the scheduler's host somebody has the one.
    sed -i.before 's/$/ ports=24000-24001/' "$DTASK_SANDBOX/plugstack.conf"
    "$sandbox" on "${hosts[0]}" python3 -c 'import socket, time
s = socket.socket()
s.bind(("0.0.0.0", 24000))
s.listen()
print("squats", flush=True)
time.sleep(100)' >squatter 3>&- &
    squatter=$!
    wait_for "a squatter" 20 grep -q squats squatter
    sed -i 's/!= 5/!= 0/' "$DTASK_SANDBOX/late"
    steady --task-prolog="$DTASK_SANDBOX/late"
    mv "$DTASK_SANDBOX/plugstack.conf.before" "$DTASK_SANDBOX/plugstack.conf"
    kill "$squatter"
    expect_line "$out" '^workers 7'
    [[ $(ports_on "${hosts[0]}" "$(one_process scheduler)") == 24001 ]] || fail "not at 24001"
    end_steady 60
    expect_code 0
    clean
}

@test "each worker's limit is its share of its own host's memory" {
    # Three tasks of 600 MB a host: two on the first one, one on the second.
    run_srun 60 --dtask -N2 -n3 --mem=600 --dtask-slots=overlap python3 "$clients/workers.py"
    expect_code 0
    expect_line "$out" "^worker ${hosts[0]}\.0 ${hosts[0]} 1 $((300 << 20))$"
    expect_line "$out" "^worker ${hosts[0]}\.1 ${hosts[0]} 1 $((300 << 20))$"
    expect_line "$out" "^worker ${hosts[1]}\.2 ${hosts[1]} 1 $((600 << 20))$"
    clean
}
