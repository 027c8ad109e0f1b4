# SPDX-License-Identifier: Apache-2.0
# The code blocks of the guides and of README that need a Slurm, as their reader would run them; the
# others run in tests/e2e/test_guide.py.

bats_require_minimum_version 1.5.0

load lib

# `sbatch` shows what its job wrote, and has its exit code.
watched_sbatch() {
    mkdir -p bin
    cat >bin/sbatch <<'SCRIPT'
#!/bin/bash
set -euo pipefail
ended() {
    local state='JobState=@(COMPLETED|FAILED|CANCELLED|TIMEOUT|NODE_FAIL)'
    [[ $(scontrol -o show job "$job") == *$state* ]]
}
job=$(/usr/bin/sbatch --parsable -o 'job-%j.out' "$@")
for ((i = 0; i < 1500; i++)); do
    ! ended || break
    sleep 0.1
done
cat "job-$job.out"
[[ $(scontrol -o show job "$job") == *' ExitCode=0:0 '* ]]
SCRIPT
    chmod +x bin/sbatch
}

# document NAME: each block of it that needs a Slurm.
document() {
    watched_sbatch
    export SLURM_JOB_NAME=$name SBATCH_JOB_NAME=$name
    invoke 240 as_user env PATH="$work/bin:$PATH" \
        python3 "$tree/tests/e2e/blocks.py" slurm "$1" "$work"
    expect_code 0
    expect_line "$out" "^$1: [1-9][0-9]* blocks$"
}

@test "from a laptop to a thousand nodes" { document doc/guide.md; }
@test "from something else" { document doc/migrate.md; }
@test "README" { document README.md; }
