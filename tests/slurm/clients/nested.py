# SPDX-License-Identifier: Apache-2.0
"""A client that starts a step of its own: prints whose child each of its tasks is."""

import subprocess

import dtask

client = dtask.Client()
assert client.submit(abs, -3).result(30) == 3
inner = ["srun", "--overlap", "-N2", "-n3", "--mem=0", "--cpus-per-task=1"]
inner += ["sh", "-c", 'echo "parent $(cat /proc/$PPID/comm)"; echo "launch $(env | grep -c "^DTASK_LAUNCH=")"']
done = subprocess.run(inner, capture_output=True, text=True, timeout=30)
print(done.stdout, end="")
print("inner", done.returncode)
print(done.stderr, end="")
assert client.submit(abs, -4).result(30) == 4
