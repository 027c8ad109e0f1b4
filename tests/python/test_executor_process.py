# SPDX-License-Identifier: Apache-2.0
"""The process `python -m dtask.executor`, over a socket pair as a worker holds it."""

import os
import pickle
import signal
import socket
import struct
import subprocess
import sys
import time

import cloudpickle
import functions
import pytest
from places import ROOT

from dtask import _inputs, _pickling, _store

RECORD = struct.Struct("<B7xQQQ")
FUNCTION, CALL, FORGET, READY, RESULT, ERROR, TOO_LARGE, INPUT, STORED, MISSING = range(1, 11)


class Process:
    """An executor; stdout and stderr are pipes."""

    def __init__(self, cwd, **environment):
        self.sock, theirs = socket.socketpair()
        self.sock.settimeout(20)
        path = [os.path.join(ROOT, "python"), os.path.dirname(__file__), *sys.path[1:]]
        saved = os.dup(3) if _is_open(3) else None
        os.dup2(theirs.fileno(), 3)
        try:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "dtask.executor"],
                pass_fds=(3,),
                cwd=cwd,
                env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, path)), **environment},
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
            )
        finally:
            if saved is None:
                os.close(3)
            else:
                os.dup2(saved, 3)
                os.close(saved)
        if theirs.fileno() != 3:
            theirs.close()
        else:
            theirs.detach()
        self.stream = self.sock.makefile("rb")
        self.numbers = iter(range(1, 1000))
        assert self.receive()[0] == READY

    def send(self, kind, function, task, body=b""):
        self.sock.sendall(RECORD.pack(kind, function, task, len(body)) + body)

    def receive(self):
        kind, function, task, length = RECORD.unpack(self.stream.read(RECORD.size))
        return kind, function, task, self.stream.read(length)

    def call(self, function, *args, **kwargs):
        """Run a function; returns the record's kind and its unpickled body."""
        number = next(self.numbers)
        self.send(FUNCTION, number, 0, cloudpickle.dumps(function, 5))
        self.send(CALL, number, 5, pickle.dumps((args, kwargs), 5))
        kind, self.micros, task, body = self.receive()
        assert task == 5
        return kind, body if kind in (TOO_LARGE, STORED, MISSING) else pickle.loads(body)

    def end(self):
        self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        self.stream.close()
        out, err = self.process.communicate(timeout=20)
        return self.process.returncode, out, err


def _is_open(fd):
    try:
        os.fstat(fd)
        return True
    except OSError:
        return False


@pytest.fixture
def run(tmp_path):
    started = []

    def run(**environment):
        started.append(Process(tmp_path, **environment))
        return started[-1]

    yield run
    for one in started:
        one.process.kill()
        one.process.wait(20)


def test_calls_in_order(run):
    one = run()
    one.send(FUNCTION, 7, 0, pickle.dumps(functions.inc))
    for task in range(300):
        one.send(CALL, 7, task, pickle.dumps(((task,), {})))
    for task in range(300):
        kind, micros, number, body = one.receive()
        assert (kind, number, pickle.loads(body)) == (RESULT, task, task + 1)
        assert micros < 10_000_000
    code, out, err = one.end()
    assert (code, out, err) == (0, b"", b"")


def test_run_time(run):
    one = run()
    one.call(time.sleep, 0.05)
    assert 50_000 <= one.micros < 10_000_000


def test_errors(run):
    one = run()
    kind, (data, name, message, text) = one.call(functions.fail, "broken")
    error = pickle.loads(data)
    assert kind == ERROR and (name, message) == ("ValueError", "broken")
    assert isinstance(error, ValueError) and error.args == ("broken",)
    assert "in fail" in text and "executor.py" not in text and text.endswith("ValueError: broken\n")


def test_errors_that_would_end_a_process(run):
    one = run()
    for function, args, want in (
        (functions.leave, (3,), "SystemExit"),
        (functions.leave, (None,), "SystemExit"),
        (functions.interrupt, (), "KeyboardInterrupt"),
    ):
        kind, (_, name, _, _) = one.call(function, *args)
        assert (kind, name) == (ERROR, want)
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_errors_that_do_not_survive_pickling(run):
    one = run()
    kind, (data, name, message, text) = one.call(functions.fail_awkwardly)
    assert (kind, data, name, message) == (ERROR, None, "Awkward", "a b")
    assert "in fail_awkwardly" in text

    class Silent(Exception):
        def __str__(self):
            raise RuntimeError

    def fail():
        raise Silent

    kind, (_, name, _, text) = one.call(fail)
    assert kind == ERROR and name.endswith("Silent") and "in fail" in text


