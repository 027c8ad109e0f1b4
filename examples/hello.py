#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Who works here? The shortest script for a cluster.

srun --dtask -n 4 python3 hello.py
dtask run -n 4 -- python3 hello.py
"""

import os
import socket

from dtask import Client


def greet(number):
    print(f"number {number} runs in process {os.getpid()} on {socket.gethostname()}")
    return number**2


with Client() as client:
    print(client.gather(client.map(greet, range(8))))
