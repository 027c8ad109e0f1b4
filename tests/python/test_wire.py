# SPDX-License-Identifier: Apache-2.0
"""The wire's bytes against tests/fixtures/protocol."""

import json
import os
import socket
import struct
import subprocess
import sys
import threading

import pytest
from places import ROOT

from dtask import _wire, executor
from dtask.errors import ConnectError, ProtocolError

FIXTURES = os.path.join(ROOT, "tests", "fixtures", "protocol")


def read(name):
    with open(os.path.join(FIXTURES, name), "rb") as file:
        return file.read()


INDEX = json.loads(read("index.json"))
TOKEN = bytes.fromhex(INDEX["token"])


def ids(entries):
    return [entry.get("file") or entry["name"] for entry in entries]


class Trickle:
    """A socket that gives `size` bytes at a time."""

    def __init__(self, data, size):
        self.data = data
        self.size = size

    def recv_into(self, view):
        assert len(view) > 0, "a read without room would look like an end of file"
        part = self.data[: min(self.size, len(view))]
        view[: len(part)] = part
        self.data = self.data[len(part) :]
        return len(part)


def take_apart(data, size):
    source, reader, found = Trickle(data, size), _wire.FrameReader(), []
    while reader.fill(source):
        found.extend((header, bytes(payload)) for header, payload in reader.frames())
    return found


def test_fixtures_are_what_make_writes():
    subprocess.run([sys.executable, os.path.join(FIXTURES, "make.py"), "--check"], check=True)


@pytest.mark.parametrize("entry", INDEX["handshakes"], ids=ids(INDEX["handshakes"]))
def test_handshake(entry):
    name = entry["name"]
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(10)
        theirs.settimeout(10)
        theirs.sendall(read(f"{name}.accept"))
        nonce = bytes.fromhex(entry["nonce_i"])
        if entry["ok"]:
            _wire.initiate(ours, TOKEN, entry["role"], nonce, entry["port"])
        else:
            with pytest.raises(ConnectError, match="does not hold this token"):
                _wire.initiate(ours, TOKEN, entry["role"], nonce, entry["port"])
        ours.close()
        sent = theirs.makefile("rb").read()
    assert sent == read(f"{name}.hello") + (read(f"{name}.initiate") if entry["ok"] else b"")


@pytest.mark.parametrize("answer", [b"", b"dtask", b"HTTP/1.1 400 Bad Request\r\n\r\n", bytes(72)])
def test_handshake_with_a_stranger(answer):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        theirs.sendall(answer)
        theirs.shutdown(socket.SHUT_WR)
        with pytest.raises(ConnectError):
            _wire.initiate(ours, TOKEN, _wire.CLIENT, port=0)


@pytest.mark.parametrize("answer, said", [
    (b"dtask-2\n", "speaks version 2 of dtask's protocol, and this package, in .*/dtask, version 1"),
    (b"dtask-12" + bytes(64), "speaks version 12 "),
    (b"dtask-\xff\n", "speaks version "),
])
def test_handshake_with_another_version(answer, said):
    ours, theirs = socket.socketpair()
    with ours, theirs:
        ours.settimeout(30)
        theirs.sendall(answer)  # and it waits for us to go
        with pytest.raises(ConnectError, match=said) as raised:
            _wire.initiate(ours, TOKEN, _wire.CLIENT, port=0)
        assert "\n" not in str(raised.value)


@pytest.mark.parametrize("entry", INDEX["frames"], ids=ids(INDEX["frames"]))
def test_frame(entry):
    want = entry["header"], bytes.fromhex(entry["payload"])
    assert take_apart(read(entry["file"]), 1 << 20) == [want]
    rebuilt = _wire.frame(entry["header"], len(want[1])) + want[1]
    assert take_apart(rebuilt, 1 << 20) == [want]


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_frames_in_pieces(size):
    stream = b"".join(read(entry["file"]) for entry in INDEX["frames"])
    want = [(entry["header"], bytes.fromhex(entry["payload"])) for entry in INDEX["frames"]]
    assert take_apart(stream, size) == want