def test_a_function_that_cannot_be_loaded_fails_each_call(run):
    one = run()
    one.send(FUNCTION, 1, 0, b"cno_such_module\nf\n.")
    for task in (1, 2):
        one.send(CALL, 1, task, pickle.dumps(((), {})))
        kind, _, number, body = one.receive()
        assert (kind, number) == (ERROR, task)
        assert pickle.loads(body)[1] == "ModuleNotFoundError"
    one.send(FUNCTION, 2, 0, pickle.dumps(functions.inc))
    one.send(CALL, 2, 3, b"not a pickle")
    assert one.receive()[0] == ERROR
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_forget(run):
    one = run()
    one.send(FUNCTION, 1, 0, pickle.dumps(functions.inc))
    one.send(FORGET, 1, 0)
    one.send(FORGET, 99, 0)
    one.send(CALL, 1, 1, pickle.dumps(((), {})))
    assert one.receive()[0] == ERROR
    one.send(FUNCTION, 1, 0, pickle.dumps(functions.fail))
    one.send(CALL, 1, 1, pickle.dumps(((), {})))
    assert pickle.loads(one.receive()[3])[1] == "ValueError"


def test_values_by_cloudpickle(run):
    one = run()
    kind, inner = one.call(lambda: lambda x: x + 1)
    assert kind == RESULT and inner(1) == 2
    kind, (_, name, _, _) = one.call(functions.make_unpicklable)
    assert (kind, name) == (ERROR, "PickleError")


def test_too_large(run):
    one = run()
    kind, size = one.call(bytes, (64 << 20) + 1)
    assert kind == TOO_LARGE and int(size) > 64 << 20
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_large_values(run):
    one = run()
    data = os.urandom(5 << 20)
    assert one.call(bytes.upper, data) == (RESULT, data.upper())


def stored_input(path):
    """What stands for the value of a file where an input's pickle would."""
    return pickle.dumps(_inputs._Call(_store.load, str(path)), 5)


