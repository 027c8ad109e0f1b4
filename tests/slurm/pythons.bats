# SPDX-License-Identifier: Apache-2.0
# The client's Python is the executors' too: of a virtual environment, with libraries of its own, in a
# container.

bats_require_minimum_version 1.5.0

load lib

ask() { step -N2 -n3 --mem-per-cpu=100 "$@"; }

# all_are WHAT: client and both workers.
all_are() {
    expect_code 0
    expect_line "$out" "^client $1$" 1
    expect_line "$out" "^worker $1$" 2
    [[ ! -s $err ]] || fail "said: $(<"$err")"
}

@test "a virtual environment, by its path, by PATH and by a #! line" {
    /usr/bin/python3 -m venv --system-site-packages --without-pip venv
    echo 'value = "installed"' >"$(echo venv/lib/python3*/site-packages)/only_here.py"
    { printf '#!%s\n' "$work/venv/bin/python3"; cat "$clients/python.py"; } >script
    chmod -R a+rX venv && chmod 755 script
    ask venv/bin/python "$clients/python.py"
    all_are "$work/venv installed the system's -"
    PATH=$work/venv/bin:$PATH ask python "$clients/python.py"
    all_are "$work/venv installed the system's -"
    ask ./script
    all_are "$work/venv installed the system's -"
    nothing_left
}

@test "a Python with a libstdc++ of its own" {
    # It lacks all that ours would want of it, and so do other libraries that such a Python brings.
    mkdir lib
    echo 'int mark(void) { return 42; }' | gcc -x c - -shared -fPIC -o lib/libstdc++.so.6
    for name in libfmt.so.9 libevent_core-2.1.so.7 libjansson.so.4 libsodium.so.23; do
        ln -s libstdc++.so.6 "lib/$name"
    done
    chmod -R a+rX lib
    LD_LIBRARY_PATH=$work/lib ask python3 "$clients/python.py"
    all_are '/usr None 42 -'
    # As the laptop's command, too.
    invoke 60 as_user env LD_LIBRARY_PATH="$work/lib" dtask run -n3 -- python3 "$clients/python.py"
    all_are '/usr None 42 -'
    nothing_left
}

# As apptainer does: the host's files, and the image's. Its word is the command's, its root the image's.
make_container() {
    mkdir -p bin root
    cat >bin/apptainer <<'END'
#!/bin/bash
[[ $1 == exec && $2 == --nv ]] || exit 250
root=$3
shift 3
exec unshare --user --map-current-user --keep-caps --mount /bin/bash -ec '
    mount --rbind / "$0"
    mount -t tmpfs image "$0/mnt"
    echo image >"$0/mnt/here"
    directory=$PWD
    exec chroot "$0" /bin/sh -c "cd \"\$0\" && exec \"\$@\"" "$directory" "$@"' "$root" "$@"
END
    chmod 755 bin/apptainer
    chmod 777 root
}

@test "in a container: executors are where the client is" {
    make_container
    PATH=$work/bin:$PATH ask apptainer exec --nv root python3 "$clients/python.py"
    all_are "/usr None the system's image"
    # A container of another kind: a script in Python's place.
    printf '#!/bin/sh\nexec %s exec --nv %s python3 "$@"\n' "$work/bin/apptainer" "$work/root" >python-there
    chmod 755 python-there
    ask ./python-there "$clients/python.py"
    all_are "/usr None the system's image"
    mv python-there there
    DTASK_PYTHON=$work/there ask ./there "$clients/python.py"
    all_are "/usr None the system's image"
    nothing_left
}
