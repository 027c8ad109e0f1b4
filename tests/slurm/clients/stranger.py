# SPDX-License-Identifier: Apache-2.0
"""Knocks at a port without the token, and says how the door was closed.

    stranger.py PORT random | silent | half | wrong-token | crowd

Exits 0 if each connection was closed by the other side, having sent nothing but its own part of
the handshake; within 15 s, since a peer may take 10 s over the handshake.
"""

import hmac
import os
import socket
import struct
import sys
import time

LIMIT = 15.0
MAGIC = b"dtask-1\n"
ANSWER = 72  # bytes of the acceptor's part


def connect(port):
    return socket.create_connection(("127.0.0.1", port), timeout=LIMIT)


def closed(peer, allowed):
    """Reads to the end of the connection: at most `allowed` bytes, within the limit."""
    got = 0
    try:
        while piece := peer.recv(65536):
            got += len(piece)
    except ConnectionResetError:
        pass
    except TimeoutError:
        sys.exit(f"stranger: still open after {LIMIT} s")
    if got > allowed:
        sys.exit(f"stranger: was sent {got} bytes")


def hello(port):
    return MAGIC + bytes([1]) + port.to_bytes(2, "little") + bytes(5) + os.urandom(32)


def wrong_token(port):
    peer = connect(port)
    first = hello(port)
    peer.sendall(first)
    answer = b""
    while len(answer) < ANSWER:
        piece = peer.recv(ANSWER - len(answer))
        if not piece:
            sys.exit("stranger: no answer to a well-formed hello")
        answer += piece
    nonce = answer[8:40]
    proof = hmac.new(bytes(32), b"dtask initiate" + first + nonce, "sha256").digest()
    header = b'{"t":"info"}'
    frame = struct.pack("<II", len(header), 0) + header
    try:
        peer.sendall(proof + frame)
    except (BrokenPipeError, ConnectionResetError):
        pass
    closed(peer, 0)


def send(port, data, allowed):
    peer = connect(port)
    try:
        peer.sendall(data)
    except (BrokenPipeError, ConnectionResetError):
        pass
    closed(peer, allowed)


def crowd(port):
    peers = [connect(port) for _ in range(1000)]
    began = time.monotonic()
    for peer in peers:
        peer.settimeout(max(0.1, LIMIT - (time.monotonic() - began)))
        closed(peer, 0)


port, how = int(sys.argv[1]), sys.argv[2]
if how == "random":
    send(port, os.urandom(4096), 0)
elif how == "silent":
    closed(connect(port), 0)
elif how == "half":
    send(port, hello(port)[:20], 0)
elif how == "wrong-token":
    wrong_token(port)
elif how == "crowd":
    crowd(port)
else:
    sys.exit(f"stranger: no way '{how}'")
