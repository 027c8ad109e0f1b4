# SPDX-License-Identifier: Apache-2.0
"""Who waits for one result reads it himself, and nobody is the worse for it."""

import signal
import threading
import time

import functions
import pytest


def lend(client):
    """One call after the other, until the receiver thread has lent its role."""
    end = time.monotonic() + 30
    direct = client._session.connection.direct
    while not (direct.lent and direct._uses):
        assert client.submit(functions.inc, 1).result(10) == 2
        assert time.monotonic() < end, "the role was not lent within 30 s"
    return direct


def taken_back(direct):
    end = time.monotonic() + 30
    while direct.lent:
        assert time.monotonic() < end, "the role was not taken back within 30 s"
        time.sleep(0.001)


def test_one_call_after_the_other(client):
    direct = lend(client)
    before = direct._uses
    assert [client.submit(functions.inc, n).result(10) for n in range(200)] == list(range(1, 201))
    assert direct._uses > before
    taken_back(direct)


def test_others_hear_meanwhile(start):
    """While one waits for what takes long, results of other calls come, by whatever way."""
    fake, client = start("run")
    lend(client)
    slow = client.submit(time.sleep, 0.3)
    called, seen = threading.Event(), []
    client.submit(functions.inc, 1).add_done_callback(lambda future: called.set())
    thread = threading.Thread(
        target=lambda: seen.extend(client.gather(client.map(functions.inc, range(50))))
    )
    thread.start()
    assert slow.result(10) is None
    thread.join(10)
    assert seen == list(range(1, 51))
    assert called.wait(10)


def test_patience(start):
    fake, client = start("hold")
    direct = client._session.connection.direct
    direct._asked = True
    client.info()  # a turn of the receiver's, with nothing outstanding
    end = time.monotonic() + 10
    while not direct.lent and time.monotonic() < end:
        time.sleep(0.001)
    future = client.submit(functions.inc, 1)
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        future.result(0.2)
    assert 0.15 < time.monotonic() - began < 5


def test_the_end_of_the_connection(start):
    fake, client = start("hold")
    future = client.submit(functions.inc, 1)
    threading.Timer(0.2, fake.drop).start()
    with pytest.raises(Exception) as caught:
        future.result(10)
    assert type(caught.value).__name__ == "ClusterLost"


class Now(BaseException):
    pass


def test_handlers_that_raise(client):
    """A signal handler may raise between any two instructions: nothing is lost by it, neither a result
    nor the connection."""
    lend(client)

    def raise_now(*_):
        raise Now

    old = signal.signal(signal.SIGALRM, raise_now)
    raised = n = 0
    end = time.monotonic() + 5
    try:
        while time.monotonic() < end:
            n += 1
            future = client.submit(functions.inc, n)
            try:
                signal.setitimer(signal.ITIMER_REAL, 10e-6 + (n * 7919 % 1000) * 1e-6)
                future.result(20)
                signal.setitimer(signal.ITIMER_REAL, 0)
            except Now:
                raised += 1
            finally:
                try:
                    signal.setitimer(signal.ITIMER_REAL, 0)
                except Now:
                    raised += 1
            assert future.result(20) == n + 1, n
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    assert raised > 100, (raised, n)
    assert client.gather(client.map(functions.inc, range(100))) == list(range(1, 101))
    assert client._session.is_idle()


def test_a_role_that_was_not_given_back(client):
    """Who is thrown out between two instructions leaves it locked: the receiver makes a new one."""
    direct = lend(client)
    assert direct._role.acquire(timeout=10)
    taken_back(direct)
    assert client.submit(functions.inc, 1).result(10) == 2
