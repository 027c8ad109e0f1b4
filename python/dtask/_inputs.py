# SPDX-License-Identifier: Apache-2.0
"""How functions and futures travel inside pickles. Read by clients and executors.

A function's pickle is wrapped so that unpickling it first makes the client's ``sys.path`` known to
the executor: what the client can import, the function can.

Arguments that contain futures are pickled at once, each future as ``get(i)``; when the inputs are
there, the pickle is wrapped together with the inputs' own pickles, but for those whose values stay
on workers: these are the task's inputs. Nothing is unpickled on the way.
"""

import sys
try:
    from _pickle import PickleBuffer, dumps, loads  # as in executor.py
except ImportError:
    from pickle import PickleBuffer, dumps, loads

from ._nesting import Nested

_values = []  # a stack: an input's own unpickling may load inputs again


class _Call:
    __slots__ = ("function", "arguments")

    def __init__(self, function, *arguments):
        self.function = function
        self.arguments = arguments

    def __reduce__(self):
        return self.function, self.arguments


def get(index):
    """The input of that number of the arguments that are just being unpickled."""
    return _values[-1][index]


def identity(value):
    """A task whose result is what was sent with it."""
    return value


def piece(data):
    """A task whose result are the bytes that were sent with it, stored as they lie."""
    return PickleBuffer(data)


class Joined:
    """A value that was sent in pieces (bytes-like) which follow each other: `sizes` are those of its
    pickle and of the buffers that go with it. It is written as the value itself, and never put
    together for it."""

    def __init__(self, sizes, pieces):
        self.sizes = sizes
        self.pieces = pieces

    def parts(self):
        """The pickle and the buffers, each a list of memoryviews."""
        rest, parts = iter(self.pieces), []
        for size in self.sizes:
            part, at = [], 0
            while at < size:
                part.append(memoryview(next(rest)).cast("B"))
                at += len(part[-1])
            parts.append(part)
        return parts

    def __reduce__(self):
        parts = [b"".join(part) for part in self.parts()]
        return _rejoin, (parts[0], [PickleBuffer(part) for part in parts[1:]])


def _rejoin(pickled, buffers):
    return loads(pickled, buffers=buffers)


def load(pickled, inputs):
    """Unpickle arguments (bytes) whose inputs (pickles) are at hand."""
    return load_with(pickled, [loads(data) for data in inputs])


def load_with(pickled, values):
    """Unpickle arguments (bytes) whose inputs are these values."""
    _values.append(values)
    try:
        return loads(pickled)
    finally:
        _values.pop()


def load_mixed(pickled, places):
    """Unpickle arguments (bytes) whose inputs are, by place, pickles or (int) inputs of the task
    that is just being unpickled."""
    return load_with(
        pickled, [get(place) if place.__class__ is int else loads(place) for place in places]
    )


PYTHON = f"{sys.implementation.name} {sys.version_info[0]}.{sys.version_info[1]}"


def load_code(pickled, python):
    """Unpickle what holds code (bytes), which no other Python than that could run."""
    if python != PYTHON:
        from .errors import PickleError

        raise PickleError(
            f"this is {PYTHON} ({sys.executable}) and the client's {python}: functions and classes "
            "of a script travel as code, which takes the same version; set DTASK_PYTHON to the "
            "client's Python, or put them into a module that the workers can import"
        )
    return loads(pickled)


def wrap_code(pickled):
    """Note which Python a pickle that holds code is for."""
    return dumps(_Call(load_code, pickled, PYTHON), 5)


def load_function(pickled, path, uploads=(), depth=0):
    """Unpickle a function, with the client's directories last in sys.path, and its uploads first;
    `depth` as in _nesting."""
    if uploads:
        from ._uploads import unpack

        for name, data in uploads:
            unpack(name, data)
    known = set(sys.path)
    sys.path.extend(entry for entry in path if entry not in known)
    function = loads(pickled)
    return Nested(function, depth) if depth else function


def wrap(pickled, inputs):
    """Join pickled arguments and their inputs to one pickle (bytes)."""
    return dumps(_Call(load, pickled, tuple(map(bytes, inputs))), 5)


def wrap_mixed(pickled, places):
    """Join pickled arguments and what is at hand of their inputs, see load_mixed, to one pickle."""
    return dumps(_Call(load_mixed, pickled, tuple(places)), 5)


def wrap_function(pickled, path, uploads=(), depth=0):
    """Join a pickled function, the client's sys.path, its uploads and depth to one pickle (bytes)."""
    more = (tuple(uploads), depth) if depth else (tuple(uploads),) if uploads else ()
    return dumps(_Call(load_function, pickled, tuple(path), *more), 5)
