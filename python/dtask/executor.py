# SPDX-License-Identifier: Apache-2.0
"""The process that runs functions: ``python3 -m dtask.executor``, started by a worker, or forked
from one that has loaded it (_nursery.py).

It reads records from file descriptor 3 and answers there (doc/protocol.md, section 5), runs one
call after the other in its only thread, and exits at end of file. It imports as little as it can,
because it starts often, and costs a few microseconds a call. What the function raises, SystemExit
and KeyboardInterrupt included, is the call's result; what kills the process is the worker's to
report. Standard output is flushed line by line and after each call.
"""

import os
import sys
try:
    from _pickle import dumps, loads  # pickle itself loads re and more, which few calls need
except ImportError:
    from pickle import dumps, loads
from struct import Struct
from time import monotonic_ns

from . import _nesting
from ._store import Missing, let_go, pack, pickled, store as keep

CHANNEL = 3
PROTOCOL = "1"  # of what goes over it, as the worker tells in DTASK_EXECUTOR_PROTOCOL
OTHER_VERSION = 76  # exit code
FUNCTION, CALL, FORGET, READY, RESULT, ERROR, TOO_LARGE, INPUT, STORED, MISSING = range(1, 11)
BLOCKED, UNBLOCKED, CLUSTER, VOID_AHEAD = range(11, 15)
LIMIT = 64 << 20  # bytes of a pickled value
CHUNK = 64 << 10  # bytes of one read; more would come from mmap, page by page
RECORD = Struct("<B7xQQQ")  # kind, function or run time, task, length


def describe(error, skip):
    """The pickled error of protocol section 5; `skip` of our own frames are left out."""
    from traceback import format_exception

    trace = error.__traceback__
    for _ in range(skip):
        if trace is not None:
            trace = trace.tb_next
    try:
        text = "".join(format_exception(type(error), error, trace))
    except BaseException as nested:
        text = f"{type(error).__name__} (formatting its traceback raised {nested!r})"
    try:
        message = str(error)
    except BaseException:
        message = "(its str() raised)"
    try:
        # An exception with an __init__ of its own may pickle and yet not unpickle.
        data = pickled(error)
        if len(data) > LIMIT >> 4 or not isinstance(loads(data), BaseException):
            data = None
    except BaseException:
        data = None
    return dumps((data, type(error).__qualname__, message, text), 5)


def explain(error, value, ran):
    """What went wrong before the function ran, or after it had, in clearer words where there are.
    `value` is what it has returned."""
    better = None
    if not ran and isinstance(error, ModuleNotFoundError):
        better = ModuleNotFoundError(
            f"{error} on worker {os.environ.get('DTASK_WORKER', '?')} ({sys.executable}), though the "
            "function or its arguments need it: install it there, or send it by Client.upload",
            name=error.name,
            path=error.path,
        )
    elif ran and isinstance(error, Exception) and not isinstance(error, (OSError, MemoryError)):
        from .errors import PickleError

        kind = type(value).__qualname__
        better = PickleError(f"the result, a {kind}, cannot be pickled: {error}")
    if better is None:
        return error
    better.__cause__ = error
    better.__traceback__ = error.__traceback__
    return better


