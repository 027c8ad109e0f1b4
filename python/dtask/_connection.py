# SPDX-License-Identifier: Apache-2.0
"""Connection: the client's socket and the thread that reads it.

Any thread may send: what the kernel takes is written at once by the caller; the rest is queued and
written by the receiver thread, and callers wait while more than HIGH_WATER bytes are queued. The
receiver thread itself never waits to send. Order is that of the calls. Frames are handed to
`on_frame` in the receiver thread; the loss of the connection, for whatever reason and once, to
`on_lost`.
"""

import os
import select
import socket
import threading
from collections import deque
from struct import Struct
from time import monotonic, sleep

from . import _wire
from ._direct import Direct
from .errors import ClusterLost, ConnectError, ProtocolError

HIGH_WATER = 16 << 20  # bytes queued above which senders wait
LOW_WATER = 4 << 20  # bytes queued at which they go on
_BESIDE = 2.0  # s for the handshake with the socket beside the scheduler's port
_CREDENTIALS = Struct("iII")  # pid, uid, gid


def connect(locate, timeout):
    """A socket with its handshake done, the address, and the token.

    `locate` returns ((host, port), token); it may raise FileNotFoundError while there is no file
    yet. Connections that are refused, or closed before the scheduler has proved itself, as one that
    is crowded by strangers does, are tried again until `timeout` seconds have passed.
    """
    end = monotonic() + timeout
    pause = 0.05
    where = None
    while True:
        sock = None
        try:
            where, token = locate()
            sock = _beside(where, token)
            if sock is not None:
                return sock, where, token
            sock = socket.create_connection(where, max(end - monotonic(), 0.1))
            if sock.getsockname() == sock.getpeername():
                raise ConnectionRefusedError(0, "connection refused")  # met itself on loopback
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            _wire.initiate(sock, token, _wire.CLIENT)
            sock.setblocking(False)
            return sock, where, token
        except ConnectError as error:
            if sock is not None:
                sock.close()
            closed = isinstance(error, _wire.ClosedInHandshake)
            if not closed or monotonic() + pause > end:
                raise ConnectError(f"{_text(where)}: {error}" if where else str(error)) from None
        except OSError as error:
            if sock is not None:
                sock.close()
            hopeless = where is None and not isinstance(error, FileNotFoundError)
            if hopeless or monotonic() + pause > end:
                if where is None:
                    raise ConnectError(f"{error.filename}: {error.strerror}") from error
                raise ConnectError(
                    f"no scheduler answers at {_text(where)} within {timeout:g} s: "
                    f"{error.strerror or error}"
                ) from error
        sleep(pause)
        pause = min(pause * 2, 0.5)


def _beside(where, token):
    """A socket as of connect, by the one that stands beside the scheduler's port for those on the
    same machine (protocol, section 1); None where it is elsewhere."""
    port = where[1]
    sock = None
    try:
        sock = socket.socket(socket.AF_UNIX)
        sock.settimeout(_BESIDE)
        sock.connect(b"\0dtask-%d" % port)
        _, uid, _ = _CREDENTIALS.unpack(
            sock.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
        )
        if uid == os.geteuid():
            _wire.initiate(sock, token, _wire.CLIENT, port=port)
            sock.setblocking(False)
            return sock
    except (OSError, AttributeError, ConnectError):
        pass  # nobody there, no Linux, or another step's
    if sock is not None:
        sock.close()
    return None


def _text(where):
    host, port = where
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


