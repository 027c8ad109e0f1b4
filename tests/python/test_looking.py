# SPDX-License-Identifier: Apache-2.0
"""Whether who waits looks or sleeps is decided by what each takes."""

import os
import select
import threading
import time

import pytest
from dtask._looking import FIRST_ROUND, LAST_ROUND, LONGEST, TRIALS, Looking, look


def waits(looking, number, slept, looked):
    """How many of so many waits looked, where each way takes so long (s)."""
    count = 0
    for _ in range(number):
        looks = looking.begins()
        looking.took(looks, looked if looks else slept)
        count += looks
    return count


@pytest.mark.parametrize(
    ("slept", "looked", "pays"),
    [
        (120e-6, 60e-6, True),  # CPUs to spare
        (80e-6, 1.1e-3, False),  # all are busy
        (60e-6, 58e-6, False),  # nothing to gain
        (10e-3, 10e-3, False),  # long calls
        (10e-3, 9e-3, False),  # beyond what is counted
    ],
)
def test_what_pays_is_found(slept, looked, pays):
    looking = Looking()
    waits(looking, FIRST_ROUND, slept, looked)
    assert looking.pays is pays
    # The other way is tried ever more seldom.
    number = 100 * LAST_ROUND
    count = waits(looking, number, slept, looked)
    other = number - count if pays else count
    assert 0 < other < 2 * TRIALS * number / LAST_ROUND


def test_times_change():
    looking = Looking()
    waits(looking, 20 * LAST_ROUND, 120e-6, 60e-6)
    assert looking.pays
    waits(looking, 2 * LAST_ROUND, 80e-6, 1.1e-3)
    assert not looking.pays
    waits(looking, 2 * LAST_ROUND, 120e-6, 60e-6)
    assert looking.pays
    waits(looking, 2 * LAST_ROUND, 10e-3, 10e-3)  # it would cost CPU time for nothing
    assert not looking.pays


def test_one_that_was_long_decides_nothing():
    looking = Looking()
    waits(looking, 20 * LAST_ROUND, 120e-6, 60e-6)
    while not looking.begins():
        looking.took(False, 120e-6)
    looking.took(True, 30.0)
    waits(looking, 2 * LAST_ROUND, 120e-6, 60e-6)
    assert looking.pays


def test_look():
    read, write = os.pipe()
    poll = select.poll()
    poll.register(read, select.POLLIN)
    try:
        began = time.monotonic()
        assert not look(poll.poll)
        assert time.monotonic() - began >= LONGEST
        os.write(write, b"x")
        assert look(poll.poll)
        os.read(read, 1)
        # Another thread has its turn meanwhile.
        thread = threading.Thread(target=os.write, args=(write, b"x"))
        thread.start()
        end = time.monotonic() + 30
        while not look(poll.poll):
            assert time.monotonic() < end, "the other thread did not write within 30 s"
        thread.join(30)
    finally:
        os.close(read)
        os.close(write)
