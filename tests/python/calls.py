# SPDX-License-Identifier: Apache-2.0
"""What the tests of dtask.Executor call on workers, well or badly."""

import os
import signal
import sys
import time

LONG = 60  # s, for what takes far less: a bound, not an expectation


def capture(*args, **kwargs):
    return args, kwargs


def nap(seconds, value=None):
    time.sleep(seconds)
    return value


def wait_for_file(path, value=None):
    end = time.monotonic() + LONG
    while not os.path.exists(path):
        if time.monotonic() > end:
            raise TimeoutError(path)
        time.sleep(0.01)
    return value


def big(value):
    return bytes([value]) * 200_000  # more than travels with a message


class Thing:
    def method(self):
        return None


def make_thing(_):
    return Thing()


class Empty(Exception):
    """An exception that is false."""

    def __len__(self):
        return 0


class False_(Exception):
    def __bool__(self):
        return False


def raise_it(kind, *args):
    raise kind(*args)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("not to be pickled")


def make_unpicklable():
    return Unpicklable()


class FailsThere:
    def __reduce__(self):
        return raise_it, (ValueError, "not to be unpickled")


def make_fails_there():
    return FailsThere()


class ExitsThere:
    def __reduce__(self):
        return sys.exit, (1,)


class CrashesThere:
    def __reduce__(self):
        return crash, ()


class CrashesAtPickle:
    def __reduce__(self):
        crash()


def make_crashes_at_pickle():
    return CrashesAtPickle()


class ExitsAtPickle:
    def __reduce__(self):
        sys.exit(1)


def make_exits_at_pickle():
    return ExitsAtPickle()


def crash(data=None):
    import faulthandler

    faulthandler.disable()
    os.kill(os.getpid(), signal.SIGSEGV)
    time.sleep(LONG)


state = "not set"


def set_state(value):
    global state
    assert state != value, "once in a process"
    state = value


def get_state(seconds=0):
    time.sleep(seconds)
    return state, os.getpid()


def initialize_badly():
    raise ValueError("not here")
