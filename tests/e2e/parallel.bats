# SPDX-License-Identifier: Apache-2.0
# The examples of GNU parallel that doc/commands.md lists: run by it, and by `dtask map` in its
# place, all of these as clients of one cluster.

bats_require_minimum_version 1.5.0

load lib

setup() { setup_work; }
teardown() { teardown_work; }

@test "examples of GNU parallel: dtask map writes the same" {
    local example number=0 different=0
    sed -n '/^```examples$/,/^```$/p' "$tree/doc/commands.md" | sed '1d;$d' >examples
    (($(wc -l <examples) >= 40)) || fail "only $(wc -l <examples) examples in doc/commands.md"
    mkdir -p home/.parallel
    : >home/.parallel/will-cite
    export HOME=$work/home PARALLEL_SHELL=/bin/bash LC_ALL=C.UTF-8

    # run_all WHO: each example in a directory of its own, its output in WHO.N.
    cat >run_all <<'END'
[[ $1 != dtask ]] || parallel() { dtask map --progress none "$@"; }
while IFS= read -r example; do
    number=$((${number:-0} + 1))
    rm -rf here
    mkdir here
    cd here
    printf '%s\n' A B C >abc-file
    printf '%s\n' D E F >def-file
    printf '%s\0' A B C >abc0-file
    printf 'f1\tf2\nA\tB\nC\tD\n' >tsv-file.tsv
    seq 8 >num8
    eval "$example" >"../$1.$number" 2>"../$1.$number.err" <&4 || true
    cd ..
done 3<examples 4</dev/null <&3
END
    invoke 300 bash run_all gnu
    expect_code 0
    invoke 300 dtask run -n 1 -c 2 --slots overlap -- bash run_all dtask
    expect_code 0
    while IFS= read -r example; do
        number=$((number + 1))
        diff "gnu.$number" "dtask.$number" >differs && continue
        printf '%s\n' "$example" "$(<differs)" "$(<"dtask.$number.err")"
        different=$((different + 1))
    done <examples
    ((different == 0)) || fail "$different of $number examples differ"
    # What jobs write as errors comes through as well, whatever else is said.
    number=$(grep -nF 'echo {} >&2' examples | cut -d: -f1)
    diff <(grep -x '[ABC]' "gnu.$number.err") <(grep -x '[ABC]' "dtask.$number.err")
}
