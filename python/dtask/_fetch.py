# SPDX-License-Identifier: Apache-2.0
"""Fetching: values come from the workers that keep them (doc/protocol.md, `get`, and section 6).

A worker whose store this process sees is on the same node: the file is read, into memory of one's
own, since what is mapped would stay a part of the worker's. From another node values come over the
worker's listener, many on one connection, asked for ahead. Connections are kept, KEPT of them.

Everything happens while somebody asks, in his thread and, where there is much, in others beside it.
"""

import mmap
import os
import socket
import threading
from collections import OrderedDict, deque
from time import monotonic, sleep

from . import _wire
from .errors import ProtocolError

CONNECT = 10.0  # s for a connection and its handshake
_PAUSES = (0.1, 0.2, 0.4, 0.8, 1.6, 3.2)  # s between tries at a door that closes, as workers wait
STALL = 60.0  # s without a byte after which a worker counts as gone
KEPT = 8  # connections
AHEAD = 16  # values that are asked for before the first has come
MUCH = 4 << 20  # bytes from which threads share the work
THREADS = 4  # at most
_MAPPED = 256 << 10  # bytes from which a value has pages of its own, which go back when it does
# All pages at once, where Python knows how: a fault each costs more.
_FLAGS = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS | getattr(mmap, "MAP_POPULATE", 0)
_FAILED = (OSError, ProtocolError)


class Gone(Exception):
    """The worker does not have the value."""


