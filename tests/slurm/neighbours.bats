# SPDX-License-Identifier: Apache-2.0
# Another SPANK plugin, before and after ours in plugstack, which changes the task's root, directory,
# variables and arguments as pyxis does.

bats_require_minimum_version 1.5.0

load lib

setup_file() {
    setup_sandbox
    # Where the user of the steps can read it.
    gcc -Wall -Wextra -Werror ${DTASK_SLURM:+-I"$DTASK_SLURM/include"} -shared -fPIC -o "$DTASK_SANDBOX/neighbour.so" \
        "$tree/tests/fakes/neighbour.c"
}

teardown_file() {
    rm -f "$DTASK_SANDBOX/neighbour.so"
    teardown_sandbox
}

setup() {
    setup_step
    mkdir root
    plugstack=$DTASK_SANDBOX/plugstack.conf
    ours=$(<"$plugstack")
    export NEIGHBOUR_GONE=yes
}

teardown() {
    put "$ours"
    teardown_step
}

put() {
    printf '%s\n' "$@" >"$plugstack.new"
    mv "$plugstack.new" "$plugstack"
}

# beside ARGUMENT: what a task of ours sees of the argument that the neighbour changes.
beside() {
    # With it and ours, with ours alone, with it alone, with neither.
    run_srun 60 --neighbour="$work/root" --dtask -N2 -n3 --mem-per-cpu=100 \
        python3 "$clients/neighbour.py" neighbour
    expect_code 0
    expect_line "$out" "^client here True /mnt True $1$" 1
    expect_line "$out" '^workers 2$'
    expect_line "$out" "^worker here True /mnt True $1$" 1
    [[ ! -s $err ]] || fail "said: $(<"$err")"
    nothing_left

    run_srun 60 --dtask -N2 -n3 --mem-per-cpu=100 python3 "$clients/neighbour.py" neighbour
    expect_code 0
    expect_line "$out" "^client None False $work False neighbour$" 1
    expect_line "$out" "^worker None False $work False neighbour$" 1
    nothing_left

    run_srun 60 --neighbour="$work/root" -N2 -n2 python3 "$clients/neighbour.py" neighbour
    expect_code 0
    expect_line "$out" '^client here True /mnt True NEIGHBOUR$' 2

    run_srun 60 -N2 -n2 python3 "$clients/neighbour.py" neighbour
    expect_code 0
    expect_line "$out" "^client None False $work False neighbour$" 2
}

@test "a plugin as pyxis before ours" {
    put "required $DTASK_SANDBOX/neighbour.so" "$ours"
    beside NEIGHBOUR
}

@test "a plugin as pyxis after ours" {
    put "$ours" "optional $DTASK_SANDBOX/neighbour.so"
    # From 23.11 on the words are the task's own once one has put a program in front of them.
    if [[ $(srun --version) =~ \ (22|23\.02)\. ]]; then
        beside NEIGHBOUR
    else
        beside neighbour
    fi
}
