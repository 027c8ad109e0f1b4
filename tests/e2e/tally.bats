# SPDX-License-Identifier: Apache-2.0
# scripts/tally: what scripts/check counts with must not overlook a failure.

bats_require_minimum_version 1.5.0

load lib

setup() { setup_work; }
teardown() { teardown_work; }

tally() { run -0 "$tree/scripts/tally" "$@"; }
counts() { [[ ${lines[-1]} == "$1" ]] || fail "counted '${lines[-1]}', expected '$1'"; }
says() { grep -qE -- "$1" <<<"$output" || fail "no line matches '$1': $output"; }

# trs NAME RESULT: as automake's test driver leaves it; the log is stdin.
trs() {
    printf ':test-result: %s\n:global-test-result: %s\n:recheck: no\n' "$2" "$2" >"$1.trs"
    cat >"$1.log"
}

@test "libcheck: each case counts, failures with their line" {
    trs good PASS <<<'100%: Checks: 5, Failures: 0, Errors: 0'
    trs bad FAIL <<END
50%: Checks: 4, Failures: 1, Errors: 1
../../tests/unit/test_x.cpp:17:F:core:sums:0: Assertion 'a == b' failed
tests/unit/test_x.cpp:31:E:core:falls:0: (after this point) Received signal 11
END
    # From a build directory in the tree, as tally sees it.
    local inside=$build/tally-$$
    mkdir -p "$inside"
    cp ./*.trs ./*.log "$inside"
    tally automake "$inside"
    rm -rf "$inside"
    counts '7 2 0'
    says '^tests/unit/test_x.cpp:17:F:core:sums'
    says '^tests/unit/test_x.cpp:31:E:core:falls'
}

@test "a program that fails after all its cases passed is a failure" {
    trs leaky FAIL <<END
100%: Checks: 3, Failures: 0, Errors: 0
==1==ERROR: LeakSanitizer: detected memory leaks
END
    tally automake .
    counts '3 1 0'
    says 'LeakSanitizer'
}

@test "other programs count as one; a skipped one is neither" {
    trs rules PASS <<<'all well'
    trs other FAIL <<<'lib/base/fd.h:12: includes lib/ev/loop.h'
    trs third SKIP <<<'no reason'
    tally automake .
    counts '1 1 1'
    says '^lib/base/fd.h:12: FAIL'
}

@test "nothing run counts as nothing" {
    tally automake .
    counts '0 0 0'
}

@test "bats: file and line of each failure" {
    cat >a.tap <<'END'
1..3
ok 1 works in 12ms
not ok 2 breaks in 5ms
# (from function `fail' in file tests/e2e/lib.bash, line 3,
#  in test file tests/slurm/x.bats, line 42)
#   `false' failed
# after 5 s: the end did not happen
# and more
ok 3 is left out # skip not here
END
    tally tap a.tap
    counts '1 1 1'
    says '^tests/slurm/x.bats:42: breaks \| after 5 s: the end did not happen$'
}

@test "bats that was cut short, or wrote nothing, is a failure" {
    printf '1..3\nok 1 works\n' >a.tap
    tally tap a.tap
    counts '1 1 0'
    : >b.tap
    tally tap b.tap
    counts '0 1 0'
    tally tap no-such-file
    counts '0 1 0'
}

@test "pytest: a failure, an error and a skipped case" {
    cat >a.xml <<'END'
<testsuites><testsuite>
<testcase classname="tests.a" name="one"/>
<testcase classname="tests.a" name="two"><failure message="assert 1 == 2">tests/a.py:7: in two
    assert 1 == 2
tests/a.py:9: AssertionError</failure></testcase>
<testcase classname="tests.a" name="three"><error message="boom">none</error></testcase>
<testcase classname="tests.a" name="four"><skipped message="no"/></testcase>
</testsuite></testsuites>
END
    tally junit a.xml
    counts '1 2 1'
    says '^tests/a.py:9: tests.a.two: assert 1 == 2'
    printf '<testsuites>' >b.xml
    tally junit b.xml
    counts '0 1 0'
}
