# SPDX-License-Identifier: Apache-2.0
# dtask doctor on a cluster as it should be, and on twenty that are broken on purpose: in a mount
# namespace of its own each time, so that nobody else sees the damage.

bats_require_minimum_version 1.5.0

load lib

# doctor COMMANDS: after them, as root on a host that they have changed.
doctor() {
    invoke 60 unshare -m --propagation private bash -euc "$1"$'\n''exec "$DTASK" doctor'
}

setup() {
    setup_step
    export DTASK=$build/dtask PLUGSTACK=${SLURM_CONF%/*}/plugstack.conf
    read -r _ plugin launcher <"$PLUGSTACK"
    launcher=${launcher#launcher=}
}

# with_stack LINE...: where plugstack.conf has these lines.
with_stack() {
    printf '%s\n' "$@" >"$work/stack"
    doctor "mount --bind '$work/stack' '$PLUGSTACK'"
}

# with_conf EXPRESSION: where slurmctld's configuration is what sed makes of it.
with_conf() {
    mkdir -p "$work/bin"
    printf '#!/bin/sh\n/usr/bin/scontrol "$@" | sed "%s"\n' "$1" >"$work/bin/scontrol"
    chmod 755 "$work/bin/scontrol"
    doctor "PATH=$work/bin:\$PATH"
}

# finds VERDICT SUBJECT PATTERN: and the exit code says whether there is an error.
finds() {
    expect_line "$out" "^$1 +$2 +.*$3" 1
    expect_code "$([[ $1 == error ]] && echo 1 || echo 0)"
    [[ $1 == note ]] || expect_line "$out" '^ +mend: '
}

@test "a good cluster: nothing to mend, as root and as a user, and as JSON" {
    doctor :
    expect_code 0
    expect_line "$out" '^ok +slurm +Slurm [0-9.]+, slurmctld answers$'
    expect_line "$out" '^ok +plugin .*, for Slurm [0-9.]+, and srun knows --dtask$'
    expect_line "$out" '^ok +launcher '
    expect_line "$out" '^ok +cgroup +cgroup v[12] with memory and cpu$'
    expect_line "$out" '^ok +munge '
    expect_line "$out" '^0 errors, '
    invoke 60 as_user "$DTASK" doctor
    expect_code 0
    expect_line "$out" '^0 errors, '
    invoke 60 "$DTASK" doctor --json
    expect_code 0
    python3 -c 'import json, sys; d = json.load(open(sys.argv[1])); assert d["errors"] == 0 and d["findings"]' "$out"
    invoke 60 "$DTASK" doctor --jsn
    expect_code 2
}

@test "plugstack.conf: missing, without dtask, twice, with a wrong word" {
    doctor 'export SLURM_CONF=/nowhere/slurm.conf'
    expect_line "$out" '^error +slurm +scontrol'
    expect_code 1
    with_stack '# nothing'
    finds error plugstack 'does not load dtask'
    with_stack "optional $plugin launcher=$launcher" "required $plugin"
    finds error plugstack 'does so again'
    with_stack "optional $plugin launcher=$launcher memry=2G"
    finds error plugstack 'memry=2G: no such key'
    with_stack "optional $plugin launcher=$launcher" "include $work/none/*.conf"
    finds note plugstack 'matches no file'
}

@test "the plugin: missing, somebody else's, for all to write, no plugin at all" {
    local line="optional $work/dtask.so launcher=$launcher"
    chmod 755 "$work"
    with_stack "$line"
    finds error plugin 'No such file'
    cp "$plugin" "$work/dtask.so"
    chown nobody "$work/dtask.so"
    with_stack "$line"
    finds error plugin 'belongs to user 65534'
    chown root "$work/dtask.so"
    chmod 666 "$work/dtask.so"
    with_stack "$line"
    finds error plugin 'can be written by others'
    chmod 644 "$work/dtask.so"
    echo "no ELF" >"$work/dtask.so"
    with_stack "$line"
    finds error plugin 'cannot be loaded: it is no plugin'
}

@test "the launcher: missing, not for all, of another version" {
    local line="optional $plugin launcher=$work/dtaskd"
    chmod 755 "$work"
    with_stack "$line"
    finds error launcher 'No such file'
    printf '#!/bin/sh\necho dtaskd 0.0.9\n' >"$work/dtaskd"
    chmod 700 "$work/dtaskd"
    with_stack "$line"
    finds error launcher 'cannot be executed by all users'
    chmod 755 "$work/dtaskd"
    with_stack "$line"
    finds error launcher 'is dtask 0.0.9'
}

@test "slurm.conf: no task/cgroup, no memory, steps that are killed, little time to end" {
    with_conf 's,^\(TaskPlugin  *=\).*,\1 task/none,'
    finds warning slurm.conf 'TaskPlugin=task/none'
    with_conf 's,CR_CORE_MEMORY,CR_CORE,'
    finds warning slurm.conf 'no memory of their own'
    with_conf 's,^\(JobAcctGatherParams  *=\).*,\1 OverMemoryKill,'
    finds error slurm.conf 'OverMemoryKill'
    with_conf 's,^\(KillWait  *=\).*,\1 1 sec,'
    finds warning slurm.conf 'KillWait=1'
}

@test "the host: no munged, no interface, few ports, no scratch, few descriptors, no cloudpickle" {
    local line="optional $plugin launcher=$launcher"
    mkdir "$work/run"
    doctor "mount --bind '$work/run' '${PLUGSTACK%/*}/run'"
    finds error munge 'munge'
    with_stack "$line interface=nowhere0"
    finds error network 'interface nowhere0, which this host has not'
    with_stack "$line ports=20000-20007"
    finds warning network 'are 8'
    with_stack "$line scratch=$work/no"
    finds error scratch 'No such file'
    doctor 'ulimit -n 1024'
    finds warning limits 'at most 1024'
    printf '#!/bin/sh\nexec /usr/bin/python3 -S -E "$@"\n' >"$work/python"
    chmod 755 "$work/python"
    doctor "export DTASK_PYTHON=$work/python"
    finds warning python 'no cloudpickle'
    doctor "export DTASK_PYTHON=$work/nowhere"
    finds warning python 'functions do'
}
