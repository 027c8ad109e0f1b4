# SPDX-License-Identifier: Apache-2.0
# Dask's collections on the native engine: the results are those of Dask in one process.

bats_require_minimum_version 1.5.0

# Where /tmp is memory no value is moved there.
[[ $(stat -f -c %T /tmp) != tmpfs ]] || work_below=/var/tmp

load lib

collections=(-N4 -n8 --cpus-per-task=4 --mem-per-cpu=100 python3 "$clients/collections_same.py")

all_same() {
    local count
    count=$(tail -n 1 "$out")
    [[ ${count% *} -ge 30 && ${count% *} == "${count#* }" ]] || fail "$(grep -v ': same$' "$out")"
}

@test "dask.array, bag, dataframe and delayed, also when a worker is killed in the midst" {
    start_step "${collections[@]}"
    wait_for "the first programs" 120 grep -q '^array mean: same' "$out"
    kill -KILL "$(one_process worker 3)"
    end_step 150
    expect_code 0
    all_same
    expect_line "$err" 'worker ended with signal 9'
    nothing_left 10
}

# Blocks on disk, of a step that keeps its scratch directories below $TMPDIR.
spilled() { find "$TMPDIR" -path '*/spill/*' -type f ! -name '*.part' -size +1M; }
has_spilled() { (($(spilled | wc -l) > 20)); }

@test "an array of three times the workers' memory, also when a worker dies that holds a half" {
    start_step -N4 -n4 --mem-per-cpu=128 --dtask-slots=dedicated \
        python3 "$clients/collections_large.py" "$work/made" "$work/go"
    wait_for "all blocks" 120 test -e "$work/made"
    wait_for "blocks on disk" 30 has_spilled
    kill -KILL "$(one_process worker 3)"
    touch "$work/go"
    end_step 150
    expect_code 0
    expect_line "$out" '^right$'
    (($(field array) >= 3 * $(field limits)))
    expect_line "$err" 'worker ended with signal 9'
    nothing_left 10
}
