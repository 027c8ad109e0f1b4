# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154,SC2016
#
# Hosts of their own for the nodes of tests/slurm/sandbox (`up --hosts`): each node is a network, a
# mount and a UTS namespace, with its slurmd inside.
#
#   this machine ── dtsbS 10.77.S.254 ──┐
#                                 slow bridge ── eth0 10.77.S.i ──┐
#                                                                 host i: /tmp, /dev/shm and
#                                 fast bridge ── ib0  10.78.S.i ──┘ host name of its own
#
# S is the sandbox's slot, i the number of the node. This machine, where slurmctld runs and srun is
# called, reaches the slow network only. A host has no other route, and no name of a host resolves.
# Of /tmp a host sees what the sandbox itself needs (its directory, the tree, the build); a host's
# own /tmp is DIR/hosts/NODE/tmp from outside. All else of the file system is this machine's.
#
# Invariants. A namespace lives as long as its holder, a process of ours that does nothing (`switch`
# for the bridges, `host-NODE`), and is known by the holder's pid file; no namespace has a name on
# the machine, and no mount is seen outside. The veths end with the namespaces at their ends: the
# only thing on this machine to be removed is dtsbS.

slow_network() { printf '10.77.%d.%s' "$slot" "$1"; }
fast_network() { printf '10.78.%d.%s' "$slot" "$1"; }

host_names() {
    local i
    for ((i = 1; i <= nodes; i++)); do printf 'host-%s\n' "$(node_name "$i")"; done
}

# hold NAME NAMESPACES... -- SCRIPT ARGS...: SCRIPT runs in new namespaces, and then they are held.
hold() {
    local name=$1 spaces=()
    shift
    while [[ $1 != -- ]]; do
        spaces+=("$1")
        shift
    done
    rm -f "$dir/run/$name.pid"
    daemon setsid --fork unshare "${spaces[@]}" bash -c "set -euo pipefail
        $2"'
        echo $$ >"$0/run/$1.pid"
        exec -a "$0/hosts/$1" sleep infinity' "$dir" "$name" "${@:3}" >>"$dir/log/start.log" 2>&1
    wait_until 20 pid_of "$name" >/dev/null
}

# inside NAME COMMAND...: in the network of a holder.
inside() {
    local pid
    pid=$(pid_of "$1") || return 1
    shift
    nsenter --target "$pid" --net env PATH="$system_path" "$@"
}

start_switch() {
    local name
    # Without it the hosts have no network any more.
    for name in $(host_names); do
        stop "slurmd-${name#host-}"
        stop "$name"
    done
    remove_network
    hold switch --net -- 'ip link set lo up
        ip link add slow up type bridge
        ip link add fast up type bridge' || return 1
    ip link add "$(login_link)" type veth peer name login netns "$(pid_of switch)" || return 1
    inside switch ip link set login master slow up || return 1
    ip addr add "$(slow_network 254)/24" dev "$(login_link)" || return 1
    ip link set "$(login_link)" up
}

# start_host NODE
start_host() {
    local node=$1 i=${1:1} at=$dir/hosts/$1 seen needed=() pid
    stop "slurmd-$node"
    mkdir -p "$at/tmp"
    chmod 1777 "$at/tmp"
    for seen in "$dir" "$tree" "$(readlink -f "$build" || true)"; do
        [[ $seen != /tmp/* ]] || needed+=("$seen")
    done
    hold "host-$node" --net --mount --uts -- 'ip link set lo up
        hostname "$2"
        at=$0/hosts/$2
        for seen in "${@:3}"; do
            mkdir -p "$at$seen"
            mount --bind "$seen" "$at$seen"
        done
        mount --rbind "$at/tmp" /tmp
        mount -t tmpfs -o mode=1777 shm /dev/shm' "$node" "${needed[@]}" || return 1
    pid=$(pid_of "host-$node") || return 1
    plug "$pid" "slow$i" slow eth0 "$(slow_network "$i")" || return 1
    plug "$pid" "fast$i" fast ib0 "$(fast_network "$i")"
}

# plug HOLDER PORT BRIDGE INTERFACE ADDRESS
plug() {
    inside switch ip link delete "$2" 2>/dev/null || true # of a host that has died
    inside switch ip link add "$2" up master "$3" type veth peer name "$4" netns "$1" || return 1
    nsenter --target "$1" --net ip addr add "$5/24" dev "$4" || return 1
    nsenter --target "$1" --net ip link set "$4" up
}

remove_network() {
    # It goes with the switch's end of it, but that may take the kernel a moment.
    local link said
    link=/sys/class/net/$(login_link)
    [[ ! -e $link ]] || said=$(ip link delete "$(login_link)" 2>&1) || [[ ! -e $link ]] || die "$said"
}

# on_host NODE COMMAND...: becomes COMMAND on that host.
on_host() {
    local pid node=$1
    shift
    pid=$(pid_of "host-$node") || die "no host $node runs; hosts: $(host_names | sed s/host-// | paste -sd' ')"
    exec nsenter --target "$pid" --net --mount --uts --wd=/ "$@"
}