class Connection:
    """An open connection. `tick` is called in the receiver thread at least every
    `tick.interval()` seconds, which may be None; `on_wake` after wake() was. `settle` and `is_idle` are
    for who reads directly: see _direct."""

    def __init__(self, sock, where, on_frame, on_lost, on_wake, tick, settle, is_idle):
        self.address = _text(where)
        self._sock = sock
        self._on_frame = on_frame
        self._on_lost = on_lost
        self._on_wake = on_wake
        self._tick = tick
        self._is_idle = is_idle
        self.direct = Direct(sock, settle, self.wake)
        self._wake_read, self._wake_write = socket.socketpair()
        self._wake_read.setblocking(False)
        self._wake_write.setblocking(False)
        self._lock = threading.Lock()
        self._drained = threading.Condition(self._lock)
        self._queue = deque()  # memoryviews yet to be written
        self._queued = 0  # bytes
        self._lost = None  # the reason, once it is lost or closed
        self._thread = threading.Thread(target=self._run, name="dtask-client", daemon=True)

    def start(self):
        """Start the receiver thread."""
        self._thread.start()

    def in_receiver(self):
        """Whether the calling thread is the receiver thread."""
        return threading.current_thread() is self._thread

    def send(self, make):
        """Write the list of bytes that make() returns, called where no other send comes between.

        Raises ClusterLost once the connection is gone, without having called it.
        """
        with self._lock:
            if self._lost is not None:
                raise ClusterLost(self._lost)
            queue = self._queue
            idle = not queue
            for part in make():
                if idle:
                    try:
                        sent = self._sock.send(part)
                    except (BlockingIOError, InterruptedError):
                        sent = 0
                    except OSError:
                        sent = len(part)  # the receiver thread will see it, and says so
                    if sent == len(part):
                        continue
                    part = memoryview(part)[sent:]
                    idle = False
                queue.append(memoryview(part))
                self._queued += len(part)
            if idle:
                return
            self.wake()
            if self._queued > HIGH_WATER and not self.in_receiver():
                while self._queued > LOW_WATER and self._lost is None:
                    self._drained.wait()

    def wake(self):
        """Make the receiver thread look at the queue and the ticker, and call on_wake. Takes no
        lock, so that it may be called from anywhere."""
        try:
            self._wake_write.send(b"\0")
        except OSError:
            pass  # full: it is awake; closed: it has ended

    def close(self, reason):
        """Close it on purpose; pending sends are dropped."""
        with self._lock:
            if self._lost is None:
                self._lost = reason
            self._queue.clear()
            self._queued = 0
            self._drained.notify_all()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass
        self.wake()
        if not self.in_receiver():
            self._thread.join(2)

    def abandon(self):
        """In a forked child: leave the parent's connection alone, without any lock."""
        self._lost = "this process was forked from the client's"
        for sock in (self._sock, self._wake_read, self._wake_write):
            sock.close()

    def _run(self):
        try:
            reason = self._receive()
        except OSError as error:
            reason = error.strerror or str(error)
        except ProtocolError as error:
            reason = f"the scheduler broke the protocol: {error}"
        except BaseException as error:
            reason = f"the scheduler sent something wrong: {type(error).__name__}: {error}"
        with self._lock:
            if self._lost is None:
                self._lost = reason
            reason = self._lost
            self._queue.clear()
            self._queued = 0
            self._drained.notify_all()
        try:
            self._sock.shutdown(socket.SHUT_RDWR)  # who reads directly is woken
        except OSError:
            pass
        self.direct.end()
        try:
            self._on_lost(reason)
        finally:
            for sock in (self._sock, self._wake_read, self._wake_write):
                sock.close()

    def _receive(self):
        sock = self._sock
        fd, wake = sock.fileno(), self._wake_read.fileno()
        reader = _wire.FrameReader()
        poll = select.poll()
        poll.register(fd, select.POLLIN)
        poll.register(wake, select.POLLIN)
        direct = self.direct
        direct.begin()
        awaited = select.POLLIN
        while True:
            interval = self._tick.interval()
            pause = direct.pause(interval)
            events = poll.poll(None if pause is None else pause * 1000)
            if interval is not None:
                self._tick()
            for ready, event in events:
                if ready == wake:
                    self._wake_read.recv(4096)
                    if self._lost is None:
                        self._on_wake()
                    continue
                if event & select.POLLOUT:
                    self._flush()
                if event & ~select.POLLOUT:
                    try:
                        if not reader.fill(sock):
                            return "the scheduler closed the connection"
                    except (BlockingIOError, InterruptedError):
                        continue
                    for header, payload in reader.frames():
                        self._on_frame(header, payload)
            if self._lost is not None:
                return self._lost
            wanted = select.POLLOUT if self._queue else 0
            if direct.reads(reader.is_empty() and self._is_idle()):
                wanted |= select.POLLIN
            if awaited != wanted:
                awaited = wanted
                poll.modify(fd, wanted)

    def _flush(self):
        with self._lock:
            queue = self._queue
            try:
                while queue:
                    sent = self._sock.send(queue[0])
                    self._queued -= sent
                    if sent < len(queue[0]):
                        queue[0] = queue[0][sent:]
                    else:
                        queue.popleft()
            except (BlockingIOError, InterruptedError):
                pass
            if self._queued <= LOW_WATER:
                self._drained.notify_all()
