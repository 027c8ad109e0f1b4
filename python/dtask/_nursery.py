# SPDX-License-Identifier: Apache-2.0
"""The process that executors are forked from: ``python3 -m dtask._nursery``, one a worker.

It has loaded what every executor needs and what --dtask-preload names, and runs no function ever. An
executor is then there in a millisecond or two, and what was loaded is in memory once: a page is copied
when somebody writes to it. Descriptor 3 is a stream socket to the worker:

    from the worker  4 bytes, a number, with one descriptor: the end of a socket that a new executor
                     gets as its descriptor 3. End of file: exit
    to the worker    8 bytes, that number and the new process' pid, or minus the errno of a fork

A new process is forked twice: the one between ends at once, so that the worker, which adopts orphans,
becomes its parent, and learns how it ends as of any child. It is in the cgroups that this process is in.

A fork copies one thread. Where more than that one lives after all has been loaded, this process
exits with UNFIT, and the worker starts each executor as a Python of its own.
"""

import array
import gc
import os
import sys
from struct import Struct

from . import executor

CHANNEL = executor.CHANNEL
UNFIT = 79  # as in runtime/worker/nursery.h
REQUEST, REPLY = Struct("=I"), Struct("=Ii")
SOL_SOCKET, SCM_RIGHTS, AF_UNIX, SOCK_STREAM = 1, 1, 1, 1
PR_SET_PDEATHSIG, SIGKILL = 1, 9
FIRST_TO_DIE = b"1000"  # as in lib/base/spawn.h: the kernel's choice, and this process is not
NAME, CHILD = b"dtask._nursery", b"dtask.executor"  # of equal length


def lives_alone():
    """Whether this thread is the only one that a child would miss none of. Libraries that know of
    forks, as OpenBLAS does, end their threads before one."""
    if len(os.listdir("/proc/self/task")) == 1:
        return True
    if len(sys._current_frames()) > 1:
        return False
    pid = os.fork()
    if pid == 0:
        os._exit(0)
    os.waitpid(pid, 0)
    return len(os.listdir("/proc/self/task")) == 1


def receive(control):
    """The number and the descriptor of the next request; None at the end."""
    descriptors = array.array("i")
    try:
        data, ancillary, _, _ = control.recvmsg(REQUEST.size, 64)
    except ConnectionError:
        return None
    if len(data) < REQUEST.size:
        return None
    for level, kind, body in ancillary:
        if level == SOL_SOCKET and kind == SCM_RIGHTS:
            descriptors.frombytes(body[: len(body) // descriptors.itemsize * descriptors.itemsize])
    if len(descriptors) != 1:
        raise SystemExit("dtask._nursery: a request without a descriptor")
    return REQUEST.unpack(data)[0], descriptors[0]


def between(worker, number, descriptor, go, write_end):
    """The process that is forked first: forks the executor, tells of it, and ends."""
    try:
        try:
            pid = os.fork()
        except OSError as error:
            pid = -error.errno
        if pid == 0:
            os.close(write_end)
            return  # on, as the executor
        os.write(CHANNEL, REPLY.pack(number, pid))
    except BaseException:
        pass
    if pid != 0:
        os._exit(0)


def rename():
    """Be called an executor where processes are listed."""
    try:
        with open("/proc/self/cmdline", "rb") as file:
            at = file.read().find(NAME)
        with open("/proc/self/stat", "rb") as file:
            arguments = int(file.read().rsplit(b")", 1)[1].split()[45])
        if at >= 0:
            with open("/proc/self/mem", "r+b", buffering=0) as memory:
                memory.seek(arguments + at)
                memory.write(CHILD)
    except (OSError, ValueError, IndexError):
        pass  # a kernel that does not let us: a name is all that is lost


def become(worker, descriptor, go, prctl):
    """From here on the process is an executor; it is the worker's child when `go` has ended."""
    os.setpgid(0, 0)
    os.dup2(descriptor, CHANNEL, inheritable=False)
    os.close(descriptor)
    os.read(go, 1)
    os.close(go)
    prctl(PR_SET_PDEATHSIG, SIGKILL, 0, 0, 0)
    if os.getppid() != worker:
        os._exit(128 + SIGKILL)  # it is gone
    try:
        with open("/proc/self/oom_score_adj", "wb", buffering=0) as file:
            file.write(FIRST_TO_DIE)
    except OSError:
        pass
    rename()
    # Those that draw by themselves are seeded anew by Python; this one is not.
    random = sys.modules.get("numpy.random")
    if random is not None:
        try:
            random.seed()
        except Exception:
            pass
    executor.enable_faulthandler()


def serve(control, worker):
    """Fork executors until the worker has gone. Returns in a new executor."""
    from ctypes import CDLL

    prctl = CDLL(None).prctl
    if not lives_alone():
        os._exit(UNFIT)
    if os.environ.get("DTASK_PRELOAD"):
        gc.collect()
    gc.freeze()  # collections of an executor's need not look at, and copy, what was loaded
    while True:
        request = receive(control)
        if request is None:
            os._exit(0)
        number, descriptor = request
        executor.flush()  # what is in a buffer would be written by each child
        go, write_end = os.pipe()
        try:
            first = os.fork()
        except OSError as error:
            os.write(CHANNEL, REPLY.pack(number, -error.errno))
        else:
            if first == 0:
                between(worker, number, descriptor, go, write_end)
                become(worker, descriptor, go, prctl)
                return
            os.waitpid(first, 0)
        for fd in (descriptor, go, write_end):
            os.close(fd)


def main():
    """Load, fork, and go on as an executor in each child."""
    executor.set_up("dtask._nursery")
    from _socket import socket

    worker = os.getppid()
    control = socket(AF_UNIX, SOCK_STREAM, 0, CHANNEL)
    executor.load()
    serve(control, worker)
    control.detach()  # in an executor: the descriptor has become another
    sys.modules["__main__"] = executor
    sys.argv[:] = [executor.__file__]
    executor.run()


if __name__ == "__main__":
    main()
