# SPDX-License-Identifier: Apache-2.0
"""Values in files: packing, writing, mapping."""

import errno
import os
import pickle
import resource
import struct
import subprocess
import sys
import types
import weakref

import functions
import pytest
from places import ROOT
from store import packed

from dtask import _inputs, _mappings, _store

KIB, MIB = 1 << 10, 1 << 20


def parts_of(data):
    """The parts of a file, taken apart by the specification."""
    (count,) = struct.unpack_from("<Q", data)
    sizes = struct.unpack_from(f"<{count}Q", data, 8)
    at, parts = 8 * (1 + count), []
    for size in sizes:
        at = (at + 63) // 64 * 64
        parts.append(data[at : at + size])
        at += size
    assert at == len(data)
    return parts


def test_the_fixture():
    path = os.path.join(ROOT, "tests", "fixtures", "protocol", "value.stored")
    first, second = _store.load(path)
    assert first == b"abc" and isinstance(second, memoryview) and bytes(second) == bytes(100)


def test_small_values_are_one_pickle():
    for value in (None, bytes(60 * KIB), functions.make_blocks(10, 20 * KIB, 30 * KIB)):
        data = _store.pack(value)
        assert isinstance(data, bytes) and len(data) <= 64 * KIB
        assert type(pickle.loads(data)) is type(value)


@pytest.mark.parametrize(
    "sizes, apart",
    [
        ([64 * KIB], [64 * KIB]),
        ([16 * KIB] * 4, [16 * KIB] * 4),
        ([16 * KIB - 1] * 5, []),
        ([100, 70 * KIB, 16 * KIB - 1, 1 << 20], [70 * KIB, 1 << 20]),
    ],
)
def test_large_buffers_are_parts(sizes, apart):
    parts = _store.pack(functions.make_blocks(*sizes))
    assert [len(part) for part in parts[1:]] == apart
    assert len(parts[0]) < 1 << 20


def test_large_pickles_are_parts():
    (data,) = _store.pack(bytes(70 * KIB))
    assert pickle.loads(data) == bytes(70 * KIB)


def test_by_cloudpickle():
    offset = functions.make_blocks(100 * KIB)

    def local():
        return offset

    parts = _store.pack(local)
    assert [len(part) for part in parts[1:]] == [100 * KIB], "each buffer once"
    assert pickle.loads(_store.pack(lambda: 5))() == 5
    with pytest.raises(TypeError, match="stays here"):
        _store.pack(functions.Unpicklable())


def test_files(tmp_path):
    value = functions.make_blocks(20 * KIB, 64, 100 * KIB + 1, 1 << 20)
    size = _store.write(str(tmp_path), 7, _store.pack(value))
    path = tmp_path / "7"
    data = path.read_bytes()
    assert size == len(data) and os.listdir(tmp_path) == ["7"]
    assert path.stat().st_mode & 0o077 == 0
    assert [len(part) for part in parts_of(data)[1:]] == [20 * KIB, 100 * KIB + 1, 1 << 20]
    loaded = _store.load(str(path))
    path.unlink()  # who has mapped a value keeps it
    assert [bytes(block.data) for block in loaded] == [block.data for block in value]
    assert loaded[3].data.readonly
    assert [block.data for block in _store.loads(packed(value))] == [b.data for b in value]


def test_many_parts(tmp_path):
    """More than one writev takes."""
    value = functions.make_blocks(*[16 * KIB] * 1500)
    _store.write(str(tmp_path), 1, _store.pack(value))
    assert functions.first_bytes(_store.load(tmp_path / "1")) == functions.first_bytes(value)


def test_arrays(tmp_path):
    numpy = pytest.importorskip("numpy")
    value = {"a": numpy.arange(100_000.0), "b": numpy.ones((300, 300), order="F"), "c": [1]}
    _store.write(str(tmp_path), 1, _store.pack(value))
    loaded = _store.load(tmp_path / "1")
    assert (loaded["a"] == value["a"]).all() and (loaded["b"] == 1).all() and loaded["c"] == [1]
    assert not loaded["a"].flags.writeable and not loaded["a"].flags.owndata
    assert loaded["a"].ctypes.data % 64 == 0
    rows = numpy.ones((400, 400))[:, ::2]  # not in one piece
    _store.write(str(tmp_path), 2, _store.pack(rows))
    assert (_store.load(tmp_path / "2") == rows).all()


