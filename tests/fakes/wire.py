# SPDX-License-Identifier: Apache-2.0
"""The wire protocol from the accepting side, for the fakes: written after doc/protocol.md and, on
purpose, without dtask._wire."""

import hashlib
import hmac
import json
import os
import struct

MAGIC = b"dtask-1\n"


def accept(connection, stream, token):
    """The acceptor's side of a handshake; whether the peer has proved itself."""
    hello = stream.read(48)
    port = connection.getsockname()[1]
    if hello[:8] != MAGIC or hello[9:11] != struct.pack("<H", port):
        return False
    nonce = os.urandom(32)
    proof = hmac.new(token, b"dtask accept" + hello + nonce, hashlib.sha256).digest()
    connection.sendall(MAGIC + nonce + proof)
    want = hmac.new(token, b"dtask initiate" + hello + nonce, hashlib.sha256).digest()
    return stream.read(32) == want


def frame(header, payload=b""):
    """A frame's bytes."""
    data = json.dumps(header).encode()
    return struct.pack("<II", len(data), len(payload)) + data + payload


def frames(stream):
    """Yield (header, payload) until the end of the stream."""
    while True:
        lengths = stream.read(8)
        if len(lengths) < 8:
            return
        header_length, payload_length = struct.unpack("<II", lengths)
        header = json.loads(stream.read(header_length))
        yield header, stream.read(payload_length)