class Fetcher:
    """Fetches values. Any thread may call it."""

    def __init__(self, token):
        self._token = token
        self._kept = OrderedDict()  # address -> socket that nobody uses just now
        self._most = KEPT
        self._stores = {}  # address -> the directory of that worker's values, None: not seen here
        self._lock = threading.Lock()

    def fetch(self, number, where, end):
        """The bytes of the value of that number at `where`, a (host, port).

        Raises Gone, ProtocolError, or OSError, also where monotonic() has passed `end`.
        """
        data = self._read(number, where)
        if data is not None:
            return data
        with self._lock:
            sock = self._kept.pop(where, None)
        if sock is not None:
            try:
                return self._get(sock, number, where, end)
            except OSError:
                pass  # it was closed meanwhile, or it is now: the next one tells
        sock = self._connect(where, end)
        data = self._read(number, where)
        if data is None:
            return self._get(sock, number, where, end)
        self._keep(sock, where)
        return data

    def fetch_all(self, wanted, take):
        """Fetch many: `wanted` are (number, where, size), and take(index, bytes) is called for each
        of them that came, in any thread. What failed is left out."""
        places = {}
        for index, (_, where, _) in enumerate(wanted):
            places.setdefault(where, []).append(index)
        jobs = deque()
        for where, indices in places.items():
            jobs.append((self._begin, where, indices))

        def work():
            try:
                while True:
                    job, *arguments = jobs.popleft()
                    job(*arguments, wanted, take, jobs)
            except IndexError:
                pass

        much = sum(size for *_, size in wanted) >= MUCH
        threads = min(THREADS, len(os.sched_getaffinity(0)), len(wanted)) if much else 1
        others = [threading.Thread(target=work, daemon=True) for _ in range(threads - 1)]
        try:
            for one in others:
                one.start()
            work()
        finally:
            jobs.clear()
            for one in others:
                one.join()

    def close(self):
        """Close what is kept, and keep nothing from now on."""
        with self._lock:
            self._most = 0
            while self._kept:
                self._kept.popitem()[1].close()

    # Of one node.

    def _read(self, number, where):
        """The value's bytes, or None where its file cannot be read here."""
        store = self._stores.get(where)
        if store is None:
            return None
        try:
            fd = os.open(f"{store}/{number}", os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None  # it may be elsewhere by now, which the worker tells
        try:
            size = os.fstat(fd).st_size
            data, at = _room(size), 0
            while at < size:
                got = os.readv(fd, [data[at:]])
                if not got:
                    return None
                at += got
            return data
        except OSError:
            return None
        finally:
            os.close(fd)

    def _begin(self, where, indices, wanted, take, jobs):
        """The values at one worker: each is a job of its own where they lie on this node."""
        try:
            if where not in self._stores:
                self._keep(self._connect(where, None), where)
        except _FAILED:
            return
        if self._stores.get(where) is None:
            self._stream(where, indices, wanted, take)
        else:
            jobs.extend((self._read_one, where, [index]) for index in indices)

    def _read_one(self, where, indices, wanted, take, _):
        data = self._read(wanted[indices[0]][0], where)
        if data is None:
            self._stream(where, indices, wanted, take)
        else:
            take(indices[0], data)

    # Of another node.

    def _connect(self, where, end):
        """A connection that has proved itself. A listener that is crowded by strangers closes those
        that have not yet, ours as well: such a one is tried again some times, later each time."""
        for pause in _PAUSES:
            try:
                return self._connect_once(where, end)
            except _wire.ClosedInHandshake:
                sleep(pause if end is None else min(pause, max(end - monotonic(), 0)))
        return self._connect_once(where, end)

    def _connect_once(self, where, end):
        sock = socket.create_connection(where, _left(end, CONNECT))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _wire.initiate(sock, self._token, _wire.CLIENT)
            if where not in self._stores:
                self._stores[where] = _store_of(sock, end)
        except BaseException:
            sock.close()
            raise
        return sock

    def _get(self, sock, number, where, end):
        try:
            sock.settimeout(_left(end, STALL))
            sock.sendall(_wire.frame({"t": "get", "d": number}))
            data = _take(sock, number, end)
        except Gone:
            self._keep(sock, where)
            raise
        except BaseException:
            sock.close()
            raise
        self._keep(sock, where)
        return data

    def _stream(self, where, indices, wanted, take):
        """Fetch values of one worker over one connection."""
        with self._lock:
            sock = self._kept.pop(where, None)
        try:
            if sock is None:
                sock = self._connect(where, None)
            sock.settimeout(STALL)
            ask = deque(_wire.frame({"t": "get", "d": wanted[index][0]}) for index in indices)
            sock.sendall(b"".join(ask.popleft() for _ in range(min(AHEAD, len(ask)))))
            for index in indices:
                try:
                    data = _take(sock, wanted[index][0], None)
                except Gone:
                    data = None
                if ask:
                    sock.sendall(ask.popleft())
                if data is not None:
                    take(index, data)
        except _FAILED:
            if sock is not None:
                sock.close()
        except BaseException:
            sock.close()
            raise
        else:
            self._keep(sock, where)

    def _keep(self, sock, where):
        with self._lock:
            surplus = [self._kept.pop(where)] if where in self._kept else []
            self._kept[where] = sock
            if len(self._kept) > self._most:
                surplus.append(self._kept.popitem(last=False)[1])
        for one in surplus:
            one.close()


def _store_of(sock, end):
    """The directory of the worker's values, if it is here. Nobody can guess its name, so one that
    is found is this one."""
    sock.sendall(_wire.frame({"t": "ping"}))
    header, length = _header(sock, end)
    _receive(sock, bytearray(length), end)
    store = header.get("store")
    return store if store and isinstance(store, str) and os.path.isdir(store) else None


def _header(sock, end):
    """(the next frame's header, the length of its payload)"""
    header_length, length = _wire.parse_lengths(_receive(sock, bytearray(8), end))
    return _wire.parse_header(_receive(sock, bytearray(header_length), end)), length


def _take(sock, number, end):
    """The bytes of a value that was asked for."""
    data, at = None, 0
    while data is None or at < len(data):
        header, length = _header(sock, end)
        if header["t"] == "gone":
            raise Gone(number)
        size = header.get("size")
        if header["t"] != "data" or not isinstance(size, int):
            raise ProtocolError("a worker answered `get` with something else")
        if data is None:
            data = _room(size)
        if size != len(data) or not 0 < length <= size - at:
            raise ProtocolError("the pieces of a value do not add up")
        _receive(sock, data[at : at + length], end)
        at += length
    return data


def _room(size):
    """Memory for a value, a writable memoryview."""
    if size < _MAPPED:
        return memoryview(bytearray(max(size, 0)))
    try:
        return memoryview(mmap.mmap(-1, size, flags=_FLAGS))
    except OSError as error:
        raise MemoryError(f"no memory for a value of {size} bytes") from error


def _receive(sock, buffer, end):
    """Fill the buffer; returns it."""
    view = memoryview(buffer)
    while view:
        sock.settimeout(_left(end, STALL))
        got = sock.recv_into(view)
        if not got:
            raise ConnectionResetError("the worker closed the connection")
        view = view[got:]
    return buffer


def _left(end, most):
    """Seconds that a step may take."""
    left = most if end is None else min(end - monotonic(), most)
    if left <= 0:
        raise OSError("out of time")
    return left
