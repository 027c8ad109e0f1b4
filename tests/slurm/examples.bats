# SPDX-License-Identifier: Apache-2.0
# The examples that are one script for both engines: the results are those of a single process.

bats_require_minimum_version 1.5.0

load lib

# example NAME ENGINE: a step of it.
example() {
    python3 "$clients/alone.py" "$tree/examples/$1.py" >alone
    grep -q . alone
    # Every worker of a grid search imports scikit-learn first.
    run_srun 150 --dtask="$2" -N2 -n4 --cpus-per-task=2 --mem-per-cpu=250 \
        python3 "$tree/examples/$1.py"
    expect_code 0
    diff alone "$out"
    # A busy machine may be worth a warning to Dask, but nothing may have failed.
    ! grep -nE 'Traceback|Error|^dtask: ' "$err" || fail "the step said: $(<"$err")"
    nothing_left 10
}

@test "dask.delayed, native" { example delayed native; }
@test "dask.delayed, dask" { example delayed dask; }
@test "concurrent.futures, native" { example futures native; }
@test "concurrent.futures, dask" { example futures dask; }
@test "joblib and scikit-learn, native" { example gridsearch native; }
@test "joblib and scikit-learn, dask" { example gridsearch dask; }
@test "a reduction of an array, native" { example reduction native; }
@test "a reduction of an array, dask" { example reduction dask; }

@test "scikit-learn by joblib, nested too: the scores of one process" {
    step "${request[@]}" python3 "$clients/learn.py"
    expect_code 0
    run -0 cat "$out"
    [[ $output == $'grid True\ncross True\nforest True\nnested True' ]] || fail "$output"
    nothing_left
}
