# SPDX-License-Identifier: Apache-2.0
# Four hosts with two networks each, whose names resolve nowhere and which share no directory with
# the test: $work, the directory of srun, exists on none of them.

bats_require_minimum_version 1.5.0

sandbox_shape=(--hosts --nodes 4)
load lib

setup() {
    setup_step
    read -r slot _ <"$DTASK_SANDBOX/dtask-sandbox"
    slow=10.77.$slot fast=10.78.$slot
    mapfile -t hosts < <(sinfo -h -N -o %N | sort)
    hosted=$DTASK_SANDBOX/hosts # /tmp of a host is $hosted/HOST/tmp
    # What the sandbox itself has put there.
    before=$(files_on_hosts)
}

teardown() {
    local host
    for host in "${hosts[@]}"; do rm -rf "${hosted:?}/$host"/tmp/{go,where.py,scratch}; done
    teardown_step
}

files_on_hosts() {
    local host
    for host in "${hosts[@]}"; do
        find "$hosted/$host/tmp" -mindepth 1
    done | sort
}

# The step has left nothing, on its hosts either.
clean() {
    nothing_left 20
    diff <(echo "$before") <(files_on_hosts) || fail "left on a host"
}

# Addresses of the line NAME, without scheme and port: scheduler, or worker.
addresses() { sed -nE "s,^$1( .*)? (tcp://|tls://)?([0-9.]+):[0-9]+$,\3,p" "$out" | sort -u; }

# expect_network ROLE NETWORK: every address of the role is one of that network.
expect_network() {
    local found
    found=$(addresses "$1")
    [[ -n $found ]] || fail "no address of a $1: $(<"$out")"
    ! grep -vqE "^${2//./[.]}[.][0-9]+$" <<<"$found" || fail "$1 at $found, expected $2.*"
}

works() {
    expect_code 0
    expect_line "$out" '^squares 328350$' 1
    expect_line "$out" '^lengths 20971520$' 1
    expect_line "$out" "^host ${hosts[0]}$" 1
    [[ -z $(said) ]] || fail "said: $(said)"
}

# What the step said on stderr, but for what Slurm says: of directories that the hosts do not have
# it does so for each task, in lines that mix.
said() { grep -oE '(dtask: |Traceback|[A-Z][A-Za-z]*Error|WARNING).*' "$err" || true; }

# Two tasks on each host.
request=(-N4 -n8 --ntasks-per-node=2 --mem-per-cpu=400 --dtask-wait=all)

# on_hosts ENGINE ARGS...: a step that gets its script by stdin.
on_hosts() {
    local engine=$1
    shift
    invoke_stdin "$clients/where.py" 120 srun -J "$name" --dtask="$engine" "${request[@]}" "$@" python3 -
    job=$(job_of "$name")
}
invoke_stdin() {
    local script=$1 limit=$2
    shift 2
    code=0
    as_user timeout --kill-after=5 "$limit" "$@" >"$out" 2>"$err" <"$script" || code=$?
    ((code != 124)) || fail "not done in $limit s: $*"
}

# sockets_of PATTERN: own addresses of the connections that processes whose command line matches
# have to other hosts.
sockets_of() {
    local host pids
    pids=$("$tree/tests/slurm/processes" "$job" | grep -E "$1" | cut -d' ' -f1 | sed 's/.*/pid=&,/')
    for host in "${hosts[@]}"; do
        "$sandbox" on "$host" ss -Htnp state established | grep -F "$pids" |
            awk '{ split($3, own, ":"); split($4, peer, ":"); if (own[1] != peer[1]) print own[1] }'
    done | sort -u
}

each_interface() {
    local engine=$1 tasks=$2 interface
    for interface in auto eth0; do # Slurm knows the hosts by their slow network
        on_hosts "$engine" --dtask-interface="$interface"
        works
        expect_network scheduler "$slow"
        expect_network worker "$slow"
        clean
    done

    on_hosts "$engine" --dtask-interface=sched=eth0,worker=ib0
    works
    expect_network scheduler "$slow"
    expect_network worker "$fast"
    clean

    # The script is a file that the client's host alone has.
    install -m 644 "$clients/where.py" "$hosted/${hosts[0]}/tmp/where.py"
    start_step --dtask="$engine" --dtask-interface=ib0 "${request[@]}" \
        python3 /tmp/where.py hold /tmp/go
    wait_for "the client's report" 120 has_field host
    expect_network scheduler "$fast"
    expect_network worker "$fast"
    used=$(sockets_of "$tasks")
    [[ -n $used ]] || fail "no task travels from host to host"
    ! grep -vq "^${fast}[.]" <<<"$used" || fail "tasks travel by $used"
    touch "$hosted/${hosts[0]}/tmp/go"
    end_step 60
    works
    rm "$hosted/${hosts[0]}/tmp"/{go,where.py}
    clean
}

@test "native: the network that the option names, by stdin or a file of one host" {
    each_interface native '(where.py|dtaskd worker)'
}

@test "dask: the network that the option names, by stdin or a file of one host" {
    each_interface dask '(where.py|dtask[.]_dask)'
}

@test "an interface that no node has ends the step with one clear line, in both engines" {
    local engine line='--dtask-interface=ib7: no such interface with an address on .*; there are: eth0, ib0, lo$'
    for engine in native dask; do
        on_hosts "$engine" --dtask-interface=ib7
        ((code != 0)) || fail "ib7 was accepted"
        [[ $(said | wc -l) == 1 && $(said) =~ ^dtask:\ scheduler:\ $line ]] || fail "said: $(said)"
        clean
        # Each of the seven workers finds it out by itself, and one is enough to tell.
        on_hosts "$engine" --dtask-interface=sched=eth0,worker=ib7
        ((code != 0)) || fail "worker=ib7 was accepted"
        [[ $(said | grep -cE -e "$line") == 1 && $(said | wc -l) -le 2 ]] || fail "said: $(said)"
        clean
    done
}
