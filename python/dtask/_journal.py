# SPDX-License-Identifier: Apache-2.0
"""Journal: the results of calls in a file that is only appended to, for a later run to go on from.

The form is that of `dtask map` (runtime/ensemble/journal.h): a head, then records of a length, the
CRC-32 of the body, and the body; here the body is a 2, the call's digest and its pickled result. A
record is one write, made before the future has its result, so that what a program has seen is in
the journal, whoever is killed; the disk has it a second later at most. Where a record is cut short,
or its sum does not fit, the file ends: what is behind is cut off when it is opened.

A call is known by its function's name and the pickle of its arguments, and of calls that are alike in
one map by how many came before. Results stay in the file until they are asked for.
"""

import errno
import fcntl
import hashlib
import os
import queue
import struct
import threading
import warnings
import weakref
import zlib
from time import monotonic
from types import BuiltinFunctionType, FunctionType

from . import _pickling
from .errors import DtaskError

_MAGIC = b"dtask-journal-1\n"
_HEAD = struct.Struct("<II")  # length and CRC-32 of the body
_DIGEST = 16  # bytes
_RESULT = 2  # kind: digest and result
_LONGEST = 256 << 20
_SYNC = 1.0  # s

_open = weakref.WeakValueDictionary()  # real path -> Journal
_opening = threading.Lock()


def open_journal(path):
    """The journal at `path`, made where there is none. Raises OSError, ValueError."""
    path = os.path.realpath(os.fspath(path))
    with _opening:
        journal = _open.get(path)
        if journal is None:
            journal = _open[path] = Journal(path)
        return journal


class Journal:
    """One file, which no other process writes meanwhile. Any thread may call it."""

    def __init__(self, path):
        self._path = path
        self._lock = threading.Lock()
        self._places = {}  # digest -> (offset, length) of its result
        self._fetch = queue.SimpleQueue()  # futures whose results have to come
        self._thread = None
        self._unsynced = False
        self._file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o666)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    raise
                raise ValueError(f"journal={path!r}: another process writes it") from None
            self._end = self._read()
        except BaseException:
            os.close(self._file)
            raise

    def __del__(self):
        if getattr(self, "_end", None) is not None:
            os.close(self._file)

    def _read(self):
        """Find the results; returns where the next record goes."""
        size = os.fstat(self._file).st_size
        head = os.pread(self._file, len(_MAGIC), 0)
        if head != _MAGIC:
            if not _MAGIC.startswith(head):
                raise ValueError(f"journal={self._path!r}: this is no journal of dtask")
            os.ftruncate(self._file, 0)
            os.write(self._file, _MAGIC)
            return len(_MAGIC)
        at = len(_MAGIC)
        while size - at >= _HEAD.size:
            length, crc = _HEAD.unpack(os.pread(self._file, _HEAD.size, at))
            start = at + _HEAD.size
            if not 0 < length <= min(_LONGEST, size - start):
                break
            body = os.pread(self._file, length, start)
            if len(body) != length or zlib.crc32(body) != crc:
                break
            if body[0] == _RESULT and length > _DIGEST:
                skip = 1 + _DIGEST
                self._places[body[1:skip]] = start + skip, length - skip
            at = start + length
        os.ftruncate(self._file, at)
        return at

    def get(self, digest):
        """The pickled result of a call, or None."""
        place = self._places.get(digest)
        return None if place is None else os.pread(self._file, place[1], place[0])

    def add(self, digest, raw):
        """Note a pickled result. A file that cannot be written is given up, with a warning."""
        raw = bytes(raw)
        length = 1 + _DIGEST + len(raw)
        with self._lock:
            if self._end is None or digest in self._places or length > _LONGEST:
                return
            body = bytes([_RESULT]) + digest + raw
            record = _HEAD.pack(length, zlib.crc32(body)) + body
            try:
                written = os.write(self._file, record)
                if written != len(record):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            except OSError as error:
                warnings.warn(f"journal={self._path!r}: {error}; nothing more is noted", stacklevel=2)
                os.close(self._file)
                self._end = None
                return
            self._places[digest] = self._end + len(record) - len(raw), len(raw)
            self._end += len(record)
            self._unsynced = True
            self._work()

    def expect(self, future):
        """A result has yet to come from its worker: it is fetched, as it is to be noted."""
        self._fetch.put(future)
        with self._lock:
            self._work()

    def _work(self):
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name="dtask-journal", daemon=True)
            self._thread.start()

    def _run(self):
        """Fetches, and forces to the disk once a second, as long as there is something to do."""
        synced = monotonic()
        while True:
            try:
                future = self._fetch.get(timeout=_SYNC)
                try:
                    future._settle(None)
                except Exception:
                    pass  # told to whoever asks
                del future
            except queue.Empty:
                pass
            if monotonic() - synced < _SYNC:
                continue
            synced = monotonic()
            with self._lock:
                if not self._unsynced and self._fetch.empty():
                    self._thread = None
                    return
                self._unsynced = False
                if self._end is None:
                    continue
                try:
                    os.fdatasync(self._file)
                except OSError as error:
                    if error.errno != errno.EINVAL:  # no disk
                        warnings.warn(f"journal={self._path!r}: {error}", stacklevel=1)


class Calls:
    """The calls of one map, and what the journal has of them."""

    def __init__(self, journal, function):
        self._journal = journal
        self._name = _identity(function)
        self._seen = {}  # digest -> how many so far

    def known(self, args, kwargs, name):
        """(the call's digest, its pickled result or None)."""
        data, inputs = _pickling.dump_arguments(args, kwargs, name)
        if inputs:
            raise ValueError(
                f"the arguments of {name} have futures, by which a journal cannot know a call again"
            )
        digest = _digest(self._name + b"\0" + data)
        before = self._seen.get(digest, 0)
        self._seen[digest] = before + 1
        if before:
            digest = _digest(digest + str(before).encode())
        return digest, self._journal.get(digest)

    def follow(self, future, digest):
        """Have the future's result noted when it comes."""
        future._note = Note(self._journal, digest)


class Note:
    """What a future tells of its result, before anybody can have it."""

    def __init__(self, journal, digest):
        self._journal = journal
        self._digest = digest

    def pickled(self, raw):
        self._journal.add(self._digest, raw)

    def value(self, value, key):
        """One that came from a worker."""
        try:
            raw = _pickling.dump(value, f"the result of {key}")
        except DtaskError:
            return  # too large: the call is made again
        self._journal.add(self._digest, raw)

    def away(self, future):
        self._journal.expect(future)


def _identity(function):
    if isinstance(function, (FunctionType, BuiltinFunctionType, type)):
        return f"{function.__module__}.{function.__qualname__}".encode()
    return _pickling.dump_function(function, _pickling.name_of(function))[0]


def _digest(data):
    return hashlib.blake2b(data, digest_size=_DIGEST).digest()
