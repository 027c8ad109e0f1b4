#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An ensemble some of whose members fail: what a script can do about it.

Each member is one function call. Results come as they are ready; a member that raises is tried
again twice; one that passes the worker's memory limit, or crashes, is reported and left out.
"""

import random

import dtask


def simulate(member):
    """Half a million random steps; one member in a while goes wrong, as simulations do."""
    generator = random.Random(member)
    if random.random() < 0.05:
        raise ArithmeticError("diverged")
    if member == 13:
        b"x" * (1 << 30)  # 1 GiB: more than a small worker may have
    return sum(generator.choice((-1, 1)) for _ in range(500_000))


def main():
    with dtask.Client() as client:
        futures = client.map(simulate, range(40), key="member", retries=2)
        ends, lost = [], []
        for future in dtask.as_completed(futures):
            try:
                ends.append(future.result())
            except dtask.DtaskError as error:  # it names the member itself
                lost.append(str(error))
            except ArithmeticError as error:
                lost.append(f"{future.key}: {error}")
    print(f"{len(ends)} members, mean end {sum(ends) / len(ends):.1f}")
    for line in lost:
        print("left out:", line)


if __name__ == "__main__":
    main()