@pytest.mark.parametrize("size", [4099, 1 << 16, 1 << 20])
def test_frames_of_all_sizes(size):
    edge = 256 << 10
    lengths = [0, edge - 60, 3, edge, edge + 1, 5, 3 * edge, edge - 7, 1, 1, edge // 2, edge // 2]
    payloads = [bytes([i]) * length for i, length in enumerate(lengths)]
    stream = b"".join(_wire.frame({"t": "x"}, len(p)) + p for p in payloads)
    assert [payload for _, payload in take_apart(stream, size)] == payloads


# The others are frames, but no messages: their receiver is in C++.
MESSAGES = ("bad-submit-", "bad-graph-")
NO_FRAMES = [entry for entry in INDEX["bad_frames"] if not entry["file"].startswith(MESSAGES)]


@pytest.mark.parametrize("entry", NO_FRAMES, ids=ids(NO_FRAMES))
def test_bad_frame(entry):
    with pytest.raises(ProtocolError):
        take_apart(read(entry["file"]), 1 << 20)


@pytest.mark.parametrize("entry", INDEX["records"], ids=ids(INDEX["records"]))
def test_record(entry):
    ours, theirs = socket.socketpair()
    body = bytes.fromhex(entry["body"])
    function, task = int(entry["function"]), int(entry["task"])
    with ours, theirs:
        executor.send(ours.fileno(), entry["kind"], function, task, body)
        ours.sendall(read(entry["file"]))
        ours.close()
        found = [(k, f, t, bytes(b)) for k, f, t, b in executor.records(theirs.fileno())]
    assert found == [(entry["kind"], function, task, body)] * 2


def test_records_of_all_sizes():
    ours, theirs = socket.socketpair()
    edge = executor.CHUNK
    bodies = [b"x" * n for n in (0, 1, edge - 32, edge - 31, edge, edge + 1, 7, 3 * edge, 0, 5)]

    def write():
        for number, body in enumerate(bodies):
            executor.send(ours.fileno(), executor.CALL, 1, number, body)
        ours.close()

    writer = threading.Thread(target=write)
    writer.start()
    with theirs:
        found = [(task, bytes(body)) for _, _, task, body in executor.records(theirs.fileno())]
    writer.join(10)
    assert found == list(enumerate(bodies))


def test_records_cut_short_end():
    whole = struct.pack("<B7xQQQ", 2, 1, 1, 1 << 20) + bytes(300 << 10)
    for data in (b"", whole[:5], whole[:32], whole):
        ours, theirs = socket.socketpair()
        with ours, theirs:
            writer = threading.Thread(target=lambda: (ours.sendall(data), ours.close()))
            writer.start()
            assert list(executor.records(theirs.fileno())) == []
            writer.join(10)


@pytest.mark.parametrize(
    "text, want",
    [
        ("n1:20001", ("n1", 20001)),
        ("10.0.0.1:1", ("10.0.0.1", 1)),
        ("[fe80::1%ib0]:65535\n", ("fe80::1%ib0", 65535)),
    ],
)
def test_address(text, want):
    assert _wire.parse_address(text, "here") == want


@pytest.mark.parametrize(
    "text", ["", "n1", ":1", "n1:", "n1:0", "n1:65536", "n1:x", "n1:-1", "fe80::1:80", "n1:²"]
)
def test_bad_address(text):
    with pytest.raises(ConnectError, match="here: .* is not an address: expected host:port"):
        _wire.parse_address(text, "here")


def test_token():
    assert _wire.parse_token(read("token").decode(), "here") == TOKEN
    for text in ("", "ab", "g" * 64, "a" * 65):
        with pytest.raises(ConnectError, match="here: not a token") as caught:
            _wire.parse_token(text, "here")
        assert not text or text not in str(caught.value)


@pytest.mark.parametrize("text", [b"", b"hello", b"[]", b"{}", b'{"t":1}', b'{"t":null}', b'{"t":""}'])
def test_headers_that_are_none(text):
    with pytest.raises(_wire.ProtocolError):
        _wire.parse_header(text)
