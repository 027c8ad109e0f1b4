# SPDX-License-Identifier: Apache-2.0
"""Pickling on the client's side: functions, arguments, values.

Plain pickle is tried first. cloudpickle takes over where that fails, and where the pickle names
``__main__``: the executors' ``__main__`` is another one, so what is defined in the user's script
has to travel by value. cloudpickle is imported only then.
"""

import pickle
import sys
import types

from . import _inputs
from ._future import inputs as _met
from ._wire import MAX_VALUE
from .errors import PickleError, TooLarge

_dumps = pickle.dumps
_BY_NAME = (types.FunctionType, types.BuiltinFunctionType, type)


def name_of(function):
    """A function's name for keys and messages (str)."""
    for _ in range(8):
        name = getattr(function, "__name__", None)
        if isinstance(name, str):
            return name
        inner = getattr(function, "func", None)  # functools.partial
        if inner is None:
            break
        function = inner
    return type(function).__name__


def size_text(size):
    """Bytes for people: ``"85.3 MiB"``."""
    for unit in ("bytes", "KiB", "MiB"):
        if size < 1024:
            return f"{size:.1f} {unit}" if unit != "bytes" else f"{size} bytes"
        size /= 1024
    return f"{size:.1f} GiB"


def _cloud_dumps(value, what, reason):
    try:
        import cloudpickle
    except ImportError:
        raise PickleError(
            f"{what} cannot be pickled ({reason}), and the package cloudpickle, which could, "
            "is not installed"
        ) from None
    _met.found.clear()
    try:
        data = cloudpickle.dumps(value, 5)
    except Exception as error:
        raise PickleError(f"{what} cannot be pickled: {error}") from error
    return _inputs.wrap_code(data) if b"CodeType" in data else data


def dump(value, what, prefix=""):
    """Pickle a value; prefix + what name it in the error. Raises PickleError and TooLarge."""
    try:
        data = _dumps(value, 5)
    except Exception as error:
        data = _cloud_dumps(value, prefix + what, error)
    else:
        if b"__main__" in data:
            data = _cloud_dumps(value, prefix + what, "it refers to __main__")
    if len(data) > MAX_VALUE:
        raise TooLarge(f"{prefix}{what}: {size_text(len(data))} pickled, at most 64 MiB are possible")
    return data


def dump_arguments(args, kwargs, name):
    """Pickle a call's arguments: (bytes, futures among them, in the order of their numbers)."""
    found = _met.found
    _met.active = True
    try:
        data = dump((args, kwargs), name, "the arguments of ")
        return data, found[:] if found else None
    finally:
        _met.active = False
        if found:
            found.clear()


def modules_by_value():
    """The modules whose functions cloudpickle was told to take by value (set of names)."""
    cloudpickle = sys.modules.get("cloudpickle")
    return getattr(cloudpickle, "list_registry_pickle_by_value", set)()


def dump_function(function, name):
    """Pickle a callable: (bytes, whether the pickle is but a reference by name)."""
    what = f"the function {name}"
    if not callable(function):
        raise TypeError(f"expected a function, got {type(function).__name__}: {function!r:.60}")
    if modules_by_value():
        data = _cloud_dumps(function, what, "its module was registered to go by value")
        return data, False
    data = dump(function, what)
    by_name = isinstance(function, _BY_NAME) and len(data) < 1024
    return data, by_name and _names_only(data)


def _names_only(data):
    """Whether a short pickle holds a global's name and nothing else."""
    import pickletools

    allowed = {"PROTO", "FRAME", "SHORT_BINUNICODE", "MEMOIZE", "STACK_GLOBAL", "STOP"}
    return all(opcode.name in allowed for opcode, _, _ in pickletools.genops(data))


def digest(data):
    """What stands for a function's pickle in a table: itself, or its hash where it is long."""
    if len(data) <= 4096:
        return data
    import hashlib

    return hashlib.sha256(data).digest()


def wrap_function(data, uploads=(), depth=0):
    """The body of a `function` message: the pickle, this process's sys.path, uploads, and depth."""
    import os

    path = [os.path.abspath(entry) for entry in sys.path if isinstance(entry, str)]
    return _inputs.wrap_function(data, path, uploads, depth)
