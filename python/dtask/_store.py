# SPDX-License-Identifier: Apache-2.0
"""Values in files: how a worker's store holds them (doc/protocol.md, section 6).

A value up to INLINE bytes is one pickle, which travels with messages. A larger one is taken apart
into its pickle and its large buffers, written as they lie in memory, and read by mapping the file:
arrays made from it are read-only views, which keep the mapping. Read by clients and executors, so
it imports next to nothing.
"""

import os
import sys
from errno import EDQUOT, ENOSPC
from _weakref import getweakrefcount
try:
    from _pickle import dumps, loads as _loads  # as in executor.py
except ImportError:
    from pickle import dumps, loads as _loads
from struct import Struct, error as StructError

from ._mappings import of_this_worker

INLINE = 64 << 10  # bytes of a pickle up to which a value is not stored
SMALL = 16 << 10  # bytes of a buffer below which it stays in the pickle
ALIGN = 64  # bytes: where parts may begin
_NUMBER = Struct("<Q")
_PIECE = 8 << 20  # bytes of an array that are written, and given back, at a time
_IOV = 512  # parts of one writev; IOV_MAX is 1024
_FULL = (ENOSPC, EDQUOT)
_mappings = None  # those of this process, once it has loaded a value


class Missing(OSError):
    """A value's file cannot be opened."""


class Damaged(ValueError):
    """What should be a value's file is none, or a part of one."""


def pickled(value, callback=None):
    """Pickle a value, by cloudpickle where plain pickle fails; `callback` as pickle's for buffers,
    called with None before it begins anew."""
    try:
        return dumps(value, 5, buffer_callback=callback)
    except Exception:
        try:
            from cloudpickle import dumps as cloud_dumps
        except ImportError:
            pass
        else:
            if callback is None:
                return cloud_dumps(value, 5)
            callback(None)
            return cloud_dumps(value, 5, buffer_callback=callback)
        raise


def pack(value):
    """A value's pickle (bytes), or where that has more than INLINE bytes its parts (a list)."""
    if value.__class__.__name__ == "Joined" and value.__class__.__module__ == "dtask._inputs":
        return [_Pieces(part) for part in value.parts()]
    buffers = []

    def apart(buffer):
        if buffer is None:
            return buffers.clear()
        try:
            view = buffer.raw()
        except BufferError:  # not in one piece
            return True
        if view.nbytes < SMALL:
            return True
        buffers.append(view)

    data = pickled(value, apart)
    if not buffers:
        return data if len(data) <= INLINE else [data]
    if len(data) + sum([view.nbytes for view in buffers]) <= INLINE:
        return pickled(value)
    return [data, *buffers]


def write(directory, task, parts, box=()):
    """As `store`, to one directory; returns the value's size."""
    return store([directory], task, parts, box)[0]


def store(places, task, parts, box=(), function=None):
    """Write a value's parts to the file `task`, whole or not at all, in the first of the directories
    `places` that has room; returns its size and the directory.

    box       a list with the value, where the caller has no other reference to it and will not use
              it again: the memory of a large array is then given back while it is written, so that
              it is never there twice
    function  what has returned it, for the error

    Raises OSError, with words of its own.
    """
    sizes = [len(part) for part in parts]
    head = b"".join(map(_NUMBER.pack, [len(parts), *sizes]))
    views = [memoryview(head)]
    at = len(head)
    for part, size in zip(parts, sizes):
        if size:
            if at % ALIGN:
                views.append(memoryview(bytes(-at % ALIGN)))
            at += -at % ALIGN + size
            views += part.views if part.__class__ is _Pieces else [memoryview(part)]
    file = _Partial(places, task, at)
    try:
        try:
            file.begin()
            address = _last_use_of(box, parts)
            last = views.pop() if address else b""
            file.write(views)
            while last:  # to the next multiple of _PIECE: huge pages only go back as a whole
                piece = last[: _PIECE - address % _PIECE]
                file.write([piece])
                _give_back(address, len(piece))
                address += len(piece)
                last = last[len(piece) :]
            return at, file.finish()
        except BaseException:
            file.discard()
            raise
    except OSError as error:
        name = getattr(function, "__qualname__", None)
        raise OSError(
            error.errno,
            f"the value{f' of {name}()' if name else ''} of {at} bytes could not be written to the "
            f"worker's store: {error.strerror}",
            *([] if file.full else [file.place]),
        ) from None


class _Pieces:
    """A part that lies in several places of memory."""

    def __init__(self, views):
        self.views = views

    def __len__(self):
        return sum(map(len, self.views))


