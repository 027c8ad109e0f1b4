# SPDX-License-Identifier: Apache-2.0
"""A worker's store and its listener, for tests of those who fetch (doc/protocol.md, 4 and 6)."""

import pickle
import socket
import struct
import threading

import wire

BIG = 100 << 10  # bytes: a value of that size stays on its worker


def packed(value):
    """The bytes of a value's file."""
    buffers = []
    parts = [pickle.dumps(value, 5, buffer_callback=buffers.append)]
    parts += [bytes(buffer.raw()) for buffer in buffers]
    data = struct.pack(f"<{1 + len(parts)}Q", len(parts), *map(len, parts))
    for part in parts:
        data += bytes(-len(data) % 64) + part
    return data


class FakeStore:
    """Listens on loopback from the constructor on, until close().

    values  number -> bytes of the value's file
    asked   the numbers of all `get`s, in order
    cut     where not None: the next `data` message breaks off after that many bytes
    shut    connections that are closed at once, as by a door that strangers crowd
    store   where not None: the directory in which the files are, for who is on the same node
    """

    def __init__(self, token, piece=1 << 20):
        self.values, self.asked, self.cut, self.store = {}, [], None, None
        self.accepted = self.shut = 0
        self.hold = None  # an event for which `get` waits
        self._token, self._piece = token, piece
        self._connections = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def close(self):
        """Refuse connections from now on, and drop those that there are."""
        for one in [self._listener, *self._connections]:
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass
        self._listener.close()

    def put(self, number, value):
        """Keep a value; returns the members of `stored` that tell where it is."""
        self.values[number] = data = packed(value)
        if self.store is not None:
            with open(f"{self.store}/{number}", "wb") as file:
                file.write(data)
        return {"d": number, "size": len(data), "at": self.address}

    def _accept(self):
        while True:
            try:
                connection, _ = self._listener.accept()
            except OSError:
                return
            if self.shut > 0:
                self.shut -= 1
                connection.close()
                continue
            self._connections.append(connection)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb")
        try:
            if not wire.accept(connection, stream, self._token):
                return
            self.accepted += 1
            for header, _ in wire.frames(stream):
                if header["t"] == "ping":
                    connection.sendall(wire.frame({"t": "pong", "store": self.store or ""}))
                    continue
                if header["t"] != "get":
                    return
                self.asked.append(header["d"])
                if self.hold is not None:
                    assert self.hold.wait(30), "a `get` that was held for 30 s"
                if not self._answer(connection, header["d"]):
                    return
        except (OSError, ValueError):
            pass
        finally:
            stream.close()
            connection.close()

    def _answer(self, connection, number):
        data = self.values.get(number)
        if data is None:
            connection.sendall(wire.frame({"t": "gone", "d": number}))
            return True
        cut, self.cut = self.cut, None
        for at in range(0, len(data), self._piece):
            whole = wire.frame({"t": "data", "size": len(data)}, data[at : at + self._piece])
            connection.sendall(whole[:cut])
            if cut is not None:
                return False
        return True
