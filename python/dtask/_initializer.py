# SPDX-License-Identifier: Apache-2.0
"""The initializer of an Executor: on the client's side what carries it to the workers, on theirs
what has run it. It is pickled once, and travels with each function of its pool."""

import os
from pickle import loads

_ran = {}  # in an executor: pool -> None, or how its initializer failed


class Initial:
    """Of one pool, which its `name` stands for. Raises PickleError, TooLarge."""

    def __init__(self, initializer, initargs):
        from ._pickling import dump, name_of

        self._name = os.urandom(8).hex()
        what = f"the initializer {name_of(initializer)} or its arguments"
        self._pickled = dump((initializer, tuple(initargs)), what)

    def before(self, function):
        """A callable that runs the initializer where that has yet to be, then the function."""
        return Call(self._name, self._pickled, function)


class Call:
    """What a task of such a pool runs."""

    def __init__(self, pool, pickled, function):
        self.pool = pool
        self.pickled = pickled
        self.func = function

    def __call__(self, *args, **kwargs):
        if _ran.get(self.pool, self):
            self._initialize()
        return self.func(*args, **kwargs)

    def _initialize(self):
        from .errors import InitializerFailed

        where = f"on worker {os.environ.get('DTASK_WORKER', '?')}"
        if self.pool not in _ran:
            try:
                function, args = loads(self.pickled)
                function(*args)
            except BaseException as error:
                _ran[self.pool] = f"the initializer of the pool failed {where}: {error!r}"
                raise InitializerFailed(_ran[self.pool]) from error
            _ran[self.pool] = None
        elif _ran[self.pool]:
            raise InitializerFailed(_ran[self.pool])