def flush():
    """Bring what the function printed to its readers now."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except Exception:
            pass  # closed, replaced, or a full disk: the function's affair


def send(channel, kind, micros, task, body):
    """Write one record whole; `micros` is the run time of the call that it answers."""
    size = len(body)
    head = RECORD.pack(kind, micros, task, size)
    if size <= CHUNK:
        view = memoryview(head + body)
        view = view[os.write(channel, view) :]
    else:
        sent = os.writev(channel, (head, body))
        if sent < len(head):
            view = memoryview(head + body)[sent:]
        else:
            view = memoryview(body)[sent - len(head) :]
    while view:
        view = view[os.write(channel, view) :]


def records(channel):
    """Yield (kind, function, task, body) until the end of file."""
    size = RECORD.size
    unpack = RECORD.unpack_from
    read = os.read
    data = b""
    at = end = 0
    while True:
        while end - at >= size:
            kind, function, task, length = unpack(data, at)
            body = at + size
            if end - body < length:
                break
            at = body + length
            yield kind, function, task, data[body:at]
        rest = data[at:end]
        if len(rest) >= size and length > CHUNK:
            whole = bytearray(size + length)
            whole[: len(rest)] = rest
            view = memoryview(whole)[len(rest) :]
            while view:
                got = os.readv(channel, (view,))
                if not got:
                    return
                view = view[got:]
            data = whole
        else:
            more = read(channel, CHUNK)
            if not more:
                return
            data = rest + more if rest else more
        at, end = 0, len(data)


def serve(channel):
    """Run the calls that come in on `channel` until its end."""
    value = None
    functions = {}  # number -> pickle (bytes) or, once it was called, the callable
    inputs = []  # values, pickled, of the call that follows them
    store = os.environ.get("DTASK_STORE")
    spill = os.environ.get("DTASK_SPILL")  # a directory on disk, where the store is in memory
    places = [store, spill] if spill else [store]
    forked = []  # not empty in a process that a function has forked
    current = _nesting.call

    def forget_the_channel():
        forked.append(True)
        current.tell = None

    os.register_at_fork(after_in_child=forget_the_channel)
    _nesting.serve(
        lambda begins: send(channel, BLOCKED if begins else UNBLOCKED, 0, current.task, b"")
    )
    send(channel, READY, 0, 0, b"")
    for kind, number, task, body in records(channel):
        if kind == CALL and current.owed:
            inputs.clear()  # the worker has taken it back, since the last call waited
        elif kind == CALL:
            current.task = task
            began = monotonic_ns()
            let_go()
            runs = ran = False
            try:
                function = functions[number]
                if function.__class__ is bytes:
                    functions[number] = function = loads(function)
                if inputs:
                    from ._inputs import load_with

                    try:
                        values = list(map(loads, inputs))
                    except Missing as error:
                        kind, answer = MISSING, str(error).encode("utf-8", "backslashreplace")
                        raise
                    inputs.clear()
                    args, kwargs = load_with(body, values)
                    values = None
                else:
                    args, kwargs = loads(body)
                body = None
                runs = True
                value = function(*args, **kwargs)
                runs, ran = False, True
                if store:
                    answer = pack(value)
                    kind = RESULT
                    if answer.__class__ is list:
                        args = kwargs = None
                        value = [value]
                        size, place = keep(places, task, answer, value, function)
                        answer = b"%d spilled" % size if place == spill else b"%d" % size
                        kind = STORED
                else:
                    answer = pickled(value)
                    kind = RESULT
                    if len(answer) > LIMIT:
                        answer = b"%d" % len(answer)
                        kind = TOO_LARGE
            except BaseException as error:
                if kind != MISSING:
                    answer = describe(error if runs else explain(error, value, ran), 1)
                    kind = ERROR
            args = kwargs = value = values = function = None
            inputs.clear()
            if forked:
                flush()
                os._exit(0)  # the child has come back through the function: not its channel
            flush()
            send(channel, kind, (monotonic_ns() - began) // 1000, task, answer)
        elif kind == INPUT:
            inputs.append(body)
        elif kind == FUNCTION:
            functions[number] = bytes(body)
        elif kind == FORGET:
            functions.pop(number, None)
        elif kind == VOID_AHEAD:
            current.owed -= 1
        elif kind == CLUSTER:
            os.environ["DTASK_ADDRESS"] = str(body, "ascii")
        else:
            raise SystemExit(f"dtask.executor: record of unknown kind {kind}")


def preload(names):
    """Import the modules of --dtask-preload before any call comes."""
    for name in names.split(",") if names else ():
        try:
            __import__(name)
        except Exception as error:
            raise SystemExit(f"dtask: --dtask-preload={name}: {type(error).__name__}: {error}")


def set_up(name):
    """Set the process up as functions expect it: descriptor 3, standard streams, signals."""
    if os.environ.get("DTASK_EXECUTOR_PROTOCOL", PROTOCOL) != PROTOCOL:
        # The package was replaced since the worker began, which knows what that means.
        raise SystemExit(OTHER_VERSION)
    try:
        is_socket = os.fstat(CHANNEL).st_mode & 0o170000 == 0o140000
    except OSError:
        is_socket = False
    if not is_socket:
        raise SystemExit(
            f"{name}: file descriptor 3 is not a socket: workers start executors, not users"
        )
    from _signal import SIG_IGN, SIGINT, signal

    signal(SIGINT, SIG_IGN)  # Ctrl-C is for the client
    os.set_inheritable(CHANNEL, False)
    null = os.open(os.devnull, os.O_RDWR)
    os.dup2(null, 0)
    if null > 2:
        os.close(null)
    sys.stdin = open(0, closefd=False)
    try:
        sys.stdout.reconfigure(line_buffering=True, write_through=False)
        sys.stderr.reconfigure(line_buffering=True, write_through=False)
    except (AttributeError, ValueError):
        pass  # started without a stdout or stderr


def enable_faulthandler():
    """A SIGSEGV then shows where, on stderr."""
    import faulthandler

    try:
        faulthandler.enable()
    except (AttributeError, ValueError):
        pass


def load():
    """Find what the client finds, and import what is to be there before any call comes."""
    path = os.environ.get("DTASK_CLIENT_PATH")
    if path:
        sys.path[0:1] = [path]
    preload(os.environ.get("DTASK_PRELOAD"))


def run():
    """Serve until the worker has no more for this process, and end it."""
    try:
        serve(CHANNEL)
    except (BrokenPipeError, ConnectionResetError):
        pass  # the worker is gone, and with it the reason to be
    import atexit

    atexit._run_exitfuncs()
    flush()
    os._exit(0)  # threads that the functions left behind must not keep us


def main():
    """An executor that was started as a Python of its own."""
    set_up("dtask.executor")
    enable_faulthandler()
    # -m made us __main__; pickles may name us and must find this very module.
    sys.modules["dtask.executor"] = sys.modules["__main__"]
    load()
    run()


if __name__ == "__main__":
    main()
