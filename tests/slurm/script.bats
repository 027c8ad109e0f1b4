# SPDX-License-Identifier: Apache-2.0
# Job scripts, inheritance, nested steps, and steps that have nothing to do with dtask.

bats_require_minimum_version 1.5.0

load lib

write_script() {
    printf '%s\n' '#!/bin/bash' '#SBATCH --dtask' '#SBATCH -N4 -n8 --cpus-per-task=4 --mem-per-cpu=50' \
        "$@" "srun python3 $clients/report.py" >job.sh
}

@test "#SBATCH --dtask and a plain srun: the step is a cluster, the script is not" {
    write_script 'echo "script $(cat /proc/$PPID/comm)"'
    batch 90 job.sh
    expect_code 0
    expect_line "$out" '^script slurmstepd'
    expect_line "$out" '^cluster [78] 6$' 1
    expect_state COMPLETED
    nothing_left
}

@test "the same under --export=NONE" {
    # Newer ones log the user in for it, and nobody has no shell.
    [[ -z ${DTASK_SLURM:-} ]] || step_user=root
    write_script '#SBATCH --export=NONE' "PATH=${DTASK_SLURM:+$DTASK_SLURM/bin:}\$PATH"
    batch 90 job.sh
    expect_code 0
    expect_line "$out" '^cluster [78] 6$' 1
    nothing_left
}

@test "the CPUs per task of the script are those of the workers" {
    write_script
    batch 90 job.sh
    expect_line "$out" '^cluster 8 6$' 1
}

@test "options of #SBATCH lines are inherited, and the inner command line beats them" {
    printf '%s\n' '#!/bin/bash' '#SBATCH --dtask --dtask-slots=dedicated' \
        '#SBATCH -N4 -n8 --mem-per-cpu=50' \
        "srun python3 $clients/report.py" \
        "srun --dtask-slots=overlap python3 $clients/report.py" \
        "srun --dtask=off -n1 sh -c 'cat /proc/\$PPID/comm'" >job.sh
    batch 90 job.sh
    expect_code 0
    run -0 cat "$out"
    [[ ${lines[0]} == 'cluster 6 6' ]] || fail "${lines[0]}"
    [[ ${lines[1]} == 'cluster 8 6' ]] || fail "${lines[1]}"
    [[ ${lines[2]} == slurmstepd* ]] || fail "${lines[2]}"
}

@test "sbatch --dtask on the command line does the same" {
    printf '%s\n' '#!/bin/bash' "srun python3 $clients/report.py" >job.sh
    batch 90 --dtask -N2 -n4 --mem-per-cpu=50 job.sh
    expect_code 0
    expect_line "$out" '^cluster 3 6$' 1
}

@test "salloc --dtask does the same" {
    invoke 60 as_user salloc --dtask -J "$name" -N2 -n4 --mem-per-cpu=50 srun python3 "$clients/report.py"
    expect_code 0
    expect_line "$out" '^cluster 3 6$' 1
}

@test "two steps of one job, one after the other and side by side" {
    printf '%s\n' '#!/bin/bash' '#SBATCH --dtask -N4 -n8 --mem-per-cpu=50' \
        "srun python3 $clients/report.py" \
        "srun -N2 -n4 --exact python3 $clients/report.py &" \
        "srun -N2 -n4 --exact python3 $clients/report.py &" 'wait' >job.sh
    batch 90 job.sh
    expect_code 0
    expect_line "$out" '^cluster 7 6$' 1
    expect_line "$out" '^cluster 3 6$' 2
    nothing_left
}

@test "a step that the client starts is no cluster" {
    step -N2 -n4 --cpus-per-task=2 --mem-per-cpu=100 python3 "$clients/nested.py"
    expect_code 0
    expect_line "$out" '^inner 0$'
    expect_line "$out" '^parent slurmstepd' 3
    expect_line "$out" '^launch 0' 3
    nothing_left
}

@test "without --dtask, a step is what it is without the plugin" {
    # A second Slurm that has no plugin is what to compare with.
    local plain=$work/plain
    normal() {
        sed -E -e "s,$1,SANDBOX,g; s/\b[n-w]([0-9]+)\b/node\1/; s/sandbox[0-9]+(:[0-9.]+:[0-9]+)?/CLUSTER/" \
            -e '/SLURM_(JOB_?ID|TASK_PID|SRUN_COMM_PORT|STEP_LAUNCHER_PORT|JOB_NAME)=/d' \
            -e '/SLURM_JOB_(START_TIME|END_TIME|SLUID)=/d' -e '/ (DTASK_SANDBOX|_)=/d' | sort
    }
    run_srun 20 -N1 -n2 -l env
    expect_code 0
    normal "${SLURM_CONF%/*}" <"$out" >here
    [[ ! -s $err ]] || fail "srun said: $(<"$err")"
    mkdir -m 755 "$plain"
    DTASK_SANDBOX=$plain DTASK_BUILD=/nonexistent "$sandbox" up --nodes 4
    SLURM_CONF=$plain/slurm.conf as_user srun -J "$name" -N1 -n2 -l env | normal "$plain" >there || true
    DTASK_SANDBOX=$plain "$sandbox" down
    grep -q SLURM_PROCID= there
    diff there here
}
