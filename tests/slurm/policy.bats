# SPDX-License-Identifier: Apache-2.0
# What a site permits: srun says it, and slurmstepd holds it against an srun that does not.

bats_require_minimum_version 1.5.0

sandbox_shape=(--nodes 2)
load lib

teardown() {
    teardown_step
    [[ ! -f /dev/log ]] || rm -f /dev/log # a place for a socket
}

# permitting WORDS: a file that is plugstack.conf with these words besides.
permitting() {
    sed "s|\$| $*|" "${SLURM_CONF%/*}/plugstack.conf" >"$work/plugstack"
    chmod 644 "$work/plugstack"
}

# refused WORDS PATTERN ARGS...: srun --dtask ARGS, where the site has these words, is refused.
refused() {
    permitting "$1"
    invoke 60 unshare -m --propagation private \
        sh -euc "mount --bind '$work/plugstack' '${SLURM_CONF%/*}/plugstack.conf'"'; exec "$@"' sh \
        srun -J "$name" --dtask "${@:3}" touch "$work/started"
    ((code != 0)) || fail "was accepted"
    expect_line "$err" "$2"
    [[ ! -e $work/started ]] || fail "the command was started"
}

@test "srun refuses what the site does not permit, in one line" {
    refused engines=native '--dtask=dask: not at this site; accepted: native$' -n4 --dtask=dask
    refused interfaces=ib0 '--dtask-interface=lo: not at this site; accepted: auto, ib0$' -n4 --dtask-interface=lo
    refused max_workers=2 '--dtask: 3 workers, more than this site lets a step have; accepted: at most 2$' -n4
    refused max_worker=2 'plugstack.conf: max_worker=2: no such key; accepted: .*max_workers' -n4
    permitting max_workers=3 engines=native,dask interfaces=lo syslog=off
    invoke 60 unshare -m --propagation private \
        sh -euc "mount --bind '$work/plugstack' '${SLURM_CONF%/*}/plugstack.conf'"'; exec "$@"' sh \
        srun -J "$name" --dtask -n4 --mem-per-cpu=50 --dtask-interface=lo true
    expect_code 0
}

@test "a node holds it against an srun that does not ask, and tells syslog of each cluster" {
    local nodes log=$work/log listener
    mapfile -t nodes < <(nodes_of_sandbox)
    permitting max_workers=2 syslog=on
    # The daemon's end of /dev/log, for this node.
    python3 -c 'import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
s.bind(sys.argv[1])
os.chmod(sys.argv[1], 0o666)
out = open(sys.argv[2], "wb", 0)
while True: out.write(s.recv(8192) + b"\n")' "$log" "$work/lines" 3>&- &
    listener=$!
    wait_for "a listener for syslog" 20 test -S "$log"
    [[ -e /dev/log ]] || : >/dev/log
    node_with "${nodes[0]}" "mount --bind '$work/plugstack' '${SLURM_CONF%/*}/plugstack.conf'; mount --bind '$log' /dev/log"
    step -N1 -w "${nodes[0]}" -n4 --mem-per-cpu=50 touch "$work/started"
    ((code != 0)) || fail "was accepted"
    expect_line "$err" '--dtask: 3 workers, more than this site lets a step have; accepted: at most 2'
    [[ ! -e $work/started ]] || fail "the command was started"
    nothing_left
    step -N1 -w "${nodes[0]}" -n3 --mem-per-cpu=50 true
    expect_code 0
    wait_for "a line in syslog" 20 grep -q 'dtask: job' "$work/lines"
    expect_line "$work/lines" "dtask: job $job step 0 of uid [0-9]+: engine native, slots packed, 2 workers of 1 CPUs" 1
    nothing_left
    kill "$listener"
    node_with "${nodes[0]}" true
}