def test_the_last_use_of_an_array(tmp_path, monkeypatch):
    """Its memory is given back as it is written, but not where anyone else could look at it."""
    np = pytest.importorskip("numpy")
    monkeypatch.setattr(_store, "_mappings", _mappings.Mappings(0))

    def resident():
        with open("/proc/self/statm") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def write(box):
        parts = _store.pack(box[0])
        before = resident()
        _store.write(str(tmp_path), 1, parts, box)
        assert (_store.load(str(tmp_path / "1")) == expected).all()
        return before - resident()

    size = 48 << 20
    expected = np.arange(size // 8)
    assert write([np.arange(size // 8)]) > size - (4 << 20)

    array = np.arange(size // 8)
    view, weak = array[5:], weakref.ref(array)
    inside = [array.copy()]
    for box in ([array], [array[:]], [expected], [inside[0][:]]):
        assert write(box) < size // 2
    del array
    box = [weak()]
    assert write(box) < size // 2 and (view == expected[5:]).all()
    assert (inside[0] == expected).all()
    del view, box
    again = [np.arange(size // 8)]
    weak = weakref.ref(again[0])
    assert write(again) < size // 2 and (weak() == expected).all()


def test_a_missing_file(tmp_path):
    with pytest.raises(_store.Missing, match="No such file") as caught:
        _store.load(str(tmp_path / "1"))
    error = caught.value
    assert isinstance(error, OSError) and not isinstance(error, FileNotFoundError)
    assert error.errno == errno.ENOENT and error.filename == str(tmp_path / "1")
    os.symlink("nowhere", tmp_path / "2")
    with pytest.raises(_store.Missing):
        _store.load(str(tmp_path / "2"))


def test_damaged_files(tmp_path):
    path = tmp_path / "1"
    whole = packed(functions.make_blocks(1000))
    for data in (
        b"",
        b"\1",
        bytes(8),
        struct.pack("<Q", 1),
        struct.pack("<Q", 2**64 - 1) + bytes(100),
        struct.pack("<QQ", 1, 2**64 - 1) + bytes(100),
        whole[:-1],
        whole[:100],
    ):
        path.write_bytes(data)
        with pytest.raises(_store.Damaged, match=f"^{path}: (not a|a) stored value"):
            _store.load(str(path))


def test_a_value_that_cannot_be_written(tmp_path):
    with pytest.raises(OSError, match="could not be written to the worker's store: No such") as e:
        _store.write(str(tmp_path / "none"), 1, [b"abc"])
    assert e.value.errno == errno.ENOENT and str(tmp_path / "none") in str(e.value)
    script = (
        "import resource\nfrom dtask import _store\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, resource.RLIM_INFINITY))\n"
        f"try:\n    _store.write({str(tmp_path)!r}, 1, [b'abc', bytes(2 << 20)])\n"
        "except OSError as error:\n    print(error)"
    )
    out = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.path.join(ROOT, "python")},
        stdout=subprocess.PIPE,
        universal_newlines=True,
        timeout=60,
    ).stdout
    assert "the value of 2097280 bytes could not be written to the worker's store: File too" in out
    assert os.listdir(tmp_path) == [], "nothing is left of it"


def test_more_inputs_than_descriptors(tmp_path):
    """A mapping may cost a descriptor: the function is left some to open files with."""
    _store.write(str(tmp_path), 1, _store.pack(functions.make_blocks(20 * KIB, 70 * KIB)))
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(1024, limit[1]), limit[1]))
    try:
        kept = [_store.load(tmp_path / "1") for _ in range(1500)]
        with open(tmp_path / "1", "rb"):
            assert bytes(kept[-1][1].data) == b"\1" * 70 * KIB
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


class Disks:
    """Directories that have so much room, of a system that is made to believe it."""

    def __init__(self, monkeypatch, tmp_path, **room):
        self.places = [str(tmp_path / name) for name in room]
        self.left = dict(zip(self.places, room.values()))
        self.said = dict(self.left)  # by statvfs
        for place in self.places:
            os.mkdir(place)
        self._writev, self._sendfile = os.writev, os.sendfile
        monkeypatch.setattr(os, "writev", self.writev)
        monkeypatch.setattr(os, "sendfile", self.sendfile)
        monkeypatch.setattr(os, "statvfs", self.statvfs)

    def _take(self, fd, size):
        place = os.path.dirname(os.readlink(f"/proc/self/fd/{fd}"))
        size = min(size, self.left[place])
        if not size:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self.left[place] -= size
        return size

    def writev(self, fd, views):
        size = self._take(fd, sum(map(len, views)))
        data = b"".join(views)[:size]
        return self._writev(fd, [data])

    def sendfile(self, out, source, offset, count):
        return self._sendfile(out, source, offset, self._take(out, count))

    def statvfs(self, place):
        blocks = self.said[place] // 4096
        return types.SimpleNamespace(f_bavail=blocks, f_blocks=4 * MIB // 4096, f_frsize=4096)


@pytest.mark.parametrize("known", [True, False])
def test_what_does_not_fit_goes_to_the_next_place(monkeypatch, tmp_path, known):
    disks = Disks(monkeypatch, tmp_path, memory=MIB, disk=100 * MIB)
    if not known:  # somebody else takes it while we write
        disks.said[disks.places[0]] = 100 * MIB
    value = functions.make_blocks(500 * KIB, 700 * KIB)
    size, place = _store.store(disks.places, 7, _store.pack(value))
    assert place == disks.places[1]
    assert os.listdir(disks.places[0]) == [] and os.listdir(place) == ["7"]
    assert os.path.getsize(f"{place}/7") == size
    loaded = _store.load(f"{place}/7")
    assert [bytes(block.data) for block in loaded] == [block.data for block in value]
    small = functions.make_blocks(100 * KIB)
    disks.left[disks.places[0]] = MIB
    assert _store.store(disks.places, 8, _store.pack(small))[1] == disks.places[0]


def test_no_room_anywhere(monkeypatch, tmp_path):
    disks = Disks(monkeypatch, tmp_path, memory=MIB, disk=2 * MIB)
    for known in (True, False):
        disks.said[disks.places[0]] = MIB if known else 100 * MIB
        with pytest.raises(OSError) as raised:
            _store.store(disks.places, 7, [b"p", bytes(3 * MIB)], (), functions.make_blocks)
        assert raised.value.errno == errno.ENOSPC
        text = str(raised.value)
        assert "the value of make_blocks() of 3145856 bytes could not be written" in text
        assert "No space left on device" in text
        for place in disks.places:
            assert f"{place} has " in text and " of 4.0 MiB free" in text
        assert os.listdir(disks.places[0]) == os.listdir(disks.places[1]) == []
        disks.left = dict(zip(disks.places, (MIB, 2 * MIB)))
    with pytest.raises(OSError, match="could not be written to the worker's store: No such file"):
        os.rmdir(disks.places[1])
        _store.store(disks.places, 7, [b"p", bytes(3 * MIB)])


def test_a_file_that_is_read_again_stays_mapped(tmp_path):
    names = [str(tmp_path / name) for name in "abc"]
    for name in names:
        with open(name, "wb") as file:
            file.write(name[-1:].encode() * MIB)
    few = _mappings.Mappings(2 * MIB)
    first, second = few.get(names[0]), few.get(names[1])
    assert few.get(names[0]) is first and few.get(names[1]) is second
    third = few.get(names[2])
    assert few.get(names[2]) is third and few.get(names[1]) is second
    assert few.get(names[0]) is not first, "the one that was used before the others was let go"
    # One that is moved to disk, with a link in its place, and one that is freed.
    os.rename(names[0], tmp_path / "moved")
    os.symlink(tmp_path / "moved", names[0])
    os.unlink(names[2])
    few.let_go()
    assert list(few._kept) == names[1:2] and few._bytes == MIB
    assert bytes(few.get(names[0])[:2]) == b"aa"
    with pytest.raises(FileNotFoundError):
        few.get(names[2])
    few.let_go()
    assert list(few._kept) == names[1:2] and few._bytes == MIB, "what is on disk is not kept"
    assert bytes(third[:1]) == b"c", "who has it can read it"


def test_small_and_very_large_files_are_not_kept_mapped(tmp_path):
    for name, size in (("small", 100 * KIB), ("large", 3 * MIB)):
        with open(tmp_path / name, "wb") as file:
            file.truncate(size)
    few = _mappings.Mappings(2 * MIB)
    for name in ("small", "large"):
        assert few.get(str(tmp_path / name)) is not few.get(str(tmp_path / name))
    assert few._bytes == 0


def test_a_value_in_pieces_is_written_as_the_value_itself(tmp_path):
    value = functions.make_blocks(20 * KIB, 70 * KIB, MIB)
    parts = [bytes(part) for part in _store.pack(value)]
    pieces = [part[at : at + 100_000] for part in parts for at in range(0, len(part), 100_000)]
    joined = _inputs.Joined([len(part) for part in parts], pieces)
    _store.write(str(tmp_path), 1, _store.pack(value))
    _store.write(str(tmp_path), 2, _store.pack(joined), [joined])
    assert (tmp_path / "1").read_bytes() == (tmp_path / "2").read_bytes()
    again = pickle.loads(pickle.dumps(joined, 5))
    assert [bytes(one.data) for one in again] == [bytes(one.data) for one in value]
