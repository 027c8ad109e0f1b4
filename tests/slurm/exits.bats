# SPDX-License-Identifier: Apache-2.0
# What of a client reaches srun: its exit code, its errors, how soon; and what it is given.

bats_require_minimum_version 1.5.0

load lib

@test "exit code 0" {
    client_ends exit 0
    expect_code 0
    ended_within 3
    nothing_left
    expect_state COMPLETED
    # A clean end is a silent one.
    [[ ! -s $err ]] || fail "said: $(<"$err")"
}

@test "a client that dies of SIGSEGV gives 139" {
    client_ends segv
    expect_code 139
    ended_within 3
    nothing_left
}

@test "a client that returns at once" {
    client_ends at-once
    expect_code 0
    ended_within 3
    nothing_left
}

@test "a command that is no Python and returns at once" {
    step "${request[@]}" true
    expect_code 0
    nothing_left
}

@test "a client that never connects" {
    client_ends never
    expect_code 0
    ended_within 3
    nothing_left
}

@test "a client that raises: its traceback, and 1" {
    client_ends raise
    expect_code 1
    expect_line "$err" "ValueError: the client's own error"
    ended_within 3
    nothing_left
}

@test "a command that does not exist gives 127 and says so" {
    step "${request[@]}" no-such-command
    expect_code 127
    expect_line "$err" 'no-such-command'
    nothing_left
}

@test "a command that cannot be executed gives 126 and says so" {
    echo text >plain-file
    step "${request[@]}" "$work/plain-file"
    expect_code 126
    expect_line "$err" 'plain-file'
    nothing_left
}

@test "the client has srun's stdin, its arguments and the submit directory" {
    code=0
    as_user srun -J "$name" --dtask -n2 --mem-per-cpu=200 sh -c 'cat; echo "$PWD|$1|$2"' sh 'a b' '' \
        >"$out" 2>"$err" < <(printf 'one\ntwo\n') || code=$?
    expect_code 0
    [[ $(<"$out") == $'one\ntwo\n'"$work|a b|" ]] || fail "$(<"$out")"
}
