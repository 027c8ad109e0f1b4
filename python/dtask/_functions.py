# SPDX-License-Identifier: Apache-2.0
"""Functions that the scheduler knows of a session, and what is sent to make one known.

To pickle a function costs more than to send a call of it, so that it is not done for each call. One
that goes by name is pickled once. One that goes by value, as those of a script do, is pickled anew
once anything that its pickle is made of is another object: its code, the globals that it names, and
so on (`_stamp`). Where that may change inside, as a list can, it is pickled for every call.
"""

import sys
from types import BuiltinFunctionType, CodeType, FunctionType, ModuleType

from . import _nesting, _pickling, _wire

# What cannot change inside, or goes by name.
_FIXED = {int, float, complex, str, bytes, bool, type(None), range, ModuleType, BuiltinFunctionType}
_MISSING = object()
_MOST_SEEN = 256  # functions whose stamps are kept, and with each the function itself


class Functions:
    """Of one session, which owns it. Any thread may call it."""

    def __init__(self, session):
        self._session = session
        self._last = 0
        self._known = {}  # (pickle, or its digest, depth) -> number
        self._uploads = {}  # name -> archive; see _uploads
        self._seen = {}  # (id, depth) -> (function, stamp, number)

    def number(self, function, name):
        """The number of a function, which is sent if it is new."""
        level = _nesting.level()
        seen = self._seen.get((id(function), level))
        if seen is not None:
            stamp = seen[1]
            if stamp is None or _same(stamp, _stamp(function)):
                return seen[2]
        return self._add(function, name, level)

    def upload(self, name, archive):
        """Let what is sent from now on find the modules of an archive."""
        self._uploads.pop(name, None)
        self._uploads[name] = archive  # the last one is found first
        self._known.clear()
        self._seen.clear()

    def _add(self, function, name, level):
        stamp = _stamp(function)  # before its pickle: what changes meanwhile is seen next time
        data, by_name = _pickling.dump_function(function, name)
        body = _pickling.wrap_function(data, self._uploads.items(), level)
        known = _pickling.digest(data), level

        def make():
            if known in self._known:
                return []
            self._last += 1
            self._known[known] = self._last
            header = {"t": "function", "f": self._last, "name": name}
            return [_wire.frame(header, len(body)), body]

        self._session.connection.send(make)
        number = self._known[known]
        if by_name or stamp is not None:
            if len(self._seen) >= _MOST_SEEN:
                self._seen.clear()
            self._seen[id(function), level] = (function, None if by_name else stamp, number)
        return number


def _same(old, new):
    return new is not None and len(old) == len(new) and all(a is b for a, b in zip(old, new))


def _stamp(function):
    """The objects that the pickle of a script's own function is made of; None where they cannot be
    told, or may change inside."""
    if function.__class__ is not FunctionType or _pickling.modules_by_value():
        return None
    stamp = []
    return stamp if _enter(function, stamp, {function}) else None


def _enter(function, stamp, met):
    code = function.__code__
    stamp.append(code)
    values = [*function.__dict__, *function.__dict__.values()]
    values += [*(function.__defaults__ or ()), *(function.__kwdefaults__ or {}).values()]
    for cell in function.__closure__ or ():
        try:
            values.append(cell.cell_contents)
        except ValueError:  # nothing is in it yet
            return False
    table = function.__globals__
    values += [table.get(name, _MISSING) for name in _names(code)]
    stamp += values
    for value in values:
        kind = value.__class__
        if kind in _FIXED or value is _MISSING:
            continue
        if kind is not FunctionType and not isinstance(value, type):
            return False
        if _goes_by_name(value) or value in met:
            continue
        if kind is not FunctionType:
            return False
        met.add(value)
        if not _enter(value, stamp, met):
            return False
    return True


_named = {}  # code -> its names of globals


def _names(code):
    """The names that a code and those within it may look up among the globals; attributes too,
    which does no harm."""
    names = _named.get(code)
    if names is None:
        found = dict.fromkeys(code.co_names)
        for constant in code.co_consts:
            if isinstance(constant, CodeType):
                found.update(dict.fromkeys(_names(constant)))
        if len(_named) > 10_000:
            _named.clear()
        names = _named[code] = tuple(found)
    return names


def _goes_by_name(value):
    """Whether a function or class is found in its module, which is no script."""
    name = value.__module__
    if name == "__main__" or "." in value.__qualname__:
        return False
    return getattr(sys.modules.get(name), value.__name__, None) is value