def test_values_stay_in_the_store(run, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    one = run(DTASK_STORE=str(store))
    assert one.call(bytes, 60 << 10) == (RESULT, bytes(60 << 10))
    assert os.listdir(store) == []
    kind, size = one.call(functions.make_blocks, 100, 1 << 20)
    assert kind == STORED and os.listdir(store) == ["5"]
    assert int(size) == (store / "5").stat().st_size
    assert functions.first_bytes(_store.load(store / "5")) == [b"\0", b"\1"]
    kind, size = one.call(bytes, 65 << 20)
    assert kind == STORED and int(size) > 65 << 20


def test_inputs_from_the_store(run, tmp_path):
    _store.write(str(tmp_path), 1, _store.pack(functions.make_blocks(100, 1 << 20)))
    one = run()
    one.send(FUNCTION, 1, 0, pickle.dumps(functions.echo))
    places = (0, pickle.dumps("small"), 0)
    names = pickle.dumps((tuple(_inputs._Call(_inputs.get, i) for i in range(3)), {}), 5)
    one.send(INPUT, 0, 7, stored_input(tmp_path / "1"))
    one.send(CALL, 1, 7, _inputs.wrap_mixed(names, places))
    kind, _, _, body = one.receive()
    (first, small, again), _ = pickle.loads(body)
    assert kind == RESULT and small == "small" and first is again
    assert functions.first_bytes(first) == [b"\0", b"\1"]


def test_inputs_that_are_missing(run, tmp_path):
    one = run()
    one.send(FUNCTION, 1, 0, pickle.dumps(functions.echo))
    one.send(INPUT, 0, 7, stored_input(tmp_path / "1"))
    one.send(CALL, 1, 7, pickle.dumps(((1,), {})))
    kind, _, task, body = one.receive()
    assert (kind, task) == (MISSING, 7)
    assert "No such file" in body.decode() and str(tmp_path / "1") in body.decode()
    kind, (_, name, _, _) = one.call(open, str(tmp_path / "1"))
    assert (kind, name) == (ERROR, "FileNotFoundError"), "that is the function's affair"
    (tmp_path / "2").write_bytes(b"cut")
    one.send(INPUT, 0, 7, stored_input(tmp_path / "2"))
    one.send(CALL, 1, 7, pickle.dumps(((1,), {})))
    kind, _, _, body = one.receive()
    assert kind == ERROR and pickle.loads(body)[1] == "Damaged"
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_a_store_that_is_full(run, tmp_path):
    store = tmp_path / "store"
    store.mkdir()
    one = run(DTASK_STORE=str(store))

    def limit():
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    one.call(limit)
    kind, (_, name, message, _) = one.call(bytes, 2 << 20)
    assert (kind, name) == (ERROR, "OSError")
    assert "could not be written to the worker's store" in message and str(store) in message
    assert os.listdir(store) == []
    assert one.call(bytes, 100 << 10)[0] == STORED


def test_print_comes_at_once_and_whole(run):
    one = run()

    def speak():
        import time

        print("a", 1)
        time.sleep(60)

    one.send(FUNCTION, 1, 0, cloudpickle.dumps(speak))
    one.send(CALL, 1, 1, pickle.dumps(((), {})))
    assert one.process.stdout.readline() == b"a 1\n"  # while the function still runs
    one.process.kill()


def test_print_without_a_newline_comes_with_the_result(run):
    one = run()
    one.call(print, "no newline", end="")
    assert os.read(one.process.stdout.fileno(), 100) == b"no newline"
    one.call(eval, "__import__('sys').stderr.write('x')")
    assert os.read(one.process.stderr.fileno(), 100) == b"x"


def test_surroundings(run):
    one = run(DTASK_CLIENT_PATH="/a/place")

    def look():
        import os
        import signal
        import sys

        return sys.stdin.read(), sys.path[0], signal.getsignal(signal.SIGINT), os.get_inheritable(3)

    kind, (text, first, handler, inheritable) = one.call(look)
    assert (text, first, handler, inheritable) == ("", "/a/place", signal.SIG_IGN, False)
    os.kill(one.process.pid, signal.SIGINT)
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_modules_beside_the_clients_script(run, tmp_path, monkeypatch):
    """What the client can import, the function can: its sys.path travels with it."""
    (tmp_path / "lib").mkdir()
    (tmp_path / "lib" / "beside.py").write_text("def f(x):\n    return x * 2\n")
    monkeypatch.syspath_prepend(str(tmp_path / "lib"))
    import beside

    one = run()
    data, by_name = _pickling.dump_function(beside.f, "f")
    assert by_name
    one.send(FUNCTION, 1, 0, _pickling.wrap_function(data))
    one.send(CALL, 1, 1, pickle.dumps(((21,), {})))
    kind, _, _, body = one.receive()
    assert (kind, pickle.loads(body)) == (RESULT, 42)


def test_a_forked_child_that_returns(run):
    """It must not answer on its parent's channel."""
    one = run()

    def fork():
        import os

        pid = os.fork()
        if pid:
            os.waitpid(pid, 0)
        return pid != 0

    assert one.call(fork) == (RESULT, True)
    assert one.call(functions.inc, 1) == (RESULT, 2)


def test_a_thread_left_behind_does_not_keep_it(run):
    one = run()

    def leave_a_thread():
        import atexit
        import threading
        import time

        atexit.register(print, "at exit")
        threading.Thread(target=time.sleep, args=(600,)).start()

    one.call(leave_a_thread)
    code, out, _ = one.end()
    assert (code, out) == (0, b"at exit\n")


def test_a_crash_shows_where(run):
    one = run()

    def crash():
        import os
        import signal

        os.kill(os.getpid(), signal.SIGSEGV)

    one.send(FUNCTION, 1, 0, cloudpickle.dumps(crash))
    one.send(CALL, 1, 1, pickle.dumps(((), {})))
    _, err = one.process.communicate(timeout=20)
    assert one.process.returncode == -signal.SIGSEGV and b"in crash" in err


def test_by_hand_it_says_who_starts_it():
    done = subprocess.run(
        [sys.executable, "-m", "dtask.executor"],
        env={**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")},
        capture_output=True,
        text=True,
        timeout=20,
    )
    assert done.returncode == 1 and done.stderr.count("\n") == 1
    assert "workers start executors" in done.stderr


def test_it_imports_little():
    script = "import sys, dtask.executor; print(*sys.modules)"
    env = {**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")}
    out = subprocess.run(
        [sys.executable, "-S", "-c", script], env=env, capture_output=True, text=True, timeout=20
    ).stdout.split()
    heavy = {"argparse", "asyncio", "cloudpickle", "concurrent", "json", "logging", "socket"}
    heavy |= {"subprocess", "threading", "traceback", "typing"}
    assert "dtask.executor" in out and not heavy & set(out)


def test_lines_are_written_whole_even_unbuffered(run):
    """Executors share standard output: one write a line, whatever Python was told."""
    one = run(PYTHONUNBUFFERED="1")

    def speak():
        print("a", 1, end="")
        before = pending()
        print("b", 2)
        return before, pending()

    def pending():  # bytes in the pipe
        import array
        import fcntl
        import termios

        size = array.array("i", [0])
        fcntl.ioctl(1, termios.FIONREAD, size)
        return size[0]

    assert one.call(speak) == (RESULT, (0, len("a 1b 2\n")))
