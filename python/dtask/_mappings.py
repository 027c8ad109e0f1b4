# SPDX-License-Identifier: Apache-2.0
"""The files of values as an executor reads them: mapped, and kept so for the calls that follow.

Most of what it costs to read a mapped array are page faults, and a value that one call reads is often
read by the next ones. A mapping that is kept has memory that the worker believes to be free once the
value is freed or moved to disk: so few bytes are kept, and what is not in its place any more is let
go before the next call begins. Read by executors, so it imports next to nothing.
"""

import os
import sys

LEAST = 256 << 10  # bytes of a file that is worth to be kept
MOST = 64 << 20  # bytes that are kept, where the memory limit does not make it less
SHARE = 32  # part of the memory limit
MANY = 16  # files that are kept
_MOST_OPEN = 768  # descriptors from which values are read, not mapped


class Mappings:
    """Maps files, and keeps at most so many bytes of them."""

    def __init__(self, most):
        self._most = most
        self._kept = {}  # path -> (device, inode, buffer), the last used last
        self._bytes = 0

    def get(self, path):
        """The bytes of a file that is never written again. Raises OSError."""
        kept = self._kept
        if kept:
            found = kept.pop(path, None)
            if found is not None:
                kept[path] = found
                return found[2]
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            about = os.fstat(fd)
            buffer, lasts = mapped(fd, about.st_size)
        finally:
            os.close(fd)
        if lasts and LEAST <= about.st_size <= self._most:
            kept[path] = (about.st_dev, about.st_ino, buffer)
            self._bytes += about.st_size
            while self._bytes > self._most or len(kept) > MANY:
                self._forget(next(iter(kept)))
        return buffer

    def let_go(self):
        """Let go what is not in its place any more."""
        for path, (device, inode, _) in list(self._kept.items()):
            try:
                about = os.lstat(path)
                if (about.st_dev, about.st_ino) == (device, inode):
                    continue
            except OSError:
                pass
            self._forget(path)

    def _forget(self, path):
        self._bytes -= len(self._kept.pop(path)[2])


def of_this_worker():
    """The mappings of an executor."""
    try:
        limit = int(os.environ.get("DTASK_MEMORY_LIMIT", 0))
    except ValueError:
        limit = 0
    return Mappings(min(MOST, limit // SHARE) if limit > 0 else MOST)


def mapped(fd, size):
    """The file's bytes, and whether they are mapped. Before 3.13, Python keeps a descriptor for each
    mapping: a call with very many inputs would leave its function none."""
    from mmap import ACCESS_READ, mmap

    if size and sys.version_info >= (3, 13):
        return mmap(fd, size, access=ACCESS_READ, trackfd=False), True
    if size and _next_descriptor(fd) < _MOST_OPEN:
        return mmap(fd, size, access=ACCESS_READ), True
    buffer = bytearray(size)
    at = 0
    while at < size:
        got = os.preadv(fd, [memoryview(buffer)[at:]], at)
        if not got:
            break
        at += got
    return buffer, False


def _next_descriptor(fd):
    try:
        copy = os.dup(fd)
    except OSError:
        return _MOST_OPEN
    os.close(copy)
    return copy
