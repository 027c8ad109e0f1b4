# SPDX-License-Identifier: Apache-2.0
# shellcheck shell=bash disable=SC2154
#
# The packages, built from what `make dist` makes, and installed on a fresh Debian that has Slurm and nothing
# else: an admin's and a user's first ten minutes, the demo's job, and nothing left in the end.
#
# All of it is made in setup_file, so that each test can be run alone. It needs root, and the mirror that apt
# uses. Built without optimisation and with ccache, in build/ccache: the RPM is the second to compile the same.

bats_require_minimum_version 1.5.0

load ../e2e/lib

unoptimised='-O0 -U_FORTIFY_SOURCE'

# recorded NAME COMMAND...: its output is in $place/NAME.log, its exit code in $place/NAME.code.
recorded() {
    local name=$1 code=0
    shift
    "$@" >"$place/$name.log" 2>&1 </dev/null 3>&- || code=$?
    echo "$code" >"$place/$name.code"
    return "$code"
}

# succeeded NAME: a test's first lines; the end of the log where it has not.
succeeded() {
    [[ $(cat "$place/$1.code" 2>/dev/null) == 0 ]] && return
    tail -n 25 "$place/$1.log"
    fail "$1 failed, or was not begun"
}

unpack_release() {
    make -C "$build" -s dist &&
        mkdir "$place/release" &&
        tar -C "$place/release" --strip-components=1 -xf "$build"/dtask-*.tar.xz
}

debian() (
    cd "$place/release" || return
    export DEB_CXXFLAGS_SET=$unoptimised DEB_CFLAGS_SET=-O0 DEB_CPPFLAGS_SET='' DEB_LDFLAGS_SET=''
    # shellcheck disable=SC2155
    export DEB_BUILD_OPTIONS="nocheck noautodbgsym parallel=$(nproc)"
    timeout --kill-after=20 900 dpkg-buildpackage -b -us -uc
)

# In the same directories as Debian's, so that the compiler is asked for the same.
enterprise() {
    timeout --kill-after=20 900 rpmbuild -tb --nodeps --define "_topdir $place/rpm" \
        --define '_libdir /usr/lib' --define "optflags $unoptimised" "$build"/dtask-*.tar.xz
}

# The fresh system, and a Slurm in it as a site has it: no step of the tests needs to know of the sandbox.
fresh() {
    timeout --kill-after=20 600 "$here/chroot" make "$place/root" || return
    "$here/chroot" hold "$place/root" "$place" >/dev/null 2>&1 </dev/null 3>&- &
    echo "$!" >"$place/holder"
    wait_for "the fresh system to be held" 60 test -e "$place/held" || return
    inside env DTASK_SANDBOX="$place/sandbox" DTASK_PLUGSTACK=/etc/slurm/plugstack.conf \
        "$tree/tests/slurm/sandbox" up || return
    inside ln -s "$place/sandbox/slurm.conf" /etc/slurm/slurm.conf || return
    inside useradd -m -s /bin/bash ada || return
    files >"$place/before"
}

inside() { timeout --kill-after=20 300 "$here/chroot" run "$(cat "$place/holder")" "$@"; }
as_ada() { inside setpriv --reuid=ada --regid=ada --init-groups env -C /home/ada HOME=/home/ada "$@"; }

# What a package may have left: all of the system but logs, lists of packages, and homes.
files() {
    inside find / -xdev \( -path "$tree" -o -path "$place" -o -path /proc -o -path /sys -o -path /dev \
        -o -path /run -o -path /tmp -o -path /root -o -path /home -o -path '/var/log' -o -path /var/cache \
        -o -path /var/lib/dpkg -o -path /var/lib/apt \) -prune -o -print | sort
}

bring_packages() {
    succeeded debian
    succeeded fresh
    inside sh -c "cp '$place'/*.deb /root"
}

setup_file() {
    place=$(mktemp -d /tmp/dtask-packages.XXXXXX)
    chmod 755 "$place"
    mkdir "$place/sandbox"
    export place here=$BATS_TEST_DIRNAME
    export CCACHE_DIR=$build/ccache CCACHE_SLOPPINESS=locale PATH=/usr/lib/ccache:$PATH
    unset CXXFLAGS CFLAGS CPPFLAGS LDFLAGS PYTHONPATH
    recorded fresh fresh &
    if recorded release unpack_release; then
        recorded debian debian || true
        recorded rpm enterprise || true
    fi
    wait "$!" || true
}

teardown_file() {
    local holder
    if holder=$(cat "$place/holder" 2>/dev/null); then
        inside env DTASK_SANDBOX="$place/sandbox" "$tree/tests/slurm/sandbox" down >/dev/null 2>&1 || true
        kill -KILL "$holder" 2>/dev/null || true # unshare(1) ignores SIGTERM
    fi
    rm -rf --one-file-system "$place"
}

