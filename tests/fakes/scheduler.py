# SPDX-License-Identifier: Apache-2.0
"""A scheduler without workers, for tests of the Python client.

It speaks doc/protocol.md, records what clients send, and answers as told: by running the functions
here ("run"), with None at once ("none"), or not at all ("hold"). With `stores`, values over 64 KiB
stay in a FakeStore, and `release` takes them away. `python3 scheduler.py` serves "none" in a
process of its own and prints address and token: to measure a client.
"""

import os
import pickle
import socket
import sys
import threading
import traceback

import wire
from store import FakeStore

from dtask._inputs import load  # what the pickles themselves name


class FakeScheduler:
    """Listens on loopback from the constructor on; use as a context manager.

    received  (header, payload) of every frame, in order
    shut      connections that are closed at once, as by a door that strangers crowd
    """

    def __init__(self, answer="run", token=None, welcome=None, stores=0):
        self.answer = answer
        self.token = token or os.urandom(32)
        self.stores = [FakeStore(self.token) for _ in range(stores)]
        self.received = []
        self.shut = 0
        self.functions = {}
        self.released = set()
        self.values = {}  # of tasks: what a `failed` or `done` says of each
        self.connections = []
        self.welcome = {
            "t": "welcome",
            "id": "7.0",
            "engine": "native",
            "expected": 2,
            "workers": 2,
            "nthreads": 1,
            "memory_limit": 200 << 20,
            **(welcome or {}),
        }
        self.info = {
            "t": "info",
            "id": "7.0",
            "engine": "native",
            "workers": [
                {
                    "name": f"w{i}",
                    "node": f"n{i}",
                    "task": i,
                    "nthreads": 1,
                    "memory_limit": 200 << 20,
                    "memory": 5 << 20,
                    "address": f"127.0.0.1:{9000 + i}",
                    "shoe_size": 43,
                }
                for i in range(2)
            ],
        }
        self._changed = threading.Condition()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.address = "127.0.0.1:%d" % self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        """Stop listening and drop every connection."""
        self._listener.shutdown(socket.SHUT_RDWR)  # close alone would not wake accept
        self._listener.close()
        self.drop()
        for store in self.stores:
            store.close()

    def drop(self):
        """Close the clients' connections."""
        for connection in self.connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def send(self, header, payload=b""):
        """Send a frame to every client."""
        for connection in self.connections:
            self._send_to(connection, header, payload)

    def expect(self, kind, count=1, timeout=10):
        """Wait until `count` frames of a type have come; returns them."""
        with self._changed:
            found = []

            def there():
                found[:] = [frame for frame in self.received if frame[0]["t"] == kind]
                return len(found) >= count

            assert self._changed.wait_for(there, timeout), (
                f"{len(found)} of {count} {kind} frames within {timeout} s"
            )
            return found

    def tasks(self, count, timeout=10):
        """Wait for that many submitted tasks; returns (k, function's number, arguments) of each."""
        with self._changed:
            found = []

            def there():
                found.clear()
                for header, payload in self.received:
                    if header["t"] == "submit":
                        at = 0
                        for k, length in zip(header["k"], header["len"]):
                            found.append((k, header["f"], payload[at : at + length]))
                            at += length
                return len(found) >= count

            assert self._changed.wait_for(there, timeout), (
                f"{len(found)} of {count} tasks within {timeout} s"
            )
            return found

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
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection):
        stream = connection.makefile("rb", buffering=1 << 18)
        try:
            if not wire.accept(connection, stream, self.token):
                return
            self.connections.append(connection)
            self._send_to(connection, self.welcome)
            used, known = set(), set()
            for header, payload in wire.frames(stream):
                if header["t"] == "function":
                    assert header["f"] not in known, "a function's number was used before"
                    known.add(header["f"])
                elif header["t"] == "graph":
                    assert known.issuperset(header["f"]), "the function was never sent"
                elif header["t"] == "submit":
                    assert header["f"] in known, "the function was never sent"
                    assert used.isdisjoint(header["k"]), "k was used before"
                    used.update(header["k"])
                    assert len(set(header["k"])) == len(header["k"]), "k stands twice"
                if self.answer != "none":
                    with self._changed:
                        self.received.append((header, payload))
                        self._changed.notify_all()
                self._handle(connection, header, payload)
        except (OSError, ValueError):
            pass
        except AssertionError as error:
            self._send_to(connection, {"t": "bye", "why": str(error)})
        finally:
            connection.close()

    @staticmethod
    def _send_to(connection, header, payload=b""):
        connection.sendall(wire.frame(header, payload))

    def _handle(self, connection, header, payload):
        kind = header["t"]
        if kind == "info":
            self._send_to(connection, self.info)
        elif kind == "function":
            self.functions[header["f"]] = payload
        elif kind == "submit" and self.answer == "none":
            none = pickle.dumps(None)
            count = len(header["k"])
            self._send_to(
                connection,
                {"t": "done", "k": header["k"], "len": [len(none)] * count},
                none * count,
            )
        elif kind == "release":
            self.released.update(header["k"])
            for store in self.stores:
                for k in header["k"]:
                    store.values.pop(k, None)
        elif kind == "submit" and self.answer == "run":
            at = 0
            for k, length in zip(header["k"], header["len"]):
                answer = self.values[k] = self._outcome(header["f"], k, payload[at : at + length])
                self._tell(connection, answer)
                at += length
        elif kind == "graph" and self.answer == "run":
            assert self.released.isdisjoint(header["in"]), "an input was released before"
            at, inputs = 0, iter(header["in"])
            columns = (header[name] for name in ("f", "k", "inputs", "want", "len"))
            for f, k, count, want, length in zip(*columns):
                needed = [self.values[next(inputs)] for _ in range(count)]
                broken = [answer for answer in needed if answer[0]["t"] == "failed"]
                if broken:
                    answer = ({**broken[0][0], "k": k}, broken[0][1])
                else:
                    data = payload[at : at + length]
                    answer = self._outcome(f, k, data, [body for _, body in needed])
                self.values[k] = answer
                if want:
                    self._tell(connection, answer)
                at += length

    def _tell(self, connection, answer):
        """A `stored` goes without the pickle, which is what other tasks get as an input here."""
        header, body = answer
        self._send_to(connection, header, b"" if header["t"] == "stored" else body)

    def _outcome(self, f, k, data, inputs=()):
        try:
            function = pickle.loads(self.functions[f])
            args, kwargs = load(data, inputs)
            value = function(*args, **kwargs)
            try:
                body = pickle.dumps(value)
            except Exception:  # as executors do
                import cloudpickle

                body = cloudpickle.dumps(value)
        except BaseException as error:
            try:
                pickled = pickle.dumps(error)
            except Exception:
                pickled = None
            body = pickle.dumps(
                (pickled, type(error).__name__, str(error), traceback.format_exc())
            )
            about = {"t": "failed", "k": k, "kind": "raised", "message": str(error), "tries": 1}
            return about, body
        if self.stores and len(body) > 64 << 10:
            return {"t": "stored", "k": k, **self.stores[0].put(k, value)}, body
        return {"t": "done", "k": [k], "len": [len(body)]}, body


if __name__ == "__main__":
    with FakeScheduler("none") as fake:
        print(fake.address, fake.token.hex(), flush=True)
        sys.stdin.read()
