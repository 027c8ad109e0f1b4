# SPDX-License-Identifier: Apache-2.0
"""Graphs of tasks on their way to the scheduler (doc/protocol.md, section 3, `graph`).

A task is a function and its arguments, in which a `Ref` stands for the value of an input. Inputs
are tasks that were added before, so the order of adding is one in which everything can run; the
scheduler takes it for the order of preference as well, so a depth-first one keeps few values alive.
"""

from . import _inputs, _pickling, _wire
from ._future import Future
from ._outbox import MAX_BATCH, MAX_TASKS
from ._terms import terms


class Ref:
    """In arguments: the value of the task's input of that index."""

    __slots__ = ("index",)

    def __init__(self, index):
        self.index = index

    def __reduce__(self):
        return _inputs.get, (self.index,)


class Chain:
    """Functions that run one after the other as one task: each takes the value of the one before
    as the input 0 of its arguments, which come pickled but for the first one's."""

    def __init__(self, functions):
        self.functions = functions
        self.__name__ = "-".join(map(_pickling.name_of, functions))[:80]

    def __call__(self, first, *rest):
        args, kwargs = first
        value = self.functions[0](*args, **kwargs)
        for function, pickled in zip(self.functions[1:], rest):
            args, kwargs = _inputs.load_with(pickled, [value])
            value = function(*args, **kwargs)
        return value


class Sender:
    """Sends the tasks of one graph, many to a message. Use by one thread.

    count  how many tasks will be added at most
    """

    def __init__(self, session, count, retries=0, priority=0):
        self._session = session
        self._terms = terms(retries, priority)
        self._graph = self._next = session.outbox.reserve(count)
        self._numbers = {}  # id of a function -> its number; the graph keeps it alive
        self._clear()

    def _clear(self):
        self._keys, self._functions, self._counts, self._wanted = [], [], [], []
        self._inputs, self._futures, self._bodies = [], [], []
        self._size = 0

    def function(self, function):
        """The number of a function, which is pickled once however often it is used."""
        number = self._numbers.get(id(function))
        if number is None:
            number = self._numbers[id(function)] = self._session.function(function)[0]
        return number

    def add(self, function, args, kwargs, inputs=(), wanted=None):
        """Add a task: `inputs` are numbers that add() returned, `wanted` the name (str) of a
        result that is to come here. Returns (its number, its Future or None)."""
        name = wanted or _pickling.name_of(function)
        data = _pickling.dump((args, kwargs), name, "the arguments of ")
        number = self._next
        future = None
        if wanted is not None:
            future = Future(self._session, name, name)
            future._number = number
            self._futures.append(future)
        self._functions.append(self.function(function))
        self._next = number + 1
        self._keys.append(number)
        self._counts.append(len(inputs))
        self._inputs.extend(inputs)
        self._wanted.append(0 if future is None else 1)
        self._bodies.append(data)
        self._size += len(data)
        if len(self._keys) >= MAX_TASKS or self._size >= MAX_BATCH:
            self.flush()
        return number, future

    def flush(self, complete=False):
        """Send what was added; `complete` with the last of it."""
        columns = (
            self._functions,
            self._keys,
            self._counts,
            self._inputs,
            self._wanted,
            map(len, self._bodies),
        )
        head = _wire.frame(
            '{"t":"graph","g":%d,"complete":%d,%s,"f":[%s],"k":[%s],'
            '"inputs":[%s],"in":[%s],"want":[%s],"len":[%s]}'
            % (
                self._graph,
                complete,
                self._terms,
                *(",".join(map(str, column)) for column in columns),
            ),
            self._size,
        )
        self._session.outbox.send_graph(self._futures, [head, *self._bodies])
        self._clear()