setup() { here=$BATS_TEST_DIRNAME; }

@test "dpkg-buildpackage makes the four packages, of the release's version" {
    local version package
    succeeded release
    succeeded debian
    version=$(sed -n 's/^AC_INIT(\[dtask\], \[\(.*\)\], \[\].*/\1/p' "$tree/configure.ac")
    for package in dtask slurm-plugin-dtask python3-dtask dtask-doc; do
        [[ -n $(compgen -G "$place/${package}_${version}_*.deb") ]] ||
            fail "no $package of version '$version', only: $(cd "$place" && echo *.deb)"
    done
    dpkg-deb -f "$place"/slurm-plugin-dtask_*.deb Breaks | grep -q 'slurm-wlm-basic-plugins (<< [0-9]'
}

@test "make install leaves an edited line alone, and make uninstall leaves nothing" {
    local to=$place/installed line
    succeeded debian
    into() { make -s -C "$place/release/build/debian" DESTDIR="$to" "$@" 2>&1; }
    line=$to/etc/slurm/plugstack.conf.d/dtask.conf
    into install >/dev/null
    grep -qx 'optional /usr/lib/dtask/dtask.so launcher=/usr/libexec/dtask/dtaskd ports=20000-29999' "$line"
    # What an older version left, and nobody edited, is replaced.
    echo old | tee "$line" >"$to/usr/share/dtask/dtask.conf"
    into install-snippet
    grep -q '^optional' "$line"
    echo '# ours' >>"$line"
    into install-snippet | grep -q 'was edited and is left'
    grep -q '^# ours' "$line"
    [[ $(grep -c '^# ours' "$line.new") == 0 ]]
    into uninstall-snippet | grep -q 'is dtask.conf.saved now'
    [[ -e $line.saved && ! -e $line && ! -e $line.new ]]
    rm "$line.saved"
    into install-snippet
    into uninstall >/dev/null
    [[ -z $(find "$to" -not -type d) && -z $(find "$to" -name '*dtask*' -o -name '*.d') ]] || {
        find "$to"
        fail "make uninstall left this"
    }
}

@test "rpmbuild makes the four packages, whose line names what is in them" {
    local package path files
    succeeded release
    succeeded rpm
    cd "$place"
    for package in rpm/RPMS/*/*.rpm; do
        files+=$(rpm -qpl "$package" 2>/dev/null)$'\n'
        rpm2archive -n "$package"
        mkdir -p unpacked
        tar -C unpacked -xf "$package.tar"
    done
    [[ $(printf '%s\n' rpm/RPMS/*/*.rpm | wc -l) == 4 ]]
    while read -r path; do
        grep -qxF "$path" <<<"$files" || fail "no $path in the packages"
    done < <(grep ^optional unpacked/etc/slurm/plugstack.conf.d/dtask.conf | grep -o '/usr[^ ]*')
    unpacked/usr/bin/dtask --version
    rpm -qp --conflicts rpm/RPMS/*/slurm-plugin-dtask-*.rpm 2>/dev/null | grep -qE '^slurm < [0-9]+\.[0-9]+$'
    rpm -qpc rpm/RPMS/*/slurm-plugin-dtask-*.rpm 2>/dev/null | grep -qx /etc/slurm/plugstack.conf.d/dtask.conf
}

@test "the first ten minutes are as doc/first-ten-minutes.md has them" {
    bring_packages
    inside "$here/transcript" "$tree/doc/first-ten-minutes.md" ada "$place/as-printed.md" || {
        cp "$place/as-printed.md" "$build/first-ten-minutes.md"
        fail "as printed: build/first-ten-minutes.md"
    }
}

@test "the packages run the demo's job, and purged they leave nothing" {
    local said
    bring_packages
    inside sh -c 'apt-get install -q -y /root/*.deb'
    cat >"$place/few.json" <<'CONF'
{"sigma": [10], "rho": [14, 28], "beta": [1, "8/3"], "members": 64, "step": 0.03, "settle": 5,
 "shortest": 5, "longest": 10, "tolerance": 0.02}
CONF
    said=$(as_ada srun --dtask -N4 -n8 --cpus-per-task=4 --mem-per-cpu=50 \
        python3 /usr/share/doc/dtask/examples/lyapunov.py --parameters "$place/few.json")
    echo "$said"
    [[ $(grep -cE ' 4 +200 MiB$' <<<"$said") == 7 ]]
    grep -q '^largest exponent at (10, 28, 8/3): 0.[89]' <<<"$said"
    as_ada test -s lyapunov.csv

    inside apt-get purge -q -y dtask slurm-plugin-dtask python3-dtask dtask-doc
    files >"$place/after"
    diff "$place/before" "$place/after" || fail "the packages left something behind"
    as_ada srun --mem-per-cpu=50 true
}
