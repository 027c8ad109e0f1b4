# SPDX-License-Identifier: Apache-2.0
"""What comes from the network and from stores, with bytes that were changed at random.

A seed that fails is in the test's name; DTASK_TEST_SEED=N plays it again.
"""

import os
import random
import socket

import pytest
from places import ROOT
from store import packed

from dtask import _store, _wire
from dtask.errors import ConnectError, ProtocolError

FIXTURES = os.path.join(ROOT, "tests", "fixtures", "protocol")
SEEDS = [1, int(os.environ.get("DTASK_TEST_SEED", random.SystemRandom().randrange(1 << 32)))]
TOKEN = bytes(range(32))

seeds = pytest.mark.parametrize("seed", SEEDS, ids=[f"seed={seed}" for seed in SEEDS])


def fixtures(ending):
    for name in sorted(os.listdir(FIXTURES)):
        if name.endswith(ending):
            with open(os.path.join(FIXTURES, name), "rb") as file:
                yield file.read()


def mutated(rng, data, most=4):
    """`data` with some bytes changed, cut out, doubled or put in."""
    data = bytearray(data)
    for _ in range(rng.randint(1, most)):
        at = rng.randint(0, len(data))
        kind = rng.randrange(5)
        if kind == 0 and at < len(data):
            data[at] ^= 1 << rng.randrange(8)
        elif kind == 1:
            data[at : at + rng.randint(1, 9)] = b""
        elif kind == 2:
            data[at:at] = data[at : at + rng.randint(1, 40)]
        elif kind == 3:
            data[at:at] = rng.choice([b"\xff" * 4, b"\0" * 8, b"[", b'"', b"{}", b"-1", b"1e999"])
        else:
            del data[at:]
    return bytes(data)


class Pieces:
    """A socket that has `data`, in pieces of any size."""

    def __init__(self, rng, data):
        self._rng, self._data = rng, memoryview(data)

    def recv_into(self, view):
        size = min(len(view), len(self._data), self._rng.choice([1, 3, 8, 100, 1 << 20]))
        view[:size] = self._data[:size]
        self._data = self._data[size:]
        return size


def heard(sock):
    """The frames of the stream, and whether it ended by a ProtocolError."""
    reader, frames = _wire.FrameReader(), []
    try:
        while reader.fill(sock):
            for header, payload in reader.frames():
                frames.append((header, bytes(payload)))
    except ProtocolError as error:
        assert str(error)
        return frames, True
    return frames, False


@seeds
def test_frames_do_not_depend_on_how_they_are_cut(seed):
    rng = random.Random(seed)
    whole = list(fixtures(".frame"))
    for _ in range(400):
        stream = b"".join(rng.choices(whole, k=3))
        if rng.random() < 0.8:
            stream = mutated(rng, stream)
        assert heard(Pieces(rng, stream)) == heard(Pieces(rng, stream))


@pytest.mark.parametrize(
    "text",
    [b"[" * 200_000, b'{"t":' * 100_000, b"1" * 10_000, b"\xff"],
    ids=["deep array", "deep object", "long number", "not UTF-8"],
)
def test_headers_that_are_not_json(text):
    with pytest.raises(ProtocolError):
        _wire.parse_header(text)


@seeds
def test_answers_of_the_handshake(seed):
    rng = random.Random(seed)
    sound = b"".join([_wire.MAGIC, bytes(64)])
    for _ in range(150):
        near, far = socket.socketpair()
        with near, far:
            near.settimeout(30)
            far.sendall(mutated(rng, sound))
            far.shutdown(socket.SHUT_WR)
            with pytest.raises(ConnectError) as caught:
                _wire.initiate(near, TOKEN, _wire.CLIENT, port=1)
            assert TOKEN.hex() not in str(caught.value)


@seeds
def test_addresses_and_tokens(seed):
    rng = random.Random(seed)
    for sound in (b"10.0.0.1:20000", b"[fe80::1%eth0]:1", b"7" * 64):
        for _ in range(300):
            text = mutated(rng, sound).decode("utf-8", "replace")
            for parse in (_wire.parse_address, _wire.parse_token):
                try:
                    parse(text, "somewhere")
                except ConnectError as error:
                    assert str(error).startswith("somewhere: ")


@seeds
def test_stored_values(seed, tmp_path):
    """The table in front of the pickle; what unpickling makes of other bytes is pickle's."""
    rng = random.Random(seed)
    path = tmp_path / "1"
    sound = packed([b"abc", bytearray(100)])
    table = 8 * (1 + int.from_bytes(sound[:8], "little"))
    for _ in range(300):
        head = mutated(rng, sound[:table])
        data = head + (sound[len(head) :] if len(head) <= table else sound[table:])
        path.write_bytes(data)
        try:
            _store.load(str(path))
        except _store.Damaged as error:
            assert str(error).startswith(str(path))
        except Exception:  # noqa: BLE001  the pickle was not where it was said to be
            assert int.from_bytes(data[:8], "little") <= len(data) // 8