class _Partial:
    """A file that is being written, under a name of its own. Where its file system is full, what is
    there of it moves to the next place, and the rest follows."""

    def __init__(self, places, task, size):
        self.places, self.task, self.size = list(places), task, size
        self.place = self.path = ""
        self.fd = -1
        self.written = 0
        self.full = []  # places that had no room, and how much they had

    def begin(self):
        """Open it where there is room, or in the last place."""
        while len(self.places) > 1 and not _has_room(self.places[0], self.size):
            self.full.append(_room(self.places.pop(0)))
        self._open(self.places.pop(0))

    def _open(self, place):
        self.place, self.path = place, f"{place}/{self.task}.{os.getpid()}"
        self.fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)

    def write(self, views):
        """Write all of them; what is in the list changes."""
        first = 0
        while first < len(views):
            try:
                sent = os.writev(self.fd, views[first : first + _IOV])
            except OSError as error:
                if error.errno not in _FULL:
                    raise
                self._move(error)
                continue
            self.written += sent
            while first < len(views) and sent >= len(views[first]):
                sent -= len(views[first])
                first += 1
            if sent:
                views[first] = views[first][sent:]

    def _move(self, error):
        self.full.append(_room(self.place))
        if not self.places:
            raise OSError(error.errno, f"{error.strerror}: {', '.join(self.full)}{_no_disk(self.place)}")
        before, path, self.fd = self.fd, self.path, -1
        try:
            self._open(self.places.pop(0))
            at = 0
            while at < self.written:
                at += os.sendfile(self.fd, before, at, self.written - at)
        except OSError as further:
            if further.errno in _FULL:
                self.full.append(_room(self.place))
            raise OSError(further.errno, f"{further.strerror}: {', '.join(self.full)}") from None
        finally:
            os.close(before)
            os.unlink(path)

    def finish(self):
        """It is whole: give it its name; returns the directory."""
        os.rename(self.path, f"{self.place}/{self.task}")
        os.close(self.fd)
        return self.place

    def discard(self):
        """Leave nothing of it."""
        if self.fd >= 0:
            os.close(self.fd)
            os.unlink(self.path)


def _has_room(place, size):
    about = os.statvfs(place)
    return not about.f_blocks or size <= about.f_bavail * about.f_frsize


def _room(place):
    about = os.statvfs(place)
    free, whole = (blocks * about.f_frsize / 2**20 for blocks in (about.f_bavail, about.f_blocks))
    return f"{place} has {free:.1f} of {whole:.1f} MiB free"


def _no_disk(place):
    """Why `place` was the only one: values are not moved from memory to memory."""
    scratch = os.environ.get("DTASK_SCRATCH")
    if not scratch or os.environ.get("DTASK_SPILL") or place.startswith(scratch):
        return ""
    try:
        return f"; {_room(scratch)}, and is memory, too: --dtask-scratch on a disk would be used"
    except OSError:
        return ""


def _last_use_of(box, parts):
    """The address of the array in the box, if it is all that `parts` have and nobody else can
    reach its memory; else 0."""
    if not hasattr(sys, "getrefcount") or not box or len(parts) != 2 or len(parts[1]) < 2 * _PIECE:
        return 0
    kind = type(box[0])
    if (kind.__module__, kind.__name__) != ("numpy", "ndarray") or not box[0].flags.owndata:
        return 0
    # Those of a thing in a box and nowhere else, and that of the view among the parts.
    alone = _references([object()]) + 1
    if parts[1].obj is not box[0] or _references(box) != alone or getweakrefcount(box[0]):
        return 0
    return box[0].__array_interface__["data"][0]


def _references(box):
    """To what is in it; how many of them are the call's own is for each Python to say."""
    return sys.getrefcount(box[0])


def _give_back(address, size):
    """Free the whole pages of memory that is used no more; its owner frees it all in the end."""
    from ctypes import CDLL, c_size_t, c_void_p

    page = os.sysconf("SC_PAGESIZE")
    first = -(-address // page) * page
    size = (address + size - first) // page * page
    if size > 0:
        CDLL(None).madvise(c_void_p(first), c_size_t(size), 4)  # MADV_DONTNEED


def load(path):
    """The value in a file. Raises Missing, Damaged, and what unpickling raises."""
    global _mappings
    if _mappings is None:
        _mappings = of_this_worker()
    try:
        buffer = _mappings.get(path)
    except OSError as error:
        raise Missing(error.errno, error.strerror, path) from None
    try:
        return loads(buffer)
    except Damaged as error:
        raise Damaged(f"{path}: {error}") from None


def let_go():
    """A call begins: what it does not need of the files that others have read is let go."""
    if _mappings is not None:
        _mappings.let_go()


def loads(buffer):
    """The value in the bytes of a file, which it may refer to from now on. Raises Damaged."""
    view = memoryview(buffer).toreadonly()
    try:
        (count,) = _NUMBER.unpack_from(view)
        if not 0 < count <= len(view) // 8 - 1:
            raise Damaged(f"not a stored value: it says to have {count} parts")
        sizes = view[8 : 8 * (1 + count)].cast("Q")
    except (StructError, TypeError):
        raise Damaged(f"not a stored value: {len(view)} bytes") from None
    at = 8 * (1 + count)
    parts = []
    for size in sizes:
        if size:
            at += -at % ALIGN
        if size > len(view) - at:
            raise Damaged(f"a stored value cut short: {len(view)} bytes, {at + size} expected")
        parts.append(view[at : at + size])
        at += size
    return _loads(parts[0], buffers=parts[1:])
