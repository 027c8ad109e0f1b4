# SPDX-License-Identifier: Apache-2.0
"""Fetching: values come from the listeners of the workers that keep them (doc/protocol.md, `get`).

Everything happens in the thread that asks; what comes is read into the memory in which the value
will lie. Connections are kept for the next value, KEPT of them at most.
"""

import mmap
import socket
import threading
from collections import OrderedDict
from time import monotonic

from . import _wire
from .errors import ProtocolError

CONNECT = 10.0  # s for a connection and its handshake
STALL = 60.0  # s without a byte after which a worker counts as gone
KEPT = 8  # connections
_MAPPED = 1 << 20  # bytes from which a value has pages of its own, which go back when it does


class Gone(Exception):
    """The worker does not have the value."""


class Fetcher:
    """Fetches values. Any thread may call it."""

    def __init__(self, token):
        self._token = token
        self._kept = OrderedDict()  # address -> socket that nobody uses just now
        self._most = KEPT
        self._lock = threading.Lock()

    def fetch(self, number, where, end):
        """The bytes of the value of that number at `where`, a (host, port).

        Raises Gone, ProtocolError, or OSError, also where monotonic() has passed `end`.
        """
        with self._lock:
            sock = self._kept.pop(where, None)
        if sock is not None:
            try:
                return self._get(sock, number, where, end)
            except OSError:
                pass  # it was closed meanwhile, or it is now: the next one tells
        sock = socket.create_connection(where, _left(end, CONNECT))
        try:
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            _wire.initiate(sock, self._token, _wire.CLIENT)
        except BaseException:
            sock.close()
            raise
        return self._get(sock, number, where, end)

    def close(self):
        """Close what is kept, and keep nothing from now on."""
        with self._lock:
            self._most = 0
            while self._kept:
                self._kept.popitem()[1].close()

    def _get(self, sock, number, where, end):
        try:
            data = _exchange(sock, number, end)
        except Gone:
            self._keep(sock, where)
            raise
        except BaseException:
            sock.close()
            raise
        self._keep(sock, where)
        return data

    def _keep(self, sock, where):
        with self._lock:
            surplus = [self._kept.pop(where)] if where in self._kept else []
            self._kept[where] = sock
            if len(self._kept) > self._most:
                surplus.append(self._kept.popitem(last=False)[1])
        for one in surplus:
            one.close()


def _exchange(sock, number, end):
    sock.settimeout(_left(end, STALL))
    sock.sendall(_wire.frame({"t": "get", "d": number}))
    data, view, at = None, b"", 0
    while data is None or at < len(view):
        header_length, length = _wire.parse_lengths(_receive(sock, bytearray(8), end))
        header = _wire.parse_header(_receive(sock, bytearray(header_length), end))
        if header["t"] == "gone":
            raise Gone(number)
        size = header.get("size")
        if header["t"] != "data" or not isinstance(size, int):
            raise ProtocolError("a worker answered `get` with something else")
        if data is None:
            data = _room(size)
            view = memoryview(data)
        if size != len(view) or not 0 < length <= size - at:
            raise ProtocolError("the pieces of a value do not add up")
        _receive(sock, view[at : at + length], end)
        at += length
    return data


def _room(size):
    if size < _MAPPED:
        return bytearray(max(size, 0))
    try:
        return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
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
