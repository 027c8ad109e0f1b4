# SPDX-License-Identifier: Apache-2.0
"""The wire protocol's bytes: addresses, handshake, frames (doc/protocol.md, sections 1, 2 and 7).

Nothing here knows what a message means. The handshake blocks; frames are made and taken apart
without touching a socket, but for FrameReader.fill, which reads once.
"""

import hmac
import json
import os
from struct import Struct

from .errors import ConnectError, ProtocolError

MAGIC = b"dtask-1\n"
HELLO = Struct("<BH5x")  # role, dialled port
CLIENT, WORKER, CONTROL, OBSERVER = 1, 2, 3, 4
MAX_HEADER = 16 << 20  # bytes
MAX_PAYLOAD = 256 << 20  # bytes
MAX_VALUE = 64 << 20  # bytes of one pickled function, argument tuple or result

_FAMILY = b"dtask-"  # of MAGIC, before the version
_LENGTHS = Struct("<II")
_BUFFER = 256 << 10  # bytes


class ClosedInHandshake(ConnectError):
    """The peer closed the connection before it had proved itself: it has just gone, is no scheduler
    or worker of ours, or is crowded by strangers."""


def parse_address(text, source):
    """``host:port`` or ``[host]:port`` as (host, port); `source` is named in the error."""
    host, colon, port = text.strip().rpartition(":")
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    elif ":" in host:
        host = ""
    if not (host and colon and port.isascii() and port.isdigit() and 0 < int(port) < 65536):
        raise ConnectError(f"{source}: {text!r} is not an address: expected host:port")
    return host, int(port)


def parse_token(text, source):
    """64 hexadecimal digits as 32 bytes. The error does not repeat the token."""
    text = text.strip()
    try:
        if len(text) == 64:
            return bytes.fromhex(text)
    except ValueError:
        pass
    raise ConnectError(f"{source}: not a token: expected 64 hexadecimal digits")


def mac(token, label, hello, nonce_a):
    """The proof of one side: label b"dtask accept" or b"dtask initiate"."""
    return hmac.digest(token, label + hello + nonce_a, "sha256")


def initiate(sock, token, role, nonce=None, port=None):
    """Handshake of the side that connected, within the socket's own time-out.

    The port that was dialled is part of the proof, so that nobody can relay from another one.
    Raises ConnectError where the peer is no scheduler of this token, OSError from the socket.
    """
    if port is None:
        port = sock.getpeername()[1]
    hello = MAGIC + HELLO.pack(role, port) + (nonce or os.urandom(32))
    sock.sendall(hello)
    answer = _receive(sock, 72)
    if answer and answer[:8] != MAGIC:
        raise ConnectError(_not_ours(answer))
    if len(answer) < 72:
        raise ClosedInHandshake("the peer closed the connection in the handshake")
    nonce_a, proof = answer[8:40], answer[40:]
    if not hmac.compare_digest(proof, mac(token, b"dtask accept", hello, nonce_a)):
        raise ConnectError("the scheduler there does not hold this token")
    sock.sendall(mac(token, b"dtask initiate", hello, nonce_a))


def _not_ours(answer):
    """What is wrong with an answer of other first bytes."""
    if not answer.startswith(_FAMILY):
        return "what listens there is not a dtask scheduler of protocol " + _version(MAGIC)
    return (
        f"the scheduler there speaks version {_version(answer)} of dtask's protocol, and this "
        f"package, in {os.path.dirname(__file__)}, version {_version(MAGIC)}: "
        "dtask must be of one version on both sides"
    )


def _version(magic):
    return "".join(chr(byte) for byte in magic[len(_FAMILY):8] if chr(byte).isdigit()) or "?"


def _receive(sock, size):
    """Up to `size` bytes: fewer at end of file, or from a peer of another version, which says so
    and goes."""
    data = b""
    while len(data) < size:
        try:
            more = sock.recv(size - len(data))
        except ConnectionResetError:
            more = b""
        if not more:
            break
        data += more
        if data[:8] != MAGIC[: len(data)]:
            break
    return data


def frame(header, payload_length=0):
    """The first part of a frame: lengths and header (a dict, or JSON text)."""
    if header.__class__ is not str:
        header = json.dumps(header, separators=(",", ":"))
    data = header.encode()
    return _LENGTHS.pack(len(data), payload_length) + data


def parse_lengths(view, start=0):
    """(header's length, payload's length) of the frame that begins there. Raises ProtocolError."""
    header_length, payload_length = _LENGTHS.unpack_from(view, start)
    if header_length > MAX_HEADER or payload_length > MAX_PAYLOAD:
        raise ProtocolError(
            f"a frame of {header_length} + {payload_length} bytes is over the limit"
        )
    return header_length, payload_length


def parse_header(data):
    """A frame's header (bytes) as a dict with a type. Raises ProtocolError."""
    try:
        header = json.loads(str(data, "utf-8"))
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a frame's header is not JSON: {error}") from None
    if not isinstance(header, dict) or not isinstance(header.get("t"), str) or not header["t"]:
        raise ProtocolError("a frame's header has no type")
    return header


class FrameReader:
    """Takes a stream of bytes apart into frames.

    Call fill when the socket is readable, then iterate over frames. Each is (header, payload): a
    dict and a memoryview that is valid until the next fill.
    """

    def __init__(self):
        self._buffer = bytearray(_BUFFER)
        self._view = memoryview(self._buffer)
        self._start = 0
        self._end = 0
        self._large = None  # buffer of one frame that does not fit
        self._large_end = 0

    def is_empty(self):
        """Whether it has no part of a frame."""
        return self._start == self._end and self._large is None

    def fill(self, sock):
        """Read once. False at end of file; BlockingIOError where nothing is there."""
        if self._large is not None:
            got = sock.recv_into(memoryview(self._large)[self._large_end :])
            self._large_end += got
        else:
            if self._start == self._end:
                self._start = self._end = 0
            got = sock.recv_into(self._view[self._end :])
            self._end += got
        return got > 0

    def frames(self):
        """Yield the frames that are complete. Raises ProtocolError."""
        if self._large is not None:
            if self._large_end < len(self._large):
                return
            large, self._large = memoryview(self._large), None
            header_length = _LENGTHS.unpack_from(large)[0]
            yield self._parse(large, 0, header_length, len(large))
        view = self._view
        while self._end - self._start >= 8:
            start = self._start
            header_length, payload_length = parse_lengths(view, start)
            total = 8 + header_length + payload_length
            if self._end - start >= total:
                self._start = start + total
                yield self._parse(view, start, header_length, start + total)
                continue
            have = self._end - start
            if total > len(view):
                self._large = bytearray(total)
                self._large[:have] = view[start : self._end]
                self._large_end = have
                self._start = self._end = 0
            elif start + total > len(view):
                self._buffer[:have] = bytes(view[start : self._end])
                self._start, self._end = 0, have
            return
        if self._start and len(view) - self._end < 8:
            have = self._end - self._start
            self._buffer[:have] = bytes(view[self._start : self._end])
            self._start, self._end = 0, have

    @staticmethod
    def _parse(view, start, header_length, end):
        body = start + 8 + header_length
        return parse_header(view[start + 8 : body]), view[body:end]
