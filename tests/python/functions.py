# SPDX-License-Identifier: Apache-2.0
"""Functions and exceptions for tests, importable so that plain pickle finds them."""

import pickle
import time


def inc(x):
    return x + 1


def add(*numbers, more=0):
    return sum(numbers) + more


def echo(*args, **kwargs):
    return args, kwargs


def fail(message="no"):
    raise ValueError(message)


def fail_on_odd(x):
    if x % 2:
        raise ValueError(f"odd: {x}")
    return x


def leave(code):
    raise SystemExit(code)


def interrupt():
    raise KeyboardInterrupt


class Awkward(Exception):
    """Pickles, and does not unpickle."""

    def __init__(self, one, two):
        super().__init__(f"{one} {two}")


def fail_awkwardly():
    raise Awkward("a", "b")


class Unloadable:
    """Unpickling raises, once per try."""

    def __reduce__(self):
        return fail, ("cannot be loaded",)


class Unpicklable:
    def __reduce__(self):
        raise TypeError("this one stays here")


def make_unpicklable():
    return Unpicklable()


class Block:
    """Bytes that pickle leaves out of band where it may."""

    def __init__(self, data):
        self.data = data

    def __reduce_ex__(self, protocol):
        return Block, (pickle.PickleBuffer(self.data) if protocol >= 5 else bytes(self.data),)


def make_blocks(*sizes):
    return [Block(bytes([i % 251]) * size) for i, size in enumerate(sizes)]


def first_bytes(blocks):
    return [bytes(block.data[:1]) for block in blocks]


def size_of(value, more=b""):
    return len(value) + len(more)


def slow_apple():
    time.sleep(1)
    return "apple"
