# SPDX-License-Identifier: Apache-2.0
# Strangers at the ports of scheduler and workers, and where the token may be seen.

bats_require_minimum_version 1.5.0

load lib

start_map() {
    count=$1
    start_step "${request[@]}" python3 "$clients/hold_token.py" "$work/token" "$count"
    wait_for "the first results" 60 has_field started
}

# port_of ROLE [RANK]
port_of() {
    local pid port
    pid=$(one_process "$@") || fail "no process: $*"
    port=$(ports_of "$pid" | head -n 1)
    [[ -n $port ]] || fail "the $1 (pid $pid) listens at no port"
    printf '%s\n' "$port"
}

knock() { timeout 40 python3 "$clients/stranger.py" "$@"; }

map_goes_on() {
    end_step 90
    expect_code 0
    expect_line "$out" "^right $count$"
    nothing_left
}

# Every way at once, at one port, and then a crowd: the log says so, but not once for each.
knock_all_ways() {
    local port how lines knocks=()
    port=$(port_of "$@")
    for how in random wrong-token half silent; do
        knock "$port" "$how" &
        knocks+=("$!")
    done
    for how in "${knocks[@]}"; do wait "$how" || fail "a stranger at the $1"; done
    expect_line "$err" '(handshake|stranger|refused)'
    knock "$port" crowd || fail "a crowd at the $1"
    lines=$(wc -l <"$err")
    ((lines >= 1 && lines <= 20)) || fail "$lines lines in the log"
}

@test "strangers at the scheduler's port: closed, logged, the map goes on" {
    start_map 4500
    knock_all_ways scheduler
    map_goes_on
}

@test "strangers at a worker's port: closed, logged, the map goes on" {
    start_map 4500
    knock_all_ways worker "$last_task"
    map_goes_on
}

@test "the token is in no argv, no log and no file that others may read" {
    start_map 1000
    wait_for "the client's token" 20 test -s "$work/token"
    local token file
    token=$(<"$work/token")
    [[ $token =~ ^[0-9a-f]{64}$ ]] || fail "the token is no token: ${#token} characters"

    # Every command line of the machine, at once and while the map runs.
    run grep -salF -- "$token" /proc/[0-9]*/cmdline
    [[ -z $output ]] || fail "in a command line: $output"

    file=$(field file)
    [[ $file == /* ]] || file=$work/$file
    [[ $(stat -c '%a %U' "$file") == "600 $step_user" ]] || fail "$file: $(stat -c '%a %U' "$file")"

    # Logs of Slurm, what the step said, what it wrote. The scheduler file and the test's own may
    # hold it, since they are the user's alone.
    run find "${SLURM_CONF%/*}/log" "$work" /tmp/dtask-* /dev/shm -type f \
        \( -perm /077 -o -path '*/log/*' \) -exec grep -alF -- "$token" {} +
    [[ -z $output ]] || fail "in files: $output"
    run scontrol -dd show job "$job"
    [[ $output != *"$token"* ]] || fail "scontrol show job shows it"
    run scontrol -d show step "$job.0"
    [[ $output != *"$token"* ]] || fail "scontrol show step shows it"
    map_goes_on
    run grep -aF -- "$token" "$out" "$err"
    [[ -z $output ]] || fail "the step said it"
}

@test "scratch directories are their user's alone" {
    start_map 800
    run find "$TMPDIR" -mindepth 1 -maxdepth 1 -perm /077
    [[ -z $output ]] || fail "open to others: $output"
    map_goes_on
}

@test "functions see nothing of the launch: no DTASK_LAUNCH, no option of the plugin" {
    start_map 800
    local pid
    for pid in $(processes executor); do
        run grep -azE '^(DTASK_LAUNCH|SLURM_DTASK_|.*SLURM_SPANK_OPTION_dtask)' "/proc/$pid/environ"
        [[ -z $output ]] || fail "process $pid has ${output%%=*}"
    done
    map_goes_on
}
