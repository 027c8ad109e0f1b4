# SPDX-License-Identifier: Apache-2.0
"""Prints the sum of the first hundred squares, with as many workers as there are."""

import dtask

client = dtask.Client()
print("squares", sum(client.gather(client.map(lambda x: x * x, range(100)))))
