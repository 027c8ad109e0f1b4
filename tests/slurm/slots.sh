# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The slots of this machine, for tests/slurm/sandbox: a sandbox has one of its own while it is up.
#
# Slurm names its cgroups after the node (slurm_n1), so two sandboxes must not share node names,
# ports, networks or job ids. A slot is a letter for the nodes, a hundred of ports, ten thousand
# of job ids, and the networks 10.77.SLOT.0/24 and 10.78.SLOT.0/24.
#
# Invariants. LOCKS/dtask-sandbox.SLOT names the directory that has the slot; it is believed as
# long as that directory's mark says the same. Slots are taken and given back under the lock of the
# whole machine only (lock_machine). What may be somebody else's is never swept.

locks=/run/lock
[[ -d $locks ]] || locks=/tmp # a container may have none
letters=(n o p q r s t u v w)
max_nodes=64

node_name() { printf '%s%d' "${letters[$slot]}" "$1"; }
node_list() { printf '%s[1-%d]' "${letters[$slot]}" "$nodes"; }
base_port() { printf '%d' "$((17000 + 100 * slot))"; }
login_link() { printf 'dtsb%d' "${1:-$slot}"; }

lock_machine() {
    exec 9>"$locks/dtask-sandbox.lock"
    flock -w 120 9 || die "another sandbox on this machine holds $locks/dtask-sandbox.lock for 120 s"
}
unlock_machine() { exec 9>&-; }

owner_file() { printf '%s/dtask-sandbox.%d' "$locks" "$1"; }

# The directory that has the slot, or nothing.
owner_of() {
    local at='' has=''
    { read -r at <"$(owner_file "$1")"; } 2>/dev/null || return 0
    { read -r has _ <"$at/dtask-sandbox"; } 2>/dev/null || return 0
    [[ $has != "$1" ]] || printf '%s' "$at"
}

# Is one of the ports, a node name or the network of this slot in use?
slot_busy() {
    local s=$1 base=$((17000 + 100 * $1)) busy procs
    [[ ! -e /sys/class/net/$(login_link "$s") ]] || return 0
    busy=$(awk -v lo="$base" -v hi="$((base + max_nodes))" '
        function hex(h,  i, n) { for (i = 1; i <= length(h); i++) n = n * 16 + index("0123456789ABCDEF", substr(h, i, 1)) - 1; return n }
        $4 == "0A" { split($2, a, ":"); p = hex(a[length(a)]); if (p >= lo && p <= hi) { print p; exit } }
    ' /proc/net/tcp /proc/net/tcp6 2>/dev/null)
    [[ -z $busy ]] || return 0
    procs=$(find /sys/fs/cgroup -path "*/slurm_${letters[$s]}[0-9]*/*" -name cgroup.procs \
        -exec cat {} + 2>/dev/null | head -n 1)
    [[ -n $procs ]]
}

choose_slot() {
    for ((slot = 0; slot < ${#letters[@]}; slot++)); do
        [[ -z $(owner_of "$slot") ]] || continue
        slot_busy "$slot" || return 0
    done
    die "all ${#letters[@]} sets of node names and ports (17000-17999) are in use on this machine"
}

# Does our mark name a slot that somebody else has by now?
slot_lost() {
    local owner
    owner=$(owner_of "$slot")
    [[ $owner != "$dir" ]] || return 1
    [[ -z $owner ]] || return 0
    # Nobody says that it is his, nor do we: whoever runs there has it.
    [[ $(missing) == "$(daemons)" ]] && slot_busy "$slot"
}

take_slot() { printf '%s\n' "$dir" >"$(owner_file "$slot")"; }
give_slot_back() { [[ $(owner_of "$slot") != "$dir" ]] || rm -f "$(owner_file "$slot")"; }
