# SPDX-License-Identifier: Apache-2.0
# Another version is installed while a step runs; client and scheduler of different versions.

bats_require_minimum_version 1.5.0

load lib

setup() {
    setup_step
    unset PYTHONPATH # the package is the one beside dtaskd
    plugstack=$DTASK_SANDBOX/plugstack.conf
    ours=$(<"$plugstack")
    mkdir -p prefix/bin prefix/python
    cp "$build/dtaskd" prefix/bin
    cp -r "$tree/python/dtask" prefix/python
    chmod -R a+rX prefix
    put "${ours/launcher=*dtaskd/launcher=$work/prefix/bin/dtaskd}"
}
teardown() {
    put "$ours"
    teardown_step
}
put() {
    printf '%s\n' "$1" >"$plugstack.new"
    mv "$plugstack.new" "$plugstack"
}

# install_version NAME: by rename, as package managers do. What its dtaskd does would be seen.
install_version() {
    local new=$work/new-$1
    cp -r "$tree/python/dtask" "$new"
    sed -i "s/^CHANNEL = 3$/&\nVERSION = \"$1\"/" "$new/executor.py"
    [[ $1 != foreign ]] || sed -i 's/^PROTOCOL = "1"/PROTOCOL = "2"/' "$new/executor.py"
    chmod -R a+rX "$new"
    printf '#!/bin/sh\necho "dtaskd of version %s" >&2\nexit 99\n' "$1" >dtaskd.new
    chmod 755 dtaskd.new
    mv dtaskd.new prefix/bin/dtaskd
    mv prefix/python/dtask "$work/before-$1"
    mv "$new" prefix/python/dtask
}

@test "a step goes on while another version is installed, or says why a worker does not" {
    chmod 777 prefix
    start_step -N2 -n3 --mem-per-cpu=100 --dtask-timeout=60 python3 "$clients/upgrade.py" "$work"
    wait_for "the first results" 60 test -e ready1
    install_version new
    : >go1
    wait_for "results of a worker that was lost" 60 test -e ready2
    install_version foreign
    : >go2
    end_step 60
    expect_code 0
    expect_line "$out" '^work 0 old$'
    expect_line "$out" '^crash tried again$'
    # What an executor is forked from was loaded before.
    expect_line "$out" '^work 1 old$'
    expect_line "$out" '^work 2 new old$'
    expect_line "$out" '^work 3 (new|old)$'
    expect_line "$err" 'its executors do not start .*: the package dtask there is of another version than this step; run it anew' 1
    expect_line "$err" 'dtaskd of version' 0
    nothing_left
}

@test "a client of another version is told so in one line" {
    mkdir other
    cp -r "$tree/python/dtask" other
    sed -i 's/dtask-1/dtask-2/' other/dtask/_wire.py
    chmod -R a+rX other
    PYTHONPATH=$work/other step -N1 -n2 --mem-per-cpu=100 python3 -c 'import dtask; dtask.Client()'
    expect_code 1
    expect_line "$err" "ConnectError: .*: the scheduler there speaks version 1 of dtask's protocol, and this package, in $work/other/dtask, version 2: dtask must be of one version on both sides$" 1
    nothing_left
}
