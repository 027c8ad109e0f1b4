# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The configuration files of tests/slurm/sandbox: slurm.conf, cgroup.conf and plugstack.conf.

cgroup_version() {
    if [[ -e /sys/fs/cgroup/memory/tasks && -e /sys/fs/cgroup/freezer/tasks ]]; then
        echo v1
    elif [[ -e /sys/fs/cgroup/cgroup.controllers ]]; then
        echo v2
    else
        die "no cgroups at /sys/fs/cgroup: Slurm needs the v1 controllers memory, freezer, cpuacct, cpuset and devices mounted there, or v2"
    fi
}

# The nodes' lines: one for all of them, or one for each where their memory differs.
node_lines() {
    local i each=() line
    line="NodeHostname=localhost CPUs=$cpus Boards=1 SocketsPerBoard=1 CoresPerSocket=$cpus ThreadsPerCore=1 State=UNKNOWN"
    IFS=, read -ra each <<<"$megabytes"
    if ((${#each[@]} == 1)); then
        echo "NodeName=$(node_list) NodeAddr=$address Port=$ports RealMemory=$megabytes $line"
        return
    fi
    for ((i = 1; i <= nodes; i++)); do
        echo "NodeName=$(node_name "$i") NodeAddr=${address/\[*\]/$i} Port=$((base + i))" \
            "RealMemory=${each[$((i <= ${#each[@]} ? i - 1 : -1))]} $line"
    done
}

# Jobs of `requeued` and `cancelled` make way for those of `urgent`; the latter have 30 s for it.
preemption_lines() {
    [[ $preempt == yes ]] || return 0
    cat <<CONF
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
PartitionName=requeued Nodes=ALL PriorityTier=1 PreemptMode=REQUEUE MaxTime=600 DefaultTime=10 DefMemPerCPU=250
PartitionName=cancelled Nodes=ALL PriorityTier=1 PreemptMode=CANCEL GraceTime=30 MaxTime=600 DefaultTime=10 DefMemPerCPU=250
PartitionName=urgent Nodes=ALL PriorityTier=2 PreemptMode=OFF MaxTime=600 DefaultTime=10 DefMemPerCPU=250
CONF
}

write_conf() {
    local base version controller=127.0.0.1 address=127.0.0.1 ports listen=NoCtldInAddrAny
    local track=cgroup task=task/cgroup,task/affinity gather=jobacct_gather/cgroup
    [[ $cgroups == yes ]] || track=linuxproc task=task/none gather=jobacct_gather/linux
    base=$(base_port)
    ports="[$((base + 1))-$((base + nodes))]"
    if [[ $hosts == yes ]]; then
        # It would listen on what its host name resolves to: that is loopback, always.
        controller=$(slow_network 254) address=$(slow_network "[1-$nodes]") listen=
    fi
    version=$(cgroup_version)
    cat >"$conf" <<CONF
ClusterName=sandbox$slot
SlurmctldHost=localhost($controller)
SlurmctldPort=$base
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket=$dir/run/munge.socket
CredType=cred/munge
${listen:+CommunicationParameters=$listen}

StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool/%n
SlurmctldPidFile=$dir/run/slurmctld.pid
SlurmdPidFile=$dir/run/slurmd-%n.pid
SlurmctldLogFile=$dir/log/slurmctld.log
SlurmdLogFile=$dir/log/slurmd-%n.log
PlugStackConfig=$plugstack
JobCompType=jobcomp/filetxt
JobCompLoc=$dir/log/jobcomp.log
AccountingStorageType=accounting_storage/none
MpiDefault=none
SwitchType=switch/none

SelectType=select/cons_tres
SelectTypeParameters=CR_Core_Memory
ProctrackType=proctrack/$track
TaskPlugin=$task
# No binding by default: Slurm cannot lay out 8 CPUs on a machine that has fewer.
TaskPluginParam=None
JobAcctGatherType=$gather
JobAcctGatherFrequency=task=5

# Quick to start, quick to end, and finished jobs stay readable for a while.
SchedulerType=sched/backfill
SchedulerParameters=batch_sched_delay=0,sched_min_interval=0,sched_interval=2,bf_interval=2
FirstJobId=$((1 + 10000 * slot))
KillWait=5
MinJobAge=600
InactiveLimit=0
CompleteWait=0
JobRequeue=0
ReturnToService=2
SlurmdTimeout=300
UnkillableStepTimeout=60
TCPTimeout=5

# More CPUs a node than the machine has: the nodes share it.
SlurmdParameters=config_overrides
$(node_lines)
PartitionName=main Nodes=ALL Default=YES MaxTime=600 DefaultTime=10 DefMemPerCPU=250 OverSubscribe=NO State=UP
$(preemption_lines)
CONF
    {
        printf 'CgroupPlugin=cgroup/%s\nConstrainRAMSpace=yes\nConstrainCores=no\n' "$version"
        if [[ $version == v2 ]]; then echo IgnoreSystemd=yes; else echo CgroupMountpoint=/sys/fs/cgroup; fi
    } >"$dir/cgroup.conf"
}

# The plugin's line, or nothing while it is not built. Slurm reads the file at each step, so a
# plugin built after `up` is picked up by the next call.
write_plugstack() {
    local so line=
    [[ -z ${DTASK_PLUGSTACK:-} ]] || return 0
    for so in "$build/spank/.libs/dtask.so" "$build/spank/dtask.so"; do
        if [[ -f $so ]]; then
            line="required $so launcher=$build/dtaskd"
            # A node on which the plugin cannot make a group of its own either.
            [[ $cgroups == yes ]] || line="optional ${line#* } cgroup_root=$dir/nothing"
            break
        fi
    done
    [[ -f $plugstack && $(<"$plugstack") == "$line" ]] && return 0
    printf '%s\n' "$line" >"$plugstack.new"
    mv -f "$plugstack.new" "$plugstack"
}
